"""A corrected mask is hostile until it is known to be labels on the study's own grid; then it is kept beside the machine's, never over it."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from client.gateway import masks, rim
from client.gateway.erase import forget_reports
from client.gateway.notices import receivers
from client.store.files import adopt
from protocol.reading import ClaimEnded, ReportSigned
from tests.fakes.gateway import CLAIM, REQUEST, STUDY, GatewayUnderTest
from tests.unit.client.gateway.test_app import REPORT

OTHER = "9" * 32


@pytest.fixture
def inside(gateway: GatewayUnderTest) -> GatewayUnderTest:
    gateway.enter()
    gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz")
    return gateway


def own_mask(gateway: GatewayUnderTest) -> Path:
    return gateway.studies / STUDY / "mask.nii.gz"


def content_of(gateway: GatewayUnderTest) -> bytearray:
    return bytearray(gzip.decompress(own_mask(gateway).read_bytes()))


def drawn(gateway: GatewayUnderTest) -> bytes:
    """The machine's mask with a little consolidation drawn into it."""
    content = content_of(gateway)
    content[352:402] = bytes([2]) * 50
    return gzip.compress(bytes(content))


def send(gateway: GatewayUnderTest, body: bytes, *, claim: str = CLAIM, **headers: str) -> httpx.Response:
    headers = {"Content-Type": "application/gzip"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.ask("POST", f"/masks/{claim}", content=body, headers=headers)


def files(gateway: GatewayUnderTest) -> set[str]:
    return {path.name for path in (gateway.studies / STUDY).iterdir()}


def test_a_correction_is_kept_beside_the_machines_mask(inside: GatewayUnderTest) -> None:
    before = own_mask(inside).read_bytes()
    answer = send(inside, drawn(inside))
    assert answer.status_code == 201, answer.text
    assert answer.json()["consolidation_ml"] == 0.6
    kept = inside.desk.corrections.of_claim(CLAIM)
    assert kept is not None
    assert answer.json()["sha256"] == kept.sha256
    assert kept.path.name == f"reader-{CLAIM}-{kept.sha256[:16]}.seg.dcm"
    content = kept.path.read_bytes()
    assert content.startswith(b"Dr Example")
    labels = np.frombuffer(content, np.uint8, offset=len(b"Dr Example")).reshape(24, 64, 64)
    assert labels[0, 0, :50].tolist() == [2] * 50
    assert own_mask(inside).read_bytes() == before
    assert inside.audit[-1] == ("gateway.mask", CLAIM, "answered-201")


def test_the_last_correction_of_a_claim_counts(inside: GatewayUnderTest) -> None:
    first = send(inside, drawn(inside)).json()["sha256"]
    again = send(inside, gzip.compress(bytes(content_of(inside)))).json()["sha256"]
    kept = inside.desk.corrections.of_claim(CLAIM)
    assert kept is not None
    assert first != again == kept.sha256
    assert [path.name for path in (inside.studies / STUDY).glob("reader-*")] == [kept.path.name]


def test_killed_between_file_and_row_the_correction_before_counts_as_it_was(
    inside: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(inside, drawn(inside))
    before = inside.desk.corrections.of_claim(CLAIM)
    assert before is not None
    content = before.path.read_bytes()

    def dies(_connection: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(masks, "transaction", dies)
        with pytest.raises(KeyboardInterrupt):
            inside.desk.corrections.keep(CLAIM, STUDY, b"drawn anew")
    assert inside.desk.corrections.of_claim(CLAIM) == before
    assert before.path.read_bytes() == content
    inside.desk.corrections.keep(CLAIM, STUDY, b"drawn anew")
    after = inside.desk.corrections.of_claim(CLAIM)
    assert after is not None
    assert after.path.read_bytes() == b"drawn anew"
    assert list((inside.studies / STUDY).glob("reader-*")) == [after.path]


Spoil = Callable[[bytearray], bytes]


def packed(change: Callable[[bytearray], None]) -> Spoil:
    def spoil(content: bytearray) -> bytes:
        change(content)
        return gzip.compress(bytes(content))

    return spoil


def at(offset: int, kind: str, *values: float) -> Spoil:
    return packed(lambda content: struct.pack_into(kind, content, offset, *values))


HOSTILE: dict[str, tuple[Spoil, str]] = {
    "nothing": (lambda _: b"", "unreadable"),
    "not packed": (bytes, "unreadable"),
    "a damaged stream": (lambda content: gzip.compress(bytes(content))[:-300] + bytes(300), "unreadable"),
    "an end too early": (lambda content: gzip.compress(bytes(content))[:-9], "unreadable"),
    "a voxel too few": (lambda content: gzip.compress(bytes(content[:-1])), "unreadable"),
    "a voxel too many": (lambda content: gzip.compress(bytes(content) + b"\0"), "unreadable"),
    "a bomb": (lambda content: gzip.compress(bytes(content) + bytes(200_000_000)), "unreadable"),
    "a second member": (lambda content: gzip.compress(bytes(content)) * 2, "unreadable"),
    "something behind it": (lambda content: gzip.compress(bytes(content)) + b"MZ", "unreadable"),
    "zlib instead of gzip": (lambda content: zlib.compress(bytes(content)), "unreadable"),
    "other dimensions": (at(42, "<3h", 32, 64, 48), "no-label-match"),
    "moved": (at(292, "<f", 1.0), "no-label-match"),
    "turned": (at(280, "<f", 2.0), "no-label-match"),
    "another type": (at(70, "<h", 4), "no-label-match"),
    "a text": (at(148, "5s", b"SMITH"), "no-label-match"),  # type: ignore[arg-type]
    "an extension": (at(348, "b", 1), "no-label-match"),
    "a label of three": (at(5000, "B", 3), "bad-request"),
    "a label of 255": (at(352, "B", 255), "bad-request"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_is_no_mask_of_this_study_is_refused(inside: GatewayUnderTest, name: str) -> None:
    spoil, code = HOSTILE[name]
    before = files(inside)
    answer = send(inside, spoil(content_of(inside)))
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert files(inside) == before
    assert inside.desk.corrections.of_claim(CLAIM) is None


@pytest.mark.parametrize("told", [True, False])
def test_a_body_without_end_is_not_read(inside: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    monkeypatch.setattr(rim, "PACKED_MOST", 100_000)

    async def chunks() -> object:
        for _ in range(3):
            yield bytes(50_000)

    body = bytes(150_000) if told else chunks()
    answer = inside.ask("POST", f"/masks/{CLAIM}", content=body, headers={"Content-Type": "application/gzip"})
    assert answer.status_code == 413


def test_other_routes_take_no_more_than_before(inside: GatewayUnderTest) -> None:
    assert inside.ask("POST", f"/reports/{CLAIM}", content=bytes(70_000)).status_code == 413


def test_only_the_own_claim_can_be_corrected(inside: GatewayUnderTest) -> None:
    assert send(inside, drawn(inside), claim=OTHER).json()["code"] == "not-found"


def test_who_may_only_look_corrects_nothing(gateway: GatewayUnderTest) -> None:
    gateway.enter(gateway.grant(scope="view"))
    gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz")
    assert send(gateway, drawn(gateway)).json()["code"] == "forbidden"
    assert 'id="correct"' not in gateway.ask("GET", f"/view/{REQUEST}").text


def test_nobody_corrects_what_they_did_not_open(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    assert send(gateway, drawn(gateway)).json()["code"] == "illegal-transition"


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}])
def test_another_sites_page_corrects_nothing(inside: GatewayUnderTest, headers: dict[str, str]) -> None:
    assert send(inside, drawn(inside), **headers).json()["code"] == "forbidden"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"])
def test_a_form_is_no_mask(inside: GatewayUnderTest, kind: str) -> None:
    assert send(inside, drawn(inside), Content_Type=kind).json()["code"] == "bad-request"


def test_a_claim_that_ends_while_the_mask_is_read_keeps_nothing(inside: GatewayUnderTest) -> None:
    object.__setattr__(inside.desk, "unpacking", _Ending(inside))
    assert send(inside, drawn(inside)).json()["code"] == "grant-invalid"
    assert inside.desk.corrections.of_claim(CLAIM) is None


class _Ending:
    """A lock in whose keeping the claim ends."""

    def __init__(self, gateway: GatewayUnderTest) -> None:
        self._gateway = gateway

    async def __aenter__(self) -> None:
        self._gateway.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))

    async def __aexit__(self, *_: object) -> None:
        pass


class Waiting:
    """Where masks wait to become labels."""

    def __init__(self, folder: Path) -> None:
        self.kept: list[tuple[str, str]] = []
        self._folder = folder

    def keep(self, study_key: str, spooled: Path, sha256: str, *, decided_by: str | None = None) -> bool:
        assert decided_by == "signature", "the reader has decided"
        adopt(spooled, self._folder / f"{sha256}.dcm")
        self.kept.append((study_key, sha256))
        return True


def sign(gateway: GatewayUnderTest, drawn_masks: Waiting) -> None:
    (kept, *_) = gateway.reports.of_claim(CLAIM)
    also = (lambda claim_id: gateway.desk.corrections.hand_to(drawn_masks, claim_id),)
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, lambda _: True, also)
    hands["report-signed"](ReportSigned(request_id=REQUEST, claim_id=CLAIM, fence=1, report_sha256=kept.report_sha256))


def test_it_becomes_a_label_with_the_signature_and_not_before(inside: GatewayUnderTest, tmp_path: Path) -> None:
    waiting = Waiting(tmp_path / "drawn")
    sha256 = send(inside, drawn(inside)).json()["sha256"]
    inside.ask("POST", f"/reports/{CLAIM}", json=REPORT)
    assert waiting.kept == []
    sign(inside, waiting)
    assert waiting.kept == [(STUDY, sha256)]
    kept = inside.desk.corrections.of_claim(CLAIM)
    assert kept is not None
    assert kept.path.exists()


def test_a_report_without_a_correction_hands_over_nothing(inside: GatewayUnderTest, tmp_path: Path) -> None:
    waiting = Waiting(tmp_path / "drawn")
    inside.ask("POST", f"/reports/{CLAIM}", json=REPORT)
    sign(inside, waiting)
    assert waiting.kept == []


def test_a_deleted_study_takes_its_corrections_along(inside: GatewayUnderTest) -> None:
    send(inside, drawn(inside))
    forget_reports(inside.book, STUDY)
    assert inside.desk.corrections.of_claim(CLAIM) is None
