"""Which weeks may still change, how a change is shown, and that one build at a time can be killed at any point."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from protocol.case import CaseRecord, LegalBasis
from protocol.codes import Code
from protocol.errors import ConflictError
from registry_api.cases.bases import withdraw_basis
from registry_api.cases.service import accept_case
from registry_api.releases import build as build_module
from registry_api.releases.build import Built, build_release
from registry_api.releases.difference import new_weeks, revisions
from registry_api.releases.disclosure import Cell, Rule, Status
from registry_api.releases.document import Document, read
from registry_api.releases.query import ask
from registry_api.releases.turn import turn
from registry_api.releases.weeks import monday_of
from registry_api.releases.window import REVISED_WEEKS, closed_weeks, is_closed
from registry_api.runtime import disclosure_rule
from tests.fakes.databases import sqlite_only
from tests.unit.registry_api.conftest import Registry

OLD, OLDEST_OPEN, NEWEST = "2026-W04", "2026-W05", "2026-W09"
"""The clock stands in week 10."""


def build(registry: Registry, rule: Rule | None = None) -> Built:
    runtime = registry.runtime
    return build_release(
        runtime.database, rule or disclosure_rule(runtime.settings), key=runtime.counts_key, now=registry.clock()
    )


def document(registry: Registry) -> Document:
    return read(build(registry).row.body)


def total(document: Document, week: str) -> int | None:
    return document.weeks[week].cell("XA-N", ()).count


def send(registry: Registry, week: str, each: int = 15) -> list[CaseRecord]:
    """Store the same number of cases at both sites."""
    return [record for site in ("north-a", "north-b") for record in registry.cases(site, each, week=week)]


def withdraw(registry: Registry, records: list[CaseRecord], site: str) -> None:
    with registry.runtime.database.writing() as session:
        for record in records:
            accept_case(session, site, record.model_copy(update={"version": 2, "withdrawn": True}), registry.clock())


@pytest.fixture
def two_sites(registry: Registry) -> Registry:
    for site in ("north-a", "north-b"):
        registry.enrol(site)
    return registry


@given(today=st.dates(date(2001, 1, 1), date(2099, 12, 31)), count=st.integers(1, 60))
def test_closed_weeks_are_the_last_ones_before_today_without_a_gap(today: date, count: int) -> None:
    weeks = closed_weeks(today, count=count)
    mondays = [monday_of(week) for week in weeks]
    assert all(is_closed(week, today) for week in weeks)
    assert timedelta(0) <= today - mondays[-1] - timedelta(days=7) < timedelta(days=7)
    assert [later - earlier for earlier, later in pairwise(mondays)] == [timedelta(days=7)] * (count - 1)


def test_the_newest_closed_week_and_four_before_it_are_open() -> None:
    assert closed_weeks(date(2026, 3, 4), count=REVISED_WEEKS + 1) == [f"2026-W{number:02d}" for number in range(5, 10)]


def test_a_late_record_revises_a_week_of_the_window_and_no_older_one(two_sites: Registry) -> None:
    for week in (OLD, OLDEST_OPEN):
        send(two_sites, week)
    build(two_sites)
    for week in (OLD, OLDEST_OPEN):
        send(two_sites, week)
    after = document(two_sites)
    assert (total(after, OLD), after.weeks[OLD].version) == (30, 1)
    assert (total(after, OLDEST_OPEN), after.weeks[OLDEST_OPEN].version) == (60, 2)


def test_a_first_release_has_every_week(two_sites: Registry) -> None:
    send(two_sites, "2025-W10")
    assert total(document(two_sites), "2025-W10") == 30


def test_an_old_week_that_no_release_had_does_not_appear_later(two_sites: Registry) -> None:
    send(two_sites, NEWEST)
    build(two_sites)
    send(two_sites, OLD)
    assert OLD not in document(two_sites).weeks


def test_a_withdrawal_reaches_any_week_however_old(two_sites: Registry) -> None:
    records = send(two_sites, "2025-W10", 25)
    build(two_sites)
    two_sites.clock.pass_(days=2)
    withdraw(two_sites, records[:10], "north-a")
    after = document(two_sites)
    assert (total(after, "2025-W10"), after.weeks["2025-W10"].version) == (40, 2)


def test_a_withdrawn_basis_reaches_any_week_however_old(two_sites: Registry) -> None:
    for site in ("north-a", "north-b"):
        two_sites.cases(site, 25, week="2025-W10", legal_basis="research-approval")
        two_sites.cases(site, 20, week="2025-W10")
    build(two_sites)
    two_sites.clock.pass_(days=2)
    with two_sites.runtime.database.writing() as session:
        withdraw_basis(session, "north-a", LegalBasis.RESEARCH_APPROVAL, now=two_sites.clock())
    assert total(document(two_sites), "2025-W10") == 65


def test_a_withdrawal_stored_while_the_last_build_was_reading_is_not_missed(two_sites: Registry) -> None:
    records = send(two_sites, "2025-W10", 25)
    first = build(two_sites)
    two_sites.clock.now = first.row.built_at - timedelta(seconds=5)
    withdraw(two_sites, records[:10], "north-a")
    two_sites.clock.pass_(days=1)
    assert total(document(two_sites), "2025-W10") == 40


def correct(registry: Registry, records: list[CaseRecord], **changes: object) -> list[CaseRecord]:
    """Send the next version of each record of north-a."""
    newer = [one.model_copy(update={"version": one.version + 1, **changes}) for one in records]
    with registry.runtime.database.writing() as session:
        for record in newer:
            accept_case(session, "north-a", record, registry.clock())
    return newer


def test_a_correction_that_moves_a_case_takes_it_from_its_week_however_old(two_sites: Registry) -> None:
    records = send(two_sites, "2025-W10", 25)
    build(two_sites)
    two_sites.clock.pass_(days=2)
    moved = correct(two_sites, correct(two_sites, records[:10], epi_week="2025-W11"), epi_week=NEWEST)
    after = document(two_sites)
    assert (total(after, "2025-W10"), after.weeks["2025-W10"].version) == (40, 2)
    correct(two_sites, moved, severity_score=6)
    assert not build(two_sites).new


def test_a_withdrawal_that_names_another_week_reaches_the_one_that_was_published(two_sites: Registry) -> None:
    records = send(two_sites, "2025-W10", 25)
    build(two_sites)
    two_sites.clock.pass_(days=2)
    correct(two_sites, correct(two_sites, records[:10], epi_week=NEWEST), withdrawn=True)
    assert total(document(two_sites), "2025-W10") == 40


STRICT = Rule(minimum=30, rounding=10, sites=2, dominance=0.85)


def test_a_published_week_keeps_its_rule_and_new_ones_take_the_new_one(two_sites: Registry) -> None:
    for week in ("2025-W10", "2026-W08"):
        send(two_sites, week)
    first = document(two_sites)
    send(two_sites, NEWEST)
    send(two_sites, "2026-W08", 4)
    strict = read(build(two_sites, STRICT).row.body)
    assert (strict.rule, strict.weeks["2025-W10"]) == (STRICT, first.weeks["2025-W10"])
    assert strict.weeks[NEWEST].cell("XA-N", ()) == Cell(None, Status.MASKED, "1-30")
    assert (total(strict, "2026-W08"), strict.weeks["2026-W08"].version) == (40, 2), "to the nearest 5, as it was"
    rules = {week: strict.rule_of(week).rounding for week in strict.weeks}
    assert rules == {"2025-W10": 5, "2026-W08": 5, NEWEST: 10}
    lenient = document(two_sites)
    assert lenient.weeks == strict.weeks, "and the other way round"


def test_a_withdrawal_takes_from_a_week_by_the_weeks_own_rule(two_sites: Registry) -> None:
    records = send(two_sites, "2025-W10", 25)
    build(two_sites)
    two_sites.clock.pass_(days=2)
    withdraw(two_sites, records[:8], "north-a")
    after = read(build(two_sites, STRICT).row.body)
    assert (total(after, "2025-W10"), after.rule_of("2025-W10").rounding) == (40, 5)
    withdraw(two_sites, records[8:25], "north-a")
    withdraw(two_sites, records[25:], "north-b")
    emptied = read(build(two_sites, STRICT).row.body)
    assert (total(emptied, "2025-W10"), emptied.rule_of("2025-W10").rounding) == (0, 5)


def test_other_dimensions_count_every_week_anew(two_sites: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    send(two_sites, OLD)
    build(two_sites)
    send(two_sites, OLD)
    monkeypatch.setattr("registry_api.releases.window.DIMENSIONS", {"severity": ("none",)})
    assert total(document(two_sites), OLD) == 60


def test_what_changed_is_shown_in_published_numbers(two_sites: Registry) -> None:
    send(two_sites, "2026-W08")
    before = document(two_sites)
    send(two_sites, "2026-W08", 5)
    send(two_sites, NEWEST)
    after = document(two_sites)
    assert new_weeks(before, after) == [NEWEST]
    [change] = revisions(before, after, ask(["week", "region"], {}), region="XA")
    assert (change.after.week, change.after.place) == ("2026-W08", "XA-N")
    assert (change.before.count, change.after.cell.count) == (30, 40)
    assert (change.version_before, change.after.version) == (1, 2)
    assert revisions(after, after, ask(["week", "region"], {}), region="XA") == []


def test_how_many_hospitals_sent_of_how_many_is_in_the_release(two_sites: Registry) -> None:
    two_sites.clock.now = datetime(2026, 2, 1, tzinfo=UTC)
    two_sites.enrol("south-a", "XA-S")
    two_sites.clock.now = datetime(2026, 3, 4, tzinfo=UTC)
    two_sites.enrol("south-b", "XA-S")
    send(two_sites, "2026-W08")
    week = document(two_sites).weeks["2026-W08"]
    assert week.reporting == {"XA": (2, 3), "XA-N": (2, 2), "XA-S": (0, 1)}


def test_of_how_many_hospitals_records_came_well_is_in_the_release(two_sites: Registry) -> None:
    two_sites.enrol("north-c")
    two_sites.enrol("abroad", "XB-S")
    two_sites.cases("north-a", 20, week=NEWEST, sex="female")
    two_sites.cases("north-b", 19, week=NEWEST, sex="female")
    two_sites.cases("north-b", 1, week=NEWEST)
    two_sites.cases("north-c", 10, week=NEWEST, sex="male")
    two_sites.cases("north-c", 10, week=NEWEST)
    two_sites.cases("abroad", 3, week=NEWEST, sex="male")
    send(two_sites, "2026-W07")
    found = document(two_sites).weeks
    north = found[NEWEST].quality["XA-N"]
    assert (north["heard"], north["timely"], north["sex"], north["pcr"]) == ((3, 3), (3, 3), (2, 3), (0, 3))
    assert found[NEWEST].quality["XB-S"] == {"heard": (1, 1)}, "nothing is said of three records"
    early = found["2026-W07"]
    assert (early.quality["XA"]["heard"], early.quality["XA"]["timely"]) == ((2, 2), (0, 2))
    assert read(build(two_sites).row.body).weeks == found


def test_a_hospital_that_fell_silent_is_not_heard_from_since(two_sites: Registry) -> None:
    two_sites.clock.now = datetime(2026, 2, 1, tzinfo=UTC)
    for site in ("north-c", "north-d"):
        two_sites.enrol(site)
        two_sites.cases(site, 15, week="2026-W06")
    two_sites.clock.now = datetime(2026, 3, 4, 12, tzinfo=UTC)
    send(two_sites, "2026-W07")
    two_sites.cases("north-c", 1, week="2026-W10")
    found = document(two_sites).weeks
    assert found["2026-W06"].quality["XA"]["heard"] == (2, 2)
    assert found["2026-W07"].quality["XA"]["heard"] == (3, 4), (
        "one sent in the week that is not closed yet, one fell silent"
    )


def test_a_number_stays_until_more_than_a_step_of_studies_came(two_sites: Registry) -> None:
    send(two_sites, NEWEST)
    first = document(two_sites)
    two_sites.cases("north-a", 5, week=NEWEST)
    assert not build(two_sites).new
    assert total(document(two_sites), NEWEST) == total(first, NEWEST) == 30
    two_sites.cases("north-b", 3, week=NEWEST)
    assert total(document(two_sites), NEWEST) == 40


def test_a_number_that_was_hidden_in_between_is_the_one_of_before(two_sites: Registry) -> None:
    """Else a hospital's withdrawal, taken back, would show on which side of the edge the count stands."""
    records = two_sites.cases("north-a", 12, week=NEWEST) + two_sites.cases("north-b", 10, week=NEWEST)
    assert total(document(two_sites), NEWEST) == 20
    withdraw(two_sites, records[12:], "north-b")
    hidden = document(two_sites).weeks[NEWEST].cell("XA-N", ())
    assert hidden == Cell(None, Status.WITHHELD, earlier=20)
    two_sites.cases("north-b", 11, week=NEWEST)
    assert total(document(two_sites), NEWEST) == 20


STEPS = ("read_tree", "open_weeks", "tally", "protect", "protect_patients", "reporting", "write", "_revised", "_row")


@pytest.mark.parametrize("step", STEPS)
def test_a_build_that_dies_at_any_step_leaves_nothing_and_the_next_gives_the_same(
    two_sites: Registry, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    send(two_sites, NEWEST)
    with monkeypatch.context() as patched:
        patched.setattr(build_module, step, die)
        with pytest.raises(Killed):
            build(two_sites)
    built = build(two_sites)
    assert (built.row.number, built.new) == (1, True)
    assert total(read(built.row.body), NEWEST) == 30


def test_two_builds_at_once_are_one_and_a_refusal(two_sites: Registry) -> None:
    with turn(two_sites.runtime.database), pytest.raises(ConflictError) as raised:
        build(two_sites)
    assert raised.value.code is Code.RUN_IN_PROGRESS
    assert build(two_sites).new


HOLD = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"


@sqlite_only
def test_a_killed_builder_gives_its_turn_back(two_sites: Registry) -> None:
    path = f"{two_sites.runtime.database.engine.url.database}.build"
    with subprocess.Popen([sys.executable, "-S", "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConflictError):
            build(two_sites)
        other.kill()
        other.wait(10)
    assert build(two_sites).new


@sqlite_only
def test_a_build_looks_for_withdrawn_and_moved_cases_by_their_indexes(two_sites: Registry) -> None:
    send(two_sites, NEWEST)
    build(two_sites)
    engine, asked = two_sites.runtime.database.engine, []
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    build(two_sites)
    for condition, index in (("withdrawn IS 1", "ix_cases_withdrawn"), ("left_weeks IS NOT NULL", "ix_cases_left")):
        looks = [(statement, values) for statement, values in asked if condition in statement]
        with engine.connect() as connection:
            plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all() for sql, values in looks]
        assert plans
        assert all(index in str(plan) for plan in plans)
