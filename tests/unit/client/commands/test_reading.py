"""`acinus-node read` as a person and a script use it, on a real node home."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from client.commands import reading
from client.gate import gate as gates
from client.gateway.book import Book
from client.gateway.keys import ReaderKeys
from client.gateway.tables import SCHEMA
from client.store import tables
from client.store.database import connect
from protocol.errors import FederationError
from protocol.reading import AmendmentOpened, ClaimMade, ReadExpired, ReportSigned, SecondReadAdded
from tests.fakes.gateway import CLAIM, READER, STUDY, GatewayUnderTest, write_study
from tests.unit.client.gateway.test_app import REPORT

JKT = "-" + "j" * 42

RECORD = {
    "kind": "case-record", "case_id": "c" * 32, "epi_week": "2026-W08", "age_band": "40-49", "sex": "male", "ggo_percent": 17,
    "consolidation_percent": 2, "opacity_percent": 19, "severity_score": 5, "severity_band": "mild", "model_release": "ggo@0",
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node with one measured study and a policy that posts reads."""
    (tmp_path / "node.toml").write_text("", encoding="utf-8")
    (tmp_path / "policy.toml").write_text('[reading]\nposts = true\njurisdiction = "XA-N"\n', encoding="utf-8")
    database = connect(tmp_path / "node.db", tables.SCHEMA, gates.SCHEMA, SCHEMA)
    database.execute("INSERT INTO study VALUES (?, 's', 'c', 'measured', NULL, 1, 0, 'g', 0, 0)", (STUDY,))
    database.execute("INSERT INTO finding VALUES (?, 'ggo@0', '{}', ?, 1, 'clear', 0)", (STUDY, json.dumps(RECORD)))
    database.close()
    write_study(tmp_path / "store" / "studies" / STUDY)
    return tmp_path


def program() -> typer.Typer:
    app = typer.Typer()

    @app.callback()
    def root(home: Path) -> None:
        """Stand in for the node's program, which takes `--home` before the verb."""

    reading.add_to(app)
    return app


def read(home: Path, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(program(), [str(home), "read", *words, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    document: dict[str, Any] = json.loads(done.stdout)
    return document | {"exit": done.exit_code}


def outbox(home: Path) -> list[str]:
    rows = connect(home / "node.db").execute("SELECT kind FROM outbox ORDER BY seq")
    return [row["kind"] for row in rows]


def test_a_read_from_post_to_acknowledgement(home: Path) -> None:
    posted = read(home, "post", STUDY, "--priority", "urgent")
    assert (posted["exit"], posted["state"], posted["priority"]) == (0, "open", "urgent")
    request_id = posted["request_id"]
    assert read(home, "list")["requests"][0]["request_id"] == request_id

    gateway = GatewayUnderTest.__new__(GatewayUnderTest)
    gateway.stand_on(home)
    gateway.book.claim_made(ClaimMade(request_id=request_id, claim_id=CLAIM, reader_id=READER, fence=1))
    gateway.keys.approve(gateway.reader.jkt, name="Dr Elsewhere")
    token = gateway.grant(request_id=request_id)
    assert gateway.enter(token).status_code == 201
    assert gateway.ask("GET", f"/vol/{request_id}/ct.nii.gz").status_code == 200
    sha256 = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT).json()["report_sha256"]
    early = read(home, "report", request_id, "--acknowledge", sha256)
    assert (early["exit"], early["code"]) == (3, "illegal-transition")
    gateway.reports.sign(ReportSigned(request_id=request_id, claim_id=CLAIM, fence=1, report_sha256=sha256))

    shown = read(home, "report", request_id)
    assert shown["state"] == "delivered"
    (report,) = shown["reports"]
    assert (report["status"], report["report_sha256"], report["reader"]) == ("final", sha256, "Dr Elsewhere")
    assert (report["impression"], report["severity_score"]) == ("Bilateral ground glass.", 9)
    assert read(home, "report", request_id, "--acknowledge", sha256)["state"] == "closed"
    assert outbox(home) == ["read-post", "read-acknowledged"]


def test_a_report_that_came_since_the_last_look_is_not_taken_note_of_unseen(home: Path) -> None:
    request_id = read(home, "post", STUDY)["request_id"]
    gateway = GatewayUnderTest.__new__(GatewayUnderTest)
    gateway.stand_on(home)
    gateway.book.claim_made(ClaimMade(request_id=request_id, claim_id=CLAIM, reader_id=READER, fence=1))
    gateway.keys.approve(gateway.reader.jkt, name="Dr Elsewhere")
    signed: list[str] = []
    for words in ("Bilateral ground glass.", "Bilateral ground glass, and an embolus."):
        if signed:
            gateway.book.reopened(AmendmentOpened(request_id=request_id, claim_id=CLAIM, fence=1))
        gateway.enter(gateway.grant(request_id=request_id))
        gateway.ask("GET", f"/vol/{request_id}/ct.nii.gz")
        report = REPORT | {"impression": words}
        signed.append(gateway.ask("POST", f"/reports/{CLAIM}", json=report).json()["report_sha256"])
        gateway.reports.sign(ReportSigned(request_id=request_id, claim_id=CLAIM, fence=1, report_sha256=signed[-1]))
    for seen in (signed[:1], signed, ["0" * 64]):
        stale = read(home, "report", request_id, *(word for one in seen for word in ("--acknowledge", one)))
        assert (stale["exit"], stale["code"]) == (3, "stale-report")
    assert outbox(home) == ["read-post"]
    assert read(home, "report", request_id, "--acknowledge", signed[1])["state"] == "closed"


def test_one_report_of_two_is_taken_note_of_by_its_hash(home: Path) -> None:
    request_id = read(home, "post", STUDY)["request_id"]
    gateway = GatewayUnderTest.__new__(GatewayUnderTest)
    gateway.stand_on(home)
    gateway.book.second_read_added(SecondReadAdded(request_id=request_id))
    gateway.book.claim_made(ClaimMade(request_id=request_id, claim_id=CLAIM, reader_id=READER, fence=1))
    gateway.keys.approve(gateway.reader.jkt, name="Dr Elsewhere")
    gateway.enter(gateway.grant(request_id=request_id))
    gateway.ask("GET", f"/vol/{request_id}/ct.nii.gz")
    sha256 = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT | {"critical": True}).json()["report_sha256"]
    early = read(home, "report", request_id, "--note", sha256)
    assert (early["exit"], early["code"]) == (3, "stale-report"), "nobody has signed it"
    gateway.reports.sign(ReportSigned(request_id=request_id, claim_id=CLAIM, fence=1, report_sha256=sha256))
    assert read(home, "report", request_id, "--acknowledge", sha256)["code"] == "illegal-transition"
    assert read(home, "report", request_id, "--note", sha256)["exit"] == 0
    assert outbox(home) == ["read-post", "report-noted"]


def test_a_readers_question_is_answered(home: Path) -> None:
    request_id = read(home, "post", STUDY)["request_id"]
    gateway = GatewayUnderTest.__new__(GatewayUnderTest)
    gateway.stand_on(home)
    gateway.book.claim_made(ClaimMade(request_id=request_id, claim_id=CLAIM, reader_id=READER, fence=1))
    gateway.book.claim_opened(CLAIM)
    claim = gateway.book.claim(CLAIM)
    assert claim is not None
    gateway.messages.ask(claim, "An earlier scan?")
    (shown,) = read(home, "report", request_id)["messages"]
    assert (shown["side"], shown["text"], shown["question"]) == ("reader", "An earlier scan?", 1)
    said = read(home, "answer", request_id, "None here.", "--claim", CLAIM)
    assert (said["side"], said["claim_id"]) == ("hospital", CLAIM)
    assert outbox(home) == ["read-post", "info-answered"]
    again = read(home, "answer", request_id, "None here.")
    assert (again["exit"], again["code"]) == (2, "not-found")


def reads_asked_for(home: Path) -> int:
    with closing(connect(home / "node.db")) as database:
        return int(json.loads(database.execute("SELECT body FROM outbox").fetchone()["body"])["reads_required"])


@pytest.mark.parametrize(("policy", "words", "expected"), [(1, (), 1), (2, (), 2), (1, ("--reads", "2"), 2)])
def test_the_policy_or_the_command_says_how_many_read(
    home: Path, policy: int, words: tuple[str, ...], expected: int
) -> None:
    with (home / "policy.toml").open("a", encoding="utf-8") as file:
        file.write(f"reads = {policy}\n")
    assert read(home, "post", STUDY, *words)["reads_required"] == expected
    assert reads_asked_for(home) == expected


def test_readers_are_approved_and_revoked(home: Path) -> None:
    assert read(home, "approve-reader", JKT, "--name", "Dr Minus")["approved"] is True
    (shown,) = read(home, "readers")["readers"]
    assert (shown["thumbprint"], shown["name"]) == (JKT, "Dr Minus")
    assert read(home, "revoke-reader", JKT)["approved"] is False
    rows = connect(home / "node.db").execute("SELECT event FROM audit ORDER BY number").fetchall()
    assert [row["event"] for row in rows] == ["reader.approved", "reader.revoked"]
    assert read(home, "readers")["readers"] == []
    again = read(home, "revoke-reader", JKT)
    assert (again["exit"], again["code"]) == (2, "not-found")


def test_privileges_are_granted_listed_and_withdrawn(home: Path) -> None:
    granted = read(home, "grant-privilege", READER, "--name", "Dr Elsewhere")
    assert (granted["exit"], granted["granted"]) == (0, True)
    assert [one["name"] for one in read(home, "privileges")["privileges"]] == ["Dr Elsewhere"]
    assert read(home, "withdraw-privilege", READER)["granted"] is False
    assert read(home, "privileges")["privileges"] == []
    assert outbox(home) == ["reader-privilege", "reader-privilege"]
    again = read(home, "withdraw-privilege", READER)
    assert (again["exit"], again["code"]) == (2, "not-found")


def test_a_post_may_ask_for_a_subspecialty_and_says_how_sure_the_measurement_is(home: Path) -> None:
    with closing(connect(home / "node.db")) as database:
        database.execute("""UPDATE finding SET document = '{"opacity_interval": [0.1, 0.32]}'""")
    assert read(home, "post", STUDY, "--subspecialty", "thoracic")["state"] == "open"
    with closing(connect(home / "node.db")) as database:
        post = json.loads(database.execute("SELECT body FROM outbox").fetchone()["body"])
    assert (post["subspecialty"], post["uncertainty_percent"]) == ("thoracic", 22)


def test_withdrawing(home: Path) -> None:
    request_id = read(home, "post", STUDY)["request_id"]
    assert read(home, "withdraw", request_id)["state"] == "withdrawn"
    assert outbox(home) == ["read-post", "read-withdrawn"]


def test_what_nobody_claimed_in_time_is_asked_for_anew(home: Path) -> None:
    request_id = read(home, "post", STUDY)["request_id"]
    early = read(home, "repost", request_id)
    assert (early["exit"], early["code"]) == (3, "illegal-transition")
    gateway = GatewayUnderTest.__new__(GatewayUnderTest)
    gateway.stand_on(home)
    gateway.book.expired(ReadExpired(request_id=request_id, number=1))
    (shown,) = read(home, "list")["requests"]
    assert (shown["state"], shown["expired"], shown["alarms"]) == ("expired", 1, ["expired"])
    anew = read(home, "repost", request_id)
    assert (anew["state"], anew["expired"]) == ("open", 0)
    assert outbox(home) == ["read-post", "read-reposted"]


def test_a_study_without_a_date_has_no_case_record_and_is_read_all_the_same(home: Path) -> None:
    with closing(connect(home / "node.db")) as database:
        database.execute(
            """UPDATE finding SET record = '', document = '{"ggo_fraction": 0.1273}', verdict = 'no-week'"""
        )
    assert read(home, "post", STUDY)["state"] == "open"
    with closing(connect(home / "node.db")) as database:
        post = json.loads(database.execute("SELECT body FROM outbox").fetchone()["body"])
    assert (post["age_band"], post["sex"], post["ggo_percent"]) == ("unknown", "unknown", 13)


def test_a_site_that_posts_no_reads_posts_none(home: Path) -> None:
    (home / "policy.toml").write_text("", encoding="utf-8")
    refused = read(home, "post", STUDY)
    assert (refused["exit"], refused["code"]) == (4, "policy-sharing")
    assert read(home, "list")["requests"] == []
    assert outbox(home) == []


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (("post", "0" * 32), 2, "not-found"),
        (("report", "0" * 32), 2, "not-found"),
        (("withdraw", "0" * 32), 2, "not-found"),
        (("approve-reader", "short"), 2, "bad-request"),
        (("approve-reader", "a" * 43, "--name", " "), 2, "bad-request"),
    ],
)
def test_mistakes_have_codes(home: Path, words: tuple[str, ...], exit_code: int, code: str) -> None:
    answer = read(home, *words)
    assert (answer["exit"], answer["code"]) == (exit_code, code)
    assert answer["message"].endswith(".")


def test_for_people_it_says_it_in_lines(home: Path) -> None:
    def lines(*words: str) -> str:
        done = CliRunner().invoke(program(), [str(home), "read", *words])
        assert done.exit_code == 0, done.output
        assert done.stdout == ""
        return done.stderr

    assert "state open" in lines("post", STUDY)
    assert STUDY in lines("list")
    lines("approve-reader", "a" * 43, "--name", "Dr Lines")
    assert "Dr Lines" in lines("readers")
    request_id = read(home, "list")["requests"][0]["request_id"]
    assert f"read {request_id}: open" in lines("report", request_id)
    with closing(connect(home / "node.db", SCHEMA)) as database:
        database.execute("INSERT INTO read_results VALUES (?, ?, 0)", (request_id, CLAIM))
    assert "a third reader decided" in lines("report", request_id)
    assert read(home, "report", request_id)["result"] == {
            "claim_id": CLAIM, "agreed": False, "how": "a third reader decided",
        }  # fmt: skip


def test_without_json_an_error_goes_to_the_programs_rim(home: Path) -> None:
    done = CliRunner().invoke(program(), [str(home), "read", "report", "0" * 32])
    assert isinstance(done.exception, FederationError)


def test_the_books_are_those_of_the_gateway(home: Path) -> None:
    read(home, "approve-reader", JKT, "--name", "Dr Minus")
    connection = connect(home / "node.db", SCHEMA)
    book = Book(connection, lambda: pytest.fail("no clock is needed to look"))
    assert book.requests() == []
    assert ReaderKeys(connection, lambda: pytest.fail("no clock is needed to look")).find(JKT) is not None


def test_an_earlier_study_is_shown_only_if_it_is_one_of_the_same_patient(home: Path) -> None:
    for wanted in ("latest", "7" * 32):
        refused = read(home, "post", STUDY, "--prior", wanted)
        assert (refused["exit"], refused["code"]) == (2, "not-found")
    assert read(home, "list")["requests"] == []


def test_final_reports_are_copied_out(home: Path, tmp_path: Path) -> None:
    request_id = read(home, "post", STUDY)["request_id"]
    gateway = GatewayUnderTest.__new__(GatewayUnderTest)
    gateway.stand_on(home)
    gateway.book.claim_made(ClaimMade(request_id=request_id, claim_id=CLAIM, reader_id=READER, fence=1))
    gateway.keys.approve(gateway.reader.jkt, name="Dr Elsewhere")
    gateway.enter(gateway.grant(request_id=request_id))
    gateway.ask("GET", f"/vol/{request_id}/ct.nii.gz")
    sha256 = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT).json()["report_sha256"]
    gateway.reports.sign(ReportSigned(request_id=request_id, claim_id=CLAIM, fence=1, report_sha256=sha256))
    (home / "store" / "studies" / STUDY / f"reader-{CLAIM}.oru.hl7").write_text("MSH|", encoding="utf-8")
    out = tmp_path / "reports"
    assert read(home, "report", request_id, "--out", str(out))["files"] == [f"reader-{CLAIM}.oru.hl7"]
    assert (out / f"reader-{CLAIM}.oru.hl7").read_text(encoding="utf-8") == "MSH|"
