#!/usr/bin/env python3
r"""A whole read without a browser: for reading groups that have a viewer and a worklist of their own.

    read_without_browser.py --key reader.pem thumbprint
    read_without_browser.py --key reader.pem read --centre https://… --centre-ca ca.pem --api-key-file key.txt \
                            --hospital-ca gateway-ca.pem --report report.json --out folder [--request ID]

`thumbprint` makes the key if there is none and prints what the hospital must approve (`acinus-node read approve-reader`).
`read` claims the reader's next case, opens it at the hospital, fetches volume and mask, waits for the report, hands it in and signs it.
Meanwhile it says again and again that the reader is still there, so that neither the lease of the read nor the grant ends before the report
is written, however long that takes. It uses nothing of Acinus but the two HTTPS interfaces of docs/reference/reading.md; httpx, joserfc
and cryptography are all it needs.
"""

import argparse
import base64
import hashlib
import json
import os
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import ECKey

ALGORITHM = "ES256"
CALL_SECONDS = 60
SIGN_WITHIN_SECONDS = 60
LOOK_SECONDS = 0.5
ASK_BELOW_SECONDS = 330
HELP = {"report": "the report as JSON; it is waited for", "out": "where volume and mask are saved"}


def load_key(path: Path) -> ECKey:
    """Return the reader's P-256 key in `path`, made first if there is none. Only its owner can read the file."""
    if path.exists():
        return ECKey.import_key(path.read_bytes())
    key = ECKey.generate_key("P-256")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.as_pem(private=True))
    return key


def proof(key: ECKey, *, method: str, url: str, token: str) -> str:
    """Return a DPoP proof (RFC 9449 section 4.2): this key, this request, this grant, now."""
    header = {"typ": "dpop+jwt", "alg": ALGORITHM, "jwk": key.as_dict(private=False)}
    hashed = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")
    claims = {"jti": uuid.uuid4().hex, "htm": method, "htu": url, "iat": int(time.time()), "ath": hashed}
    return jwt.encode(header, claims, key, algorithms=[ALGORITHM])


@dataclass(frozen=True, slots=True)
class Claim:
    """A hold on a read. `fence` goes with everything that changes it."""

    claim_id: str
    request_id: str
    fence: int


class Centre:
    """The registry's HTTPS interface, as this reader."""

    def __init__(self, origin: str, ca: Path, api_key: str) -> None:
        self._http = client(origin, ca, {"Authorization": f"Bearer {api_key}"})

    def next_read(self) -> str:
        """Return what this reader is to read next: what was set aside for them, else the first in order that they may claim."""
        first = answer(self._http.get("/v1/reads/next"))["read"]
        if first is None:
            raise SystemExit("Nothing waits that you may claim.")
        return str(first["request_id"])

    def claim(self, request_id: str) -> Claim:
        """Claim a read; another reader may be first (409)."""
        made = answer(self._http.post(f"/v1/reads/{request_id}/claims"))
        return Claim(made["claim_id"], made["request_id"], made["fence"])

    def grant(self, claim: Claim, thumbprint: str) -> dict[str, Any]:
        """Return a grant of ten minutes for this key, and the gateway to take it to."""
        return dict(answer(self._http.post(f"/v1/claims/{claim.claim_id}/grants", json={"jkt": thumbprint})))

    def heartbeat(self, claim: Claim) -> str:
        """Say that the reader is still there; return the state."""
        return str(answer(self._http.put(f"/v1/claims/{claim.claim_id}/heartbeat"))["state"])

    def sign(self, claim: Claim, report_sha256: str) -> str:
        """Sign the report with this hash, once the hospital's receipt has reached the centre; return the state."""
        end = time.monotonic() + SIGN_WITHIN_SECONDS
        while self.heartbeat(claim) != "preliminary" and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        signed = self._http.post(
            f"/v1/claims/{claim.claim_id}:sign",
            headers={"If-Match": f'"{claim.fence}"'},
            json={"report_sha256": report_sha256},
        )
        return str(answer(signed)["state"])


class Hospital:
    """One session at a hospital's gateway: one study, until the last grant ends."""

    def __init__(self, grant: dict[str, Any], ca: Path, key: ECKey) -> None:
        self._http = client(grant["gateway"], ca, {})
        self._request_id = grant["request_id"]
        self._prove = partial(proof, key, url=f"{grant['gateway']}/session", token=grant["token"])
        if grant.get("gateway_pin"):
            self._http.event_hooks = {"response": [only_with_key(grant["gateway_pin"])]}
            self._http.get("/")  # nothing is sent but this before the key was compared
        shown = self._prove(method="POST")
        opened = answer(self._http.post("/session", json={"token": grant["token"]}, headers={"DPoP": shown}))
        self._ends_at = datetime.fromisoformat(opened["expires_at"])

    def prolong(self) -> None:
        """Let the session go on, once about half of it is over: the centre has sent a fresh grant then, and the proof is made anew."""
        if (self._ends_at - datetime.now(UTC)).total_seconds() < ASK_BELOW_SECONDS:
            longer = answer(self._http.put("/session", headers={"DPoP": self._prove(method="PUT")}))
            self._ends_at = datetime.fromisoformat(longer["expires_at"])

    def fetch(self, name: str, folder: Path) -> Path:
        """Save `ct.nii.gz` or `mask.nii.gz` in `folder`."""
        target = folder / name
        with self._http.stream("GET", f"/vol/{self._request_id}/{name}") as sent, target.open("wb") as file:
            sent.raise_for_status()
            for chunk in sent.iter_raw():
                file.write(chunk)
        return target

    def hand_in(self, claim: Claim, report: dict[str, Any]) -> str:
        """Give the report to the hospital and return the hash by which it is signed."""
        return str(answer(self._http.post(f"/reports/{claim.claim_id}", json=report))["report_sha256"])


def client(origin: str, ca: Path, headers: dict[str, str]) -> httpx.Client:
    """Return a client that trusts this CA and no other."""
    trust = ssl.create_default_context(cafile=str(ca))
    return httpx.Client(base_url=origin, verify=trust, timeout=CALL_SECONDS, headers=headers, trust_env=False)


def only_with_key(pin: str) -> Callable[[httpx.Response], None]:
    """Return what ends the program when an answer comes from a server of another public key than the hospital's own.

    A certificate can be had for the hospital's name by whoever stands between; the hospital's key cannot.
    """

    def compare(response: httpx.Response) -> None:
        shown = response.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(True)  # noqa: FBT003 - takes no name
        key = x509.load_der_x509_certificate(shown).public_key()
        public = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        if base64.urlsafe_b64encode(hashlib.sha256(public).digest()).decode().rstrip("=") != pin:
            raise SystemExit("Another key is shown than the hospital's. Somebody stands between; tell the hospital.")

    return compare


def answer(response: httpx.Response) -> Any:
    """Return the JSON of a success; end with what the other side said otherwise."""
    if response.is_error:
        problem = response.json()
        raise SystemExit(f"{response.request.url.path}: {problem.get('code')}: {problem.get('detail')}")
    return response.json()


@contextmanager
def staying(centre: Centre, hospital: Hospital, claim: Claim, *, every_seconds: float) -> Iterator[None]:
    """While the body runs, tell the centre that the reader is still there, and let the session at the hospital go on."""
    done = threading.Event()

    def stay() -> None:
        while not done.wait(every_seconds):
            try:
                centre.heartbeat(claim)
                hospital.prolong()
            except (
                httpx.TransportError
            ) as error:  # a line that is away for a moment ends nothing: lease and grant outlast many beats
                sys.stderr.write(f"{error}\n")
            except SystemExit as error:  # what was answered is said when the report is handed in, too
                sys.stderr.write(f"{error}\n")
                return

    thread = threading.Thread(target=stay, name="staying")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def written(path: Path) -> dict[str, Any]:
    """Wait until the report is there, and return it. Whatever writes it renames it into place, so that no half of it is read."""
    while not path.exists():
        time.sleep(LOOK_SECONDS)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def read(options: argparse.Namespace, key: ECKey) -> None:
    """Do one read and print what became of it."""
    centre = Centre(options.centre, options.centre_ca, options.api_key_file.read_text(encoding="utf-8").strip())
    claim = centre.claim(options.request or centre.next_read())
    hospital = Hospital(centre.grant(claim, str(key.thumbprint())), options.hospital_ca, key)
    options.out.mkdir(parents=True, exist_ok=True)
    with staying(centre, hospital, claim, every_seconds=options.every):
        saved = [hospital.fetch(name, options.out) for name in ("ct.nii.gz", "mask.nii.gz")]
        # Here the reading group's own viewer shows the volume, and a radiologist writes the report.
        report_sha256 = hospital.hand_in(claim, written(options.report))
    state = centre.sign(claim, report_sha256)
    done = {"request_id": claim.request_id, "claim_id": claim.claim_id, "state": state, "report_sha256": report_sha256}
    sys.stdout.write(json.dumps(done | {"files": [str(path) for path in saved]}) + "\n")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description="Read a study at a hospital without a browser.")
    parser.add_argument("--key", type=Path, required=True, help="the reader's P-256 key (PEM); made if it is not there")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("thumbprint", help="print what the hospital must approve")
    reading = verbs.add_parser("read", help="claim, open, report and sign one read")
    for name in ("centre-ca", "api-key-file", "hospital-ca", "report", "out"):
        reading.add_argument(f"--{name}", type=Path, required=True, help=HELP.get(name))
    reading.add_argument("--centre", required=True, help="such as https://registry.example:8443")
    reading.add_argument("--request", help="which read; without it the reader's next case")
    reading.add_argument(
        "--every", type=float, default=20, metavar="SECONDS", help="how often to say that the reader is there"
    )
    options = parser.parse_args()
    key = load_key(options.key)
    if options.verb == "thumbprint":
        sys.stdout.write(f"{key.thumbprint()}\n")
    else:
        read(options, key)


if __name__ == "__main__":
    main()
