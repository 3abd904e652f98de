"""A node's gateway without a node: a gate that keeps what it is given, a folder of studies, a centre's grant key, a reader's key."""

import asyncio
import gzip
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey

from client.gate.policy import Clearance, Verdict
from client.gateway.app import create_app
from client.gateway.book import Book
from client.gateway.desk import Desk
from client.gateway.grant import token_hash
from client.gateway.keys import ReaderKeys
from client.gateway.masks import Corrections
from client.gateway.messages import Messages
from client.gateway.records import Request
from client.gateway.reports import Reports
from client.gateway.requests import acknowledge_read
from client.gateway.sessions import Sessions
from client.gateway.strokes import Drawings
from client.gateway.tables import SCHEMA
from client.gateway.viewer import find_bundle
from client.store.database import connect
from client.store.records import Finding
from protocol.parcel import Parcel
from protocol.reading import ClaimMade, ReadPost

SITE = "northport"
ORIGIN = "https://northport.example:9443"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
REQUEST, CLAIM, READER, STUDY = "1" * 32, "2" * 32, "3" * 32, "4" * 32

DOCUMENT = {
    "ok": True, "ggo_fraction": 0.123, "consolidation_fraction": 0.02, "opacity_fraction": 0.143, "lung_volume_ml": 4210.0,
    "opacity_interval": [0.12, 0.17], "severity": {"score": 9, "scale": "zone-score-0-24", "band": "moderate"},
    "quality": ["thick-slices"],
}  # fmt: skip


class KeepingGate:
    """Lets everything out and remembers it."""

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []
        self.answer: Callable[[Parcel], Verdict] = lambda _: Clearance()

    def submit(self, parcel: Parcel) -> Verdict:
        verdict = self.answer(parcel)
        if isinstance(verdict, Clearance):
            self.parcels.append(parcel)
        return verdict

    def kinds(self) -> list[str]:
        return [parcel.kind for parcel in self.parcels]


class OneStudy:
    """A folder of results with one finding."""

    def __init__(self, studies: Path) -> None:
        self._studies = studies

    def finding(self, study_key: str) -> Finding | None:
        return Finding(
            study_key=study_key, model_release="ggo@1", document=json.dumps(DOCUMENT), record="{}", version=1, verdict=None,
            measured_at=0.0,
        )  # fmt: skip

    def folder(self, study_key: str) -> Path:
        return self._studies / study_key


@dataclass
class ReaderKey:
    """A reader's ES256 key, and the proofs it can make."""

    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))

    @property
    def jkt(self) -> str:
        return str(self.key.thumbprint())

    def proof(self, token: str, *, now: datetime, header: dict[str, Any] | None = None, **changes: Any) -> str:
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.as_dict(private=False)} | (header or {})
        claims = {
            "jti": secrets.token_hex(16), "htm": "POST", "htu": f"{ORIGIN}/session", "iat": int(now.timestamp()),
            "ath": token_hash(token),
        }  # fmt: skip
        return jwt.encode(head, claims | changes, self.key, algorithms=["ES256"])


@dataclass
class Centre:
    """The centre's grant key and what it signs with it."""

    key: OKPKey = field(default_factory=lambda: OKPKey.generate_key("Ed25519"))

    def claims(self, jkt: str, *, now: datetime, **changes: Any) -> dict[str, Any]:
        now_s = int(now.timestamp())
        return {
            "iss": "acinus-centre", "aud": SITE, "sub": READER, "jti": secrets.token_hex(16), "claim_id": CLAIM,
            "request_id": REQUEST, "fence": 1, "scope": "report", "cnf": {"jkt": jkt}, "iat": now_s, "nbf": now_s, "exp": now_s + 600,
        } | changes  # fmt: skip

    def grant(self, jkt: str, *, now: datetime, header: dict[str, Any] | None = None, **changes: Any) -> str:
        head = {"alg": "Ed25519", "typ": "acinus-grant+jwt"} | (header or {})
        return jwt.encode(head, self.claims(jkt, now=now, **changes), self.key, algorithms=["Ed25519"])


class GatewayUnderTest:
    """A gateway with one posted, claimed study, one approved reader key, and a clock that the test moves."""

    def __init__(
        self,
        home: Path,
        *,
        origin: str = ORIGIN,
        patience_seconds: float = 0.0,
        real_time: bool = False,
    ) -> None:
        self.studies = home / "studies"
        self._build(home, origin, patience_seconds, real_time)
        self.keys.approve(self.reader.jkt, name="Dr Example")
        self.book.post(a_post(), study_key=STUDY)
        self.book.mark(REQUEST, what="sent")
        self.claimed()

    def _build(self, home: Path, origin: str, patience_seconds: float, real_time: bool) -> None:
        self.now = START
        self.heard: datetime | None = None
        self.audit: list[tuple[str, str, str]] = []
        self.gate = KeepingGate()
        self.centre = Centre()
        self.reader = ReaderKey()
        clock: Callable[[], datetime] = (lambda: datetime.now(UTC)) if real_time else (lambda: self.now)
        self.book = Book(connect(home / "node.db", SCHEMA), clock)
        self.keys = ReaderKeys(self.book.connection, clock)
        self.sessions = Sessions(self.book, self.keys, lambda: self.heard or clock())
        self.reports = Reports(self.book, self.gate)
        self.messages = Messages(self.book, self.gate)
        self.desk = Desk(
            site=SITE, origin=origin, grant_key=self.centre.key, book=self.book, sessions=self.sessions, reports=self.reports,
            messages=self.messages, findings=OneStudy(self.studies), corrections=Corrections(self.book, OneStudy(self.studies).folder), drawings=Drawings(self.book),
            segment=lambda _study, labels, author: author.encode() + labels.tobytes(), audit=lambda *row: self.audit.append(row), viewer=lambda: find_bundle(home),
            patience_seconds=patience_seconds,
        )  # fmt: skip
        self.app: FastAPI = create_app(self.desk)
        self.cookies = httpx.Cookies()

    def stand_on(self, home: Path) -> None:
        """Be the gateway of a node home that is there already, with nothing posted and nobody approved."""
        self.studies = home / "store" / "studies"
        self._build(home, ORIGIN, 0.0, real_time=False)

    def open_beside(self, other: "GatewayUnderTest", home: Path) -> None:
        """Be the same node seen from another thread: its database by a connection of our own."""
        self.centre, self.reader, self.gate, self.studies = other.centre, other.reader, other.gate, other.studies
        self.book = Book(connect(home / "node.db", SCHEMA), lambda: datetime.now(UTC))
        self.keys = ReaderKeys(self.book.connection, lambda: datetime.now(UTC))
        self.reports = Reports(self.book, self.gate)
        self.drawings = Drawings(self.book)
        self.messages = Messages(self.book, self.gate)

    def claimed(self, claim_id: str = CLAIM, *, fence: int = 1, request_id: str = REQUEST) -> None:
        self.book.claim_made(ClaimMade(request_id=request_id, claim_id=claim_id, reader_id=READER, fence=fence))

    def take_note(self, request_id: str = REQUEST) -> Request:
        """Take note of the final reports as they are, as staff do who look at nothing else meanwhile."""
        seen = self.reports.finals(request_id).values()
        return acknowledge_read(self.book, self.gate, self.reports, request_id, seen=seen)

    def wait(self, **span: float) -> None:
        self.now += timedelta(**span)

    def grant(self, **changes: Any) -> str:
        return self.centre.grant(self.reader.jkt, now=self.now, **changes)

    def proof(self, token: str, **changes: Any) -> str:
        return self.reader.proof(token, now=self.now, **changes)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request in this thread, with the cookies got so far."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url=self.desk.origin, cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **options)
                self.cookies = client.cookies
                return answer

        return asyncio.run(send())

    def enter(self, token: str | None = None, proof: str | None = None) -> httpx.Response:
        token = self.grant() if token is None else token
        return self.ask("POST", "/session", json={"token": token}, headers={"DPoP": proof or self.proof(token)})

    def write_study(self) -> None:
        write_study(self.studies / STUDY)


def a_post(request_id: str = REQUEST) -> ReadPost:
    content = {
        "request_id": request_id, "age_band": "60-69", "sex": "female", "slices": 24, "megabytes": 1, "ggo_percent": 12,
        "jurisdiction": "XA-N",
    }  # fmt: skip
    return ReadPost.model_validate(content)


def asymmetric_volume(shape: tuple[int, int, int] = (24, 64, 64)) -> tuple[np.ndarray, np.ndarray]:
    """Return HU and mask, (Z, Y, X) in LPS: a body of air in soft tissue, with a bright block on the patient's LEFT only."""
    _, y, x = np.indices(shape)
    inside = ((x / shape[2] - 0.5) / 0.45) ** 2 + ((y / shape[1] - 0.5) / 0.38) ** 2 < 1
    hu = np.where(inside, -850, -1000).astype(np.int16)
    rim = inside & (((x / shape[2] - 0.5) / 0.40) ** 2 + ((y / shape[1] - 0.5) / 0.33) ** 2 >= 1)
    hu[rim] = 40
    block = (x > 0.66 * shape[2]) & (x < 0.82 * shape[2]) & (abs(y - shape[1] / 2) < 0.12 * shape[1])
    hu[block] = 900
    mask = np.zeros(shape, np.uint8)
    mask[(x > 0.2 * shape[2]) & (x < 0.34 * shape[2]) & (abs(y - shape[1] / 2) < 0.1 * shape[1])] = 1
    return hu, mask


def write_study(folder: Path, *, shape: tuple[int, int, int] = (24, 64, 64), slice_mm: float = 3.0) -> None:
    """Write ct.nii.gz and mask.nii.gz as the store does: LPS arrays with an affine that says so."""
    folder.mkdir(parents=True, exist_ok=True)
    hu, mask = asymmetric_volume(shape)
    for name, array in (("ct.nii.gz", hu), ("mask.nii.gz", mask)):
        write_volume(folder / name, array, slice_mm=slice_mm)


def write_volume(path: Path, values: np.ndarray, *, slice_mm: float = 3.0) -> None:
    """Write an LPS array (Z, Y, X) of voxels of 2 mm across and as thick as the slices are."""
    import nibabel

    affine = np.diag([-2.0, -2.0, slice_mm, 1.0])  # columns grow to the left, rows to the back: minus in NIfTI's RAS
    image = nibabel.Nifti1Image(np.asfortranarray(values.transpose(2, 1, 0)), affine)  # type: ignore[no-untyped-call] # nibabel
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
