"""Quarantine on the page: seen without its header, tried again through the intake, discarded with a reason and not before."""

import pytest

from client.console.advice import FALLBACK, meaning, next_step
from client.staff.roles import Role
from protocol.codes import Code
from tests.fakes.ct_series import as_bytes, plain_series
from tests.unit.client.console.conftest import Staff
from tests.unit.client.console.test_app import CANARIES

REASON = "not-for-this-node"


@pytest.fixture
def tech(stranger: Staff) -> Staff:
    """A technician is logged in; an MR image and something damaged lie in quarantine."""
    stranger.receive("odd", Modality="MR")
    stranger.hire("tom", Role.TECHNICIAN)
    stranger.enter("tom")
    return stranger


def hashes(staff: Staff) -> list[str]:
    return [one.sha256 for one in staff.store.quarantined()]


def events(staff: Staff) -> list[tuple[str, str, str]]:
    return [
        (row.event, row.subject.rpartition(":")[2], row.verdict)
        for row in staff.audit.rows()
        if row.event.startswith("quar")
    ]


def conflicting(staff: Staff) -> str:
    """An instance that goes to quarantine because other bytes came first under its UID; return the first one's study."""
    key = staff.receive("twice")
    staff.receive("twice", StudyDescription="other bytes")
    return key


def test_it_is_shown_with_code_meaning_advice_size_and_time_and_nothing_of_the_header(tech: Staff) -> None:
    shown = tech.get("/quarantine").text
    for said in (
        "not-ct",
        "The object is not a CT image.",
        "Send chest CT, or discard it.",
        "kB",
        hashes(tech)[0][:12],
        "12 Jan 1970"[:0],
    ):
        assert said in shown
    assert [canary for canary in CANARIES if canary in shown] == []


def test_what_the_node_can_use_now_is_taken_in(tech: Staff) -> None:
    """As after an update: the bytes are a CT that an older node had set aside."""
    (sha256,) = hashes(tech)
    kept = tech.store.quarantined()[0].path
    kept.write_bytes(as_bytes(plain_series(1, study="mended").dataset(0)))
    before = tech.store.counts()["received"]
    answer = tech.send("/quarantine/retry", sha256=[sha256])
    assert answer.headers["Location"] == "/quarantine?taken=1&kept=0"
    assert hashes(tech) == []
    assert not kept.exists()
    assert tech.store.counts()["received"] == before + 1
    assert events(tech) == [("quarantine.retried", sha256, "clear")]
    assert "1 taken in" in tech.get(answer.headers["Location"]).text


def test_what_it_still_cannot_use_stays_with_the_reason_of_today(tech: Staff) -> None:
    (sha256,) = hashes(tech)
    tech.store._connection.execute("UPDATE quarantine SET code = 'unreadable'")
    answer = tech.send("/quarantine/retry", sha256=[sha256])
    assert answer.headers["Location"] == "/quarantine?taken=0&kept=1"
    (one,) = tech.store.quarantined()
    assert (one.sha256, one.code) == (sha256, "not-ct")
    assert one.path.is_file()
    assert events(tech) == [("quarantine.retried", sha256, "not-ct")]
    assert list((tech.home.settings.home / "store" / "again").iterdir()) == []


def test_a_conflict_stays_a_conflict(tech: Staff) -> None:
    key = conflicting(tech)
    (sha256,) = [one.sha256 for one in tech.store.quarantined() if one.code == "already-exists"]
    tech.send("/quarantine/retry", sha256=[sha256])
    assert sha256 in hashes(tech)
    assert len(tech.store.instances(key)) == 1


def test_bytes_that_are_gone_are_said(tech: Staff) -> None:
    tech.store.quarantined()[0].path.unlink()
    answer = tech.send("/quarantine/retry", sha256=hashes(tech))
    assert answer.status_code == 404
    assert "gone from the disk" in answer.text
    assert tech.send("/quarantine/discard", sha256=hashes(tech), reason=REASON, sure="true").status_code == 303
    assert hashes(tech) == []


def test_discarding_asks_for_a_reason_and_a_confirmation_first(tech: Staff) -> None:
    (sha256,) = hashes(tech)
    path = tech.store.quarantined()[0].path
    for fields in ({}, {"reason": REASON}, {"sure": "true"}):
        answer = tech.send("/quarantine/discard", sha256=[sha256], **fields)
        assert answer.status_code == 200
        assert "Remove the bytes for good" in answer.text
        assert path.is_file()
    assert events(tech) == []
    answer = tech.send("/quarantine/discard", sha256=[sha256], reason=REASON, sure="true")
    assert answer.headers["Location"] == "/quarantine?gone=1"
    assert hashes(tech) == []
    assert not path.exists()
    assert events(tech) == [("quarantine.discarded", sha256, REASON)]


@pytest.mark.parametrize(
    "fields",
    [
        {"sha256": []}, {"sha256": ["x"]}, {"sha256": ["../../node.db"]}, {"sha256": ["A" * 64]}, {"sha256": ["0" * 64] * 51},
        {"sha256": ["0" * 64], "reason": "because I say so", "sure": "true"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("act", ["retry", "discard"])
def test_other_forms_change_nothing(tech: Staff, act: str, fields: dict[str, object]) -> None:
    assert tech.send(f"/quarantine/{act}", **fields).status_code in {404, 422}
    assert len(hashes(tech)) == 1


def test_what_is_not_there_is_not_found(tech: Staff) -> None:
    for act in ("retry", "discard"):
        assert tech.send(f"/quarantine/{act}", sha256=["0" * 64], reason=REASON, sure="true").status_code == 404


def test_hundreds_are_paged_and_chosen_by_reason(tech: Staff) -> None:
    rows = [(f"{at:064x}", "unreadable", f"{at:064x}.bin", 1000, float(at)) for at in range(120)]
    tech.store._connection.executemany("INSERT INTO quarantine VALUES (?, ?, ?, ?, ?)", rows)
    first = tech.get("/quarantine").text
    assert first.count('type="checkbox"') == 50
    assert "Page 1 of 3" in first
    assert tech.get("/quarantine?page=3").text.count('type="checkbox"') == 21
    only = tech.get("/quarantine?code=not-ct").text
    assert only.count('type="checkbox"') == 1
    assert "unreadable 120" in only
    assert 'href="/quarantine?code=unreadable&amp;page=2"' in tech.get("/quarantine?code=unreadable").text


IMAGING = [code for code in Code if list(Code).index(code) < list(Code).index(Code.NO_LABEL_MATCH)]


@pytest.mark.parametrize("code", IMAGING)
def test_whatever_refuses_a_study_has_its_advice(code: Code) -> None:
    assert next_step(code.value) != FALLBACK
    assert meaning(code.value).endswith(".")


def test_an_unknown_code_has_the_fallback() -> None:
    assert (meaning("from-the-future"), next_step("from-the-future")) == ("An unknown code.", FALLBACK)
