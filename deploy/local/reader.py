"""A reader at the hospital's gateway, by a program with a key file. `browser.py` does the same with a browser."""

import base64
import gzip
import hashlib
import ssl
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
from joserfc import jwt
from joserfc.jwk import ECKey
from nibabel.nifti1 import Nifti1Image

_ALGORITHM = "ES256"
_LONGEST_CALL_S = 60
_GROUND_GLASS = 1

Report = dict[str, Any]
"""A structured report as docs/reference/reading.md has it."""


@dataclass(frozen=True, slots=True)
class Hospital:
    """Where a reader goes: the hospital's own gateway, trusted by the hospital's own CA."""

    gateway: str
    ca: Path


class Eyes(Protocol):
    """Whatever a reader reads with."""

    @property
    def thumbprint(self) -> str:
        """The key that the hospital must approve (RFC 7638)."""

    def open(self, token: str) -> str:
        """Take a grant to the gateway; return the code with which it was refused, or nothing."""

    def look(self, request_id: str) -> bool:
        """Say whether the volume came with ground glass laid over it."""

    def hand_in(self, claim_id: str, report: Report) -> str:
        """Give the report to the hospital and return its SHA-256."""


class ReaderKey:
    """The reader's P-256 key, kept in a file that only the reader can read."""

    def __init__(self, path: Path) -> None:
        self._key = ECKey.generate_key("P-256", private=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(self._key.as_pem(private=True))

    @property
    def thumbprint(self) -> str:
        """The JWK thumbprint of the public key."""
        return str(self._key.thumbprint())

    def proof(self, *, method: str, url: str, token: str) -> str:
        """Return a DPoP proof (RFC 9449 section 4.2) for one request under `token`."""
        header = {"typ": "dpop+jwt", "alg": _ALGORITHM, "jwk": self._key.as_dict(private=False)}
        hashed = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")
        claims = {"jti": uuid.uuid4().hex, "htm": method, "htu": url, "iat": int(time.time()), "ath": hashed}
        return str(jwt.encode(header, claims, self._key, algorithms=[_ALGORITHM]))


class Program:
    """Reads without a browser."""

    def __init__(self, hospital: Hospital, key: ReaderKey) -> None:
        self._gateway = hospital.gateway
        self._key = key
        self._http = gateway_client(hospital)

    @property
    def thumbprint(self) -> str:
        """The thumbprint of the key file."""
        return self._key.thumbprint

    def open(self, token: str) -> str:
        """Exchange a grant for a session; the client keeps its cookie."""
        proof = self._key.proof(method="POST", url=f"{self._gateway}/session", token=token)
        headers = {"DPoP": proof, "Origin": self._gateway}
        answer = self._http.post("/session", json={"token": token}, headers=headers)
        return str(answer.json()["code"]) if answer.is_error else ""

    def look(self, request_id: str) -> bool:
        """Fetch volume and mask: they must lie on one grid, and the mask must hold ground glass."""
        volume, mask = (self._fetch(request_id, name) for name in ("ct.nii.gz", "mask.nii.gz"))
        return volume.shape == mask.shape and bool(np.any(np.asarray(mask.dataobj) == _GROUND_GLASS))

    def hand_in(self, claim_id: str, report: Report) -> str:
        """Post the report."""
        answer = json_of(self._http.post(f"/reports/{claim_id}", json=report, headers={"Origin": self._gateway}))
        return str(answer["report_sha256"])

    def _fetch(self, request_id: str, name: str) -> Nifti1Image:
        with self._http.stream("GET", f"/vol/{request_id}/{name}") as sent:
            sent.raise_for_status()
            packed = b"".join(sent.iter_raw())
        return Nifti1Image.from_bytes(gzip.decompress(packed))


def gateway_client(hospital: Hospital) -> httpx.Client:
    """Return a client for a hospital's gateway that trusts that hospital's CA only."""
    trust = ssl.create_default_context(cafile=str(hospital.ca))
    return httpx.Client(base_url=hospital.gateway, verify=trust, timeout=_LONGEST_CALL_S, trust_env=False)


def json_of(answer: httpx.Response) -> Any:
    """Return the JSON of a successful answer.

    Raises:
        httpx.HTTPStatusError: If the server refused.
    """
    answer.raise_for_status()
    return answer.json()
