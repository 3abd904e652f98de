"""Whatever the first reader of a request does, no route of the gateway answers its second reader otherwise than before."""

import itertools
import re
from dataclasses import dataclass

import httpx
import pytest
from fastapi.routing import APIRoute

from client.gateway.app import _ROOMS
from client.gateway.sending import VolumeName
from protocol.reading import ClaimMade, ReportSigned
from tests.fakes.gateway import CLAIM, REQUEST, STUDY, GatewayUnderTest, ReaderKey
from tests.unit.client.gateway.test_app import REPORT
from tests.unit.client.gateway.test_dicomweb import found, series_of
from tests.unit.client.gateway.test_masks import drawn, send
from tests.unit.client.gateway.test_strokes import stroke, written

SECOND_CLAIM, SECOND_READER = "9" * 32, "8" * 32
WORDS = "Erstbefund: consolidation of the right lower lobe."
ASKED, ANSWERED = "Erstfrage: was there contrast?", "Erstantwort: none."

_NOT_OF_A_STUDY = {"/", "/health", "/reader", "/session", "/viewer/niivue.umd.js"}


@dataclass
class Double:
    """One study with two readers, each with a session of their own."""

    gateway: GatewayUnderTest
    first: httpx.Cookies
    second: httpx.Cookies

    def as_first(self) -> GatewayUnderTest:
        self.gateway.cookies = self.first
        return self.gateway

    def as_second(self) -> GatewayUnderTest:
        self.gateway.cookies = self.second
        return self.gateway


@pytest.fixture
def double(gateway: GatewayUnderTest) -> Double:
    database = gateway.book.connection
    database.execute("UPDATE read_requests SET reads_required = 2")
    database.execute("INSERT INTO read_priors VALUES (?, ?, 41)", (REQUEST, STUDY))
    second = ReaderKey()
    gateway.keys.approve(second.jkt, name="Dr Second")
    made = ClaimMade(request_id=REQUEST, claim_id=SECOND_CLAIM, reader_id=SECOND_READER, fence=1)
    gateway.book.claim_made(made)
    assert gateway.enter().status_code == 201
    of_first, gateway.cookies = gateway.cookies, httpx.Cookies()
    token = gateway.centre.grant(second.jkt, now=gateway.now, claim_id=SECOND_CLAIM, sub=SECOND_READER)
    assert gateway.enter(token, second.proof(token, now=gateway.now)).status_code == 201
    return Double(gateway, of_first, gateway.cookies)


def paths(gateway: GatewayUnderTest, method: str) -> list[str]:
    """Return every address of every route that takes the method, with all that the second reader might put into it."""
    series = series_of(gateway)
    study, series_uid = series.split("/")[3], series.split("/")[5]
    instance = found(gateway, f"{series}/instances")[0].SOPInstanceUID
    values: dict[str, tuple[str, ...]] = {
        "request_id": (REQUEST,), "claim_id": (CLAIM, SECOND_CLAIM), "name": VolumeName.__args__, "study": (study,),
        "series": (series_uid,), "instance": (instance,), "frame": ("1", "2"), "number": ("1", "2", "3"),
    }  # fmt: skip
    every = (route for room in _ROOMS for route in room.routes)
    routes = [route for route in every if isinstance(route, APIRoute) and method in route.methods]
    return [
        route.path.format(**dict(zip(names, chosen, strict=True)))
        for route in routes
        if route.path not in _NOT_OF_A_STUDY
        for names in [re.findall(r"{(\w+)", route.path)]
        for chosen in itertools.product(*(values[name] for name in names))
    ]


def answers(double: Double) -> dict[str, tuple[int, bytes]]:
    """Ask for everything that there is."""
    gateway, seen = double.as_second(), {}
    for path in paths(gateway, "GET"):
        answer = gateway.ask("GET", path)
        boundary = answer.headers.get("Content-Type", "").partition("boundary=")[2].encode() or b"no boundary"
        seen[path] = (answer.status_code, answer.content.replace(boundary, b""))
    return seen


def read_first(double: Double) -> str:
    """Let the first reader look, ask, draw, report and sign; return the hash of the report."""
    gateway = double.as_first()
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 200
    assert gateway.ask("POST", f"/messages/{CLAIM}", json={"text": ASKED}).status_code == 201
    gateway.messages.answer(REQUEST, ANSWERED, claim_id=CLAIM)
    assert send(gateway, drawn(gateway)).status_code == 201
    assert stroke(gateway, 2, written([(100, 50, 2)])).status_code == 200
    sent = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT | {"impression": WORDS, "critical": True}).json()
    assert WORDS in gateway.ask("GET", f"/reports/{CLAIM}").text, "the first reader sees it"
    signed = ReportSigned(request_id=REQUEST, claim_id=CLAIM, fence=1, report_sha256=sent["report_sha256"])
    assert gateway.reports.sign(signed)
    return str(sent["report_sha256"])


def test_what_the_first_reader_did_changes_no_answer_to_the_second(double: Double) -> None:
    before = answers(double)
    sha256 = read_first(double)
    after = answers(double)
    assert after == before
    shown = {path for path, (status, _) in after.items() if status == 200}
    assert {f"/view/{REQUEST}", f"/vol/{REQUEST}/mask.nii.gz", f"/prior/{REQUEST}/ct.nii.gz"} <= shown
    assert len([path for path in shown if path.startswith("/dicom-web/")]) == 7
    assert {status for path, (status, _) in after.items() if CLAIM in path} == {404}
    for secret in (WORDS, ASKED, ANSWERED, sha256, CLAIM, "Dr Example", double.gateway.reader.jkt):
        assert not any(secret.encode() in body for _, body in after.values()), secret


def test_the_second_reader_writes_nothing_of_the_firsts_and_counts_from_one(double: Double) -> None:
    read_first(double)
    gateway = double.as_second()
    kept = gateway.reports.of_claim(CLAIM)
    strokes = gateway.desk.drawings.strokes(CLAIM)
    contents = {"reports": REPORT, "messages": {"text": "Mine?"}, "hand-in": {"number": 2, "sha256": "0" * 64}}
    foreign = [(method, path) for method in ("POST", "PUT") for path in paths(gateway, method) if CLAIM in path]
    assert len(foreign) == 4 + 3
    for method, path in foreign:
        _, kind, *_, last = path.split("/")
        content = contents.get(last, contents.get(kind, {}))
        assert gateway.ask(method, path, json=content).status_code == 404
    assert gateway.reports.of_claim(CLAIM) == kept
    assert gateway.desk.drawings.strokes(CLAIM) == strokes
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 200
    asked = gateway.ask("POST", f"/messages/{SECOND_CLAIM}", json=contents["messages"]).json()
    assert (asked["question"], gateway.ask("GET", f"/messages/{SECOND_CLAIM}").json()) == (1, [asked])
    gateway.messages.answer(REQUEST, "Yours.", claim_id=SECOND_CLAIM)
    assert gateway.ask("POST", f"/reports/{SECOND_CLAIM}", json=REPORT).json()["version"] == 1
