"""A drawing comes stroke by stroke: small, in order, never half; page and node say by its digest whether they have the same."""

import gzip
import hashlib
from collections.abc import Iterable

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.gateway import strokes
from client.gateway.erase import forget_reports
from client.gateway.strokes import Run, read_runs
from client.store.coarse import HEADER_BYTES
from protocol.errors import InvalidInputError
from protocol.reading import ClaimEnded
from tests.fakes.gateway import CLAIM, REQUEST, STUDY, GatewayUnderTest, write_volume

OTHER = "9" * 32
VOXELS = 24 * 64 * 64


def varint(value: int) -> bytes:
    said = bytearray()
    while value >= 0x80:
        said.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*said, value])


def written(runs: Iterable[tuple[int, int, int]]) -> bytes:
    """Write (begin, length, label) as the page does."""
    body, end = b"", 0
    for begin, length, label in runs:
        body += varint(begin - end) + varint(length << 2 | label)
        end = begin + length
    return body


@pytest.fixture
def inside(gateway: GatewayUnderTest) -> GatewayUnderTest:
    gateway.enter()
    gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz")
    return gateway


def own_labels(gateway: GatewayUnderTest) -> np.ndarray:
    content = gzip.decompress((gateway.studies / STUDY / "mask.nii.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=HEADER_BYTES).copy()


def as_file(gateway: GatewayUnderTest, labels: np.ndarray) -> bytes:
    content = gzip.decompress((gateway.studies / STUDY / "mask.nii.gz").read_bytes())
    return gzip.compress(content[:HEADER_BYTES] + labels.tobytes())


def digest(labels: np.ndarray) -> str:
    return hashlib.sha256(labels.tobytes()).hexdigest()


def stroke(
    gateway: GatewayUnderTest, number: int, body: bytes, *, claim: str = CLAIM, **headers: str
) -> httpx.Response:
    headers = {"Content-Type": "application/octet-stream"} | {name.replace("_", "-"): v for name, v in headers.items()}
    return gateway.ask("PUT", f"/masks/{claim}/strokes/{number}", content=body, headers=headers)


def whole(gateway: GatewayUnderTest, number: int, labels: np.ndarray) -> httpx.Response:
    return stroke(gateway, number, as_file(gateway, labels), Content_Type="application/gzip")


def state(gateway: GatewayUnderTest) -> dict[str, object]:
    said: dict[str, object] = gateway.ask("GET", f"/masks/{CLAIM}").json()
    return said


def hand_in(gateway: GatewayUnderTest, number: int, labels: np.ndarray) -> httpx.Response:
    return gateway.ask("POST", f"/masks/{CLAIM}/hand-in", json={"number": number, "sha256": digest(labels)})


def test_strokes_are_laid_over_the_machines_mask_and_handed_in(inside: GatewayUnderTest) -> None:
    assert state(inside) == {"number": 0, "sha256": None, "handed_in": False}
    assert inside.ask("GET", f"/masks/{CLAIM}/drawing.nii.gz").status_code == 404
    expected = own_labels(inside)
    expected[100:150], expected[9000:9003] = 2, 0
    assert stroke(inside, 1, written([(100, 50, 2)])).json() == {"number": 1}
    assert stroke(inside, 2, written([(9000, 3, 0)])).json() == {"number": 2}
    assert state(inside) == {"number": 2, "sha256": digest(expected), "handed_in": False}
    assert inside.desk.corrections.of_claim(CLAIM) is None, "drawn is not meant yet"
    back = inside.ask("GET", f"/masks/{CLAIM}/drawing.nii.gz").content
    assert gzip.decompress(back) == gzip.decompress(as_file(inside, expected))

    answer = hand_in(inside, 2, expected)
    assert answer.status_code == 201, answer.text
    assert answer.json()["consolidation_ml"] == 0.6
    kept = inside.desk.corrections.of_claim(CLAIM)
    assert kept is not None
    assert kept.path.read_bytes() == b"Dr Example" + expected.tobytes()
    assert state(inside)["handed_in"] is True
    stroke(inside, 3, written([(0, 1, 1)]))
    assert state(inside)["handed_in"] is False
    assert inside.audit[-2] == ("gateway.mask", CLAIM, "answered-200")


def test_a_stroke_is_as_large_as_what_it_changes(inside: GatewayUnderTest) -> None:
    """On a study of full size: a stroke of nine voxels' width and eighty voxels' length in one slice, against the mask as it packs."""
    rng = np.random.default_rng(1)
    labels = np.zeros((300, 512, 512), np.uint8)
    for z, y, x in rng.integers((20, 100, 60), (260, 400, 430), size=(60, 3)):
        labels[z : z + 20, y : y + 25, x : x + 40] = rng.integers(0, 3, (20, 25, 40)) * (rng.random((20, 25, 40)) > 0.4)
    before = len(gzip.compress(labels.tobytes(), compresslevel=6))
    runs = [(150 * 512 * 512 + row * 512 + 200, 80, 2) for row in range(240, 249)]
    after = len(written(runs))
    assert after < 100
    assert before > 500 * after, f"{before} bytes before, {after} now"


def test_a_lost_answer_is_asked_for_again_and_changes_nothing(inside: GatewayUnderTest) -> None:
    body = written([(100, 50, 2)])
    assert [stroke(inside, 1, body).status_code for _ in range(3)] == [200, 200, 200]
    assert state(inside)["number"] == 1


@pytest.mark.parametrize(
    ("number", "body"),
    [
        pytest.param(4, written([(7, 1, 1)]), id="one-was-lost"),
        pytest.param(2, written([(7, 1, 1)]), id="another-one-of-that-number"),
        pytest.param(1, written([(100, 50, 2)]), id="one-comes-late"),
    ],
)
def test_what_is_lost_or_out_of_order_leaves_the_drawing_as_it_was(
    inside: GatewayUnderTest, number: int, body: bytes
) -> None:
    stroke(inside, 1, written([(100, 50, 2)]))
    stroke(inside, 2, written([(100, 20, 0)]))
    before = state(inside)
    answer = stroke(inside, number, body)
    assert (answer.status_code, answer.json()["code"]) == (409, "stale-drawing")
    assert state(inside) == before


def test_another_drawing_than_the_pages_is_not_handed_in_until_the_whole_has_come(inside: GatewayUnderTest) -> None:
    stroke(inside, 1, written([(100, 50, 2)]))
    drawn = own_labels(inside)
    drawn[100:150], drawn[0] = 2, 1
    for number in (1, 2):
        assert hand_in(inside, number, drawn).json()["code"] == "stale-drawing"
    assert inside.desk.corrections.of_claim(CLAIM) is None
    assert whole(inside, 2, drawn).json() == {"number": 2}
    assert state(inside)["sha256"] == digest(drawn)
    drawn[5:9] = 2
    stroke(inside, 3, written([(5, 4, 2)]))
    assert hand_in(inside, 3, drawn).status_code == 201


def test_a_study_measured_again_takes_no_strokes_over_the_mask_before(inside: GatewayUnderTest) -> None:
    stroke(inside, 1, written([(100, 50, 2)]))
    other = own_labels(inside)
    other[:64] = 1
    write_volume(inside.studies / STUDY / "mask.nii.gz", other.reshape(24, 64, 64))
    assert stroke(inside, 2, written([(7, 1, 1)])).json()["code"] == "stale-drawing"
    assert state(inside) == {"number": 1, "sha256": None, "handed_in": False}
    assert whole(inside, 2, other).json() == {"number": 2}
    assert stroke(inside, 3, written([(7, 1, 2)])).json() == {"number": 3}


def test_after_very_many_strokes_the_whole_is_wanted(inside: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strokes, "KEPT_MOST", 10)
    for number in (1, 2):
        assert stroke(inside, number, written([(100, 50, 2)])).status_code == 200
    assert stroke(inside, 3, written([(100, 50, 2), (300, 4, 1)])).json()["code"] == "stale-drawing"
    assert whole(inside, 3, own_labels(inside)).status_code == 200
    assert stroke(inside, 4, written([(100, 50, 2)])).status_code == 200


HOSTILE = {
    "nothing": b"",
    "half a run": varint(5),
    "half a number": varint(5) + b"\x80",
    "a number without end": b"\xff" * 9 + b"\x01",
    "no voxel": varint(5) + varint(0 << 2 | 1),
    "a label of three": varint(5) + varint(1 << 2 | 3),
    "beyond the study": varint(VOXELS) + varint(1 << 2 | 1),
    "longer than the study": varint(0) + varint((VOXELS + 1) << 2 | 1),
    "second beyond the study": varint(0) + varint(VOXELS << 2 | 1) + varint(0) + varint(1 << 2 | 1),
    "too large": written([(2 * i, 1, 1) for i in range(140_000)]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_is_no_stroke_of_this_study_is_refused(inside: GatewayUnderTest, name: str) -> None:
    answer = stroke(inside, 1, HOSTILE[name])
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-request"), answer.text
    assert state(inside)["number"] == 0


def test_a_whole_drawing_is_as_hostile_as_a_mask(inside: GatewayUnderTest) -> None:
    answer = stroke(inside, 1, b"no gzip", Content_Type="application/gzip")
    assert (answer.status_code, answer.json()["code"]) == (422, "unreadable")
    assert stroke(inside, 1, b"x", Content_Type="text/plain").json()["code"] == "bad-request"


gaps = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200), st.integers(0, 2)), min_size=1, max_size=40)


@given(gaps)
def test_what_is_written_is_read(parts: list[tuple[int, int, int]]) -> None:
    runs, end = [], 0
    for gap, length, label in parts:
        runs.append(Run(end + gap, length, label))
        end += gap + length
    body = written((run.begin, run.length, run.label) for run in runs)
    assert read_runs(body, end) == runs
    with pytest.raises(InvalidInputError):
        read_runs(body, end - 1)


def test_only_the_own_claim_and_only_with_leave_to_report(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    body = written([(100, 50, 2)])
    assert stroke(gateway, 1, body).json()["code"] == "illegal-transition", "not opened yet"
    gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz")
    assert stroke(gateway, 1, body, claim=OTHER).json()["code"] == "not-found"
    for path in (f"/masks/{OTHER}", f"/masks/{OTHER}/drawing.nii.gz"):
        assert gateway.ask("GET", path).json()["code"] == "not-found"
    assert stroke(gateway, 1, body, Origin="https://evil.example").json()["code"] == "forbidden"
    gateway.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    assert stroke(gateway, 1, body).json()["code"] == "grant-invalid"
    assert gateway.desk.drawings.last(CLAIM) == 0


def test_who_may_only_look_draws_nothing(gateway: GatewayUnderTest) -> None:
    gateway.enter(gateway.grant(scope="view"))
    gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz")
    assert stroke(gateway, 1, written([(0, 1, 1)])).json()["code"] == "forbidden"


def test_a_mask_that_comes_whole_is_the_drawing_too(inside: GatewayUnderTest) -> None:
    stroke(inside, 1, written([(100, 50, 2)]))
    labels = own_labels(inside)
    labels[:10] = 1
    inside.ask("POST", f"/masks/{CLAIM}", content=as_file(inside, labels), headers={"Content-Type": "application/gzip"})
    assert state(inside) == {"number": 2, "sha256": digest(labels), "handed_in": True}


def test_a_deleted_study_takes_the_drawing_along(inside: GatewayUnderTest) -> None:
    stroke(inside, 1, written([(100, 50, 2)]))
    forget_reports(inside.book, STUDY)
    assert inside.desk.drawings.last(CLAIM) == 0
