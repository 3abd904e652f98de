// The reader's key for this hospital: made here, kept by the browser, never readable by a script (not even this one).

const STORE = "keys";
const OWN = "reader";
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" };

/** Open the origin's own database; every hospital's gateway is another origin and so has another key. */
function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("acinus", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function ask(database, mode, question) {
  return new Promise((resolve, reject) => {
    const request = question(database.transaction(STORE, mode).objectStore(STORE));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Return this browser's key pair, or undefined if it has none yet. */
export async function ownKey() {
  return ask(await open(), "readonly", (store) => store.get(OWN));
}

/** Return this browser's key pair and make it first if there is none. */
export async function ownOrNewKey() {
  const present = await ownKey();
  if (present) return present;
  const made = await crypto.subtle.generateKey(ALGORITHM, false, ["sign"]);
  await ask(await open(), "readwrite", (store) => store.put(made, OWN));
  return made;
}

/** Return the public key as a JWK with the members that RFC 7638 hashes, in its order. */
async function publicJwk(key) {
  const { crv, kty, x, y } = await crypto.subtle.exportKey("jwk", key.publicKey);
  return { crv, kty, x, y };
}

function base64url(bytes) {
  const text = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

const utf8 = (text) => new TextEncoder().encode(text);

/** Return SHA-256 of a text, base64url: what a proof calls `ath` when the text is a grant. */
export async function hash(text) {
  return base64url(await crypto.subtle.digest("SHA-256", utf8(text)));
}

/** Return the key's thumbprint (RFC 7638): what the hospital approves. */
export async function thumbprint(key) {
  return hash(JSON.stringify(await publicJwk(key)));
}

/** Return a DPoP proof (RFC 9449) for one request under the grant with the hash `ath`. */
export async function proof(key, { method, address, ath }) {
  const header = { typ: "dpop+jwt", alg: "ES256", jwk: await publicJwk(key) };
  const claims = {
    jti: crypto.randomUUID(),
    htm: method,
    htu: address,
    iat: Math.floor(Date.now() / 1000),
    ath,
  };
  const signed = `${base64url(utf8(JSON.stringify(header)))}.${base64url(utf8(JSON.stringify(claims)))}`;
  const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, key.privateKey, utf8(signed));
  return `${signed}.${base64url(signature)}`;
}
