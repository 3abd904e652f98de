// Takes the grant out of the address, where it was never sent to anyone, and exchanges it for a session.

import { hash, ownKey, proof, thumbprint } from "./key.js";

const heading = document.getElementById("heading");
const message = document.getElementById("message");

function say(title, text) {
  heading.textContent = title;
  message.textContent = text;
}

async function showKey(key) {
  document.getElementById("thumbprint").textContent = await thumbprint(key);
  document.getElementById("own").hidden = false;
}

async function exchange(token, key) {
  const address = `${location.origin}/session`;
  const ath = await hash(token);
  const answer = await fetch("/session", {
    method: "POST",
    headers: { "Content-Type": "application/json", DPoP: await proof(key, { method: "POST", address, ath }) },
    body: JSON.stringify({ token }),
  });
  const content = await answer.json();
  if (answer.ok) {
    sessionStorage.setItem("ath", ath); // proves later that this tab opened the grant; worth nothing without the key
    location.replace(`/view/${content.request_id}`);
    return;
  }
  say("The hospital did not open the study", `${content.detail} (${content.code})`);
  if (content.code === "reader-not-approved") await showKey(key);
}

const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname); // the grant stays out of the history

async function enter() {
  const key = await ownKey();
  if (key) await exchange(token, key);
  else say("This browser has no key for this hospital", "Go to the page /reader, have the key approved, then open the read again.");
}

if (!token) {
  say("There is no grant in the address", "Open the read from your worklist: its link brings the grant with it.");
} else {
  enter().catch(() => {
    say("The study could not be opened", "The hospital cannot be reached, or this browser does not give its key. Check your network, then open the read again from your worklist.");
  });
}
