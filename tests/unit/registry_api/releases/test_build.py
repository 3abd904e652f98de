"""Building releases: closed weeks only, the same bytes for the same content, new versions for changed weeks, signed, immutable."""

import base64
import hashlib
import json
from datetime import UTC, date, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from registry_api.cases.service import accept_case
from registry_api.releases.archive import Archive
from registry_api.releases.build import Built, build_release
from registry_api.releases.disclosure import Cell, Rule, Status
from registry_api.releases.document import read, renumbered
from registry_api.releases.tables import CountReleaseRow
from registry_api.releases.window import is_closed
from registry_api.runtime import disclosure_rule
from tests.unit.registry_api.conftest import Registry

MILD = (("severity", "mild"),)


def build(registry: Registry, rule: Rule | None = None) -> Built:
    runtime = registry.runtime
    return build_release(
        runtime.database, rule or disclosure_rule(runtime.settings), key=runtime.counts_key, now=registry.clock()
    )


@pytest.fixture
def busy(registry: Registry) -> Registry:
    """Two regions of two hospitals each; XA-N has a week that can be published, XA-S one too few."""
    for site, region in {"north-a": "XA-N", "north-b": "XA-N", "south-a": "XA-S", "south-b": "XA-S"}.items():
        registry.enrol(site, region)
    registry.cases("north-a", 13)
    registry.cases("north-b", 12)
    registry.cases("south-a", 16)
    registry.cases("south-b", 15)
    return registry


def test_a_release_holds_the_protected_cells_of_the_true_counts(busy: Registry) -> None:
    week = read(build(busy).row.body).weeks["2026-W08"]
    assert week.cell("XA-N", ()) == Cell(25, Status.PUBLISHED)
    assert week.cell("XA-S", ()) == Cell(30, Status.PUBLISHED)
    assert week.cell("XA", ()) == Cell(55, Status.PUBLISHED)
    assert week.cell("XA-N", MILD) == Cell(25, Status.PUBLISHED)
    assert week.cell("XA-N", (("severity", "severe"),)) == Cell(0, Status.PUBLISHED)


def test_the_bytes_are_canonical_hashed_and_signed(busy: Registry) -> None:
    row = build(busy).row
    assert json.dumps(json.loads(row.body), sort_keys=True, separators=(",", ":")).encode() == row.body
    assert hashlib.sha256(row.body).hexdigest() == row.sha256
    signature = base64.urlsafe_b64decode(row.signature + "==")
    public = busy.runtime.counts_key.public_key()
    public.verify(signature, row.body)
    with pytest.raises(InvalidSignature):
        public.verify(signature, row.body.replace(b"25", b"30", 1))


def test_a_release_under_another_number_differs_in_nothing_else(busy: Registry) -> None:
    body = build(busy).row.body
    other = renumbered(body, 17)
    assert {**json.loads(body), "number": 17} == json.loads(other)
    assert renumbered(other, 1) == body


def test_the_bytes_name_no_hospital_and_no_case(busy: Registry) -> None:
    body = build(busy).row.body.decode()
    assert not [site for site in ("north-a", "north-b", "south-a") if site in body]
    assert f"{1:032x}" not in body


def test_building_again_without_a_change_gives_the_same_release(busy: Registry) -> None:
    first = build(busy)
    busy.clock.pass_(hours=5)
    again = build(busy)
    assert (again.new, again.row.number, again.row.body) == (False, 1, first.row.body)
    assert again.row.built_at == first.row.built_at


def test_a_change_below_the_rounding_is_no_new_release(busy: Registry) -> None:
    build(busy)
    busy.cases("north-a", 1)
    assert not build(busy).new


def test_a_changed_week_is_a_new_version_in_a_new_release_and_the_old_one_stays(busy: Registry) -> None:
    first = build(busy).row
    busy.cases("north-a", 11, week="2026-W07")
    busy.cases("north-b", 11, week="2026-W07")
    busy.cases("south-a", 9)
    second = build(busy)
    assert second.new
    document = read(second.row.body)
    assert {week: table.version for week, table in document.weeks.items()} == {"2026-W07": 1, "2026-W08": 2}
    with busy.runtime.database.reading() as session:
        assert session.exec(select(CountReleaseRow.body).where(CountReleaseRow.number == 1)).one() == first.body


def test_a_withdrawn_case_is_gone_from_the_next_release(registry: Registry) -> None:
    for site in ("a-one", "b-one"):
        registry.enrol(site)
    records = registry.cases("a-one", 12) + registry.cases("b-one", 11)
    assert read(build(registry).row.body).weeks["2026-W08"].cell("XA-N", ()).count == 25
    with registry.runtime.database.writing() as session:
        for record in records[:12]:
            accept_case(session, "a-one", record.model_copy(update={"version": 2, "withdrawn": True}), registry.clock())
    after = read(build(registry).row.body).weeks["2026-W08"]
    assert after.cell("XA-N", ()) == Cell(None, Status.WITHHELD, earlier=25)


def test_a_week_whose_cases_are_all_withdrawn_stays_as_an_empty_table(registry: Registry) -> None:
    registry.enrol("a-one")
    [record] = registry.cases("a-one", 1)
    build(registry)
    with registry.runtime.database.writing() as session:
        accept_case(session, "a-one", record.model_copy(update={"version": 2, "withdrawn": True}), registry.clock())
    table = read(build(registry).row.body).weeks["2026-W08"]
    assert (table.version, dict(table.cells)) == (2, {})


def test_the_running_week_is_not_in_a_release(registry: Registry) -> None:
    registry.enrol("a-one")
    registry.cases("a-one", 30, week="2026-W10")  # the clock stands on the Wednesday of week 10
    assert read(build(registry).row.body).weeks == {}
    registry.clock.now = datetime(2026, 3, 9, 0, 0, tzinfo=UTC)
    assert list(read(build(registry).row.body).weeks) == ["2026-W10"]


@pytest.mark.parametrize(
    ("week", "today", "closed"),
    [
        ("2026-W10", date(2026, 3, 8), False),
        ("2026-W10", date(2026, 3, 9), True),
        ("2020-W53", date(2021, 1, 3), False),
        ("2020-W53", date(2021, 1, 4), True),
        ("2026-W01", date(2026, 1, 5), True),
    ],
)
def test_a_week_closes_with_its_sunday(week: str, today: date, *, closed: bool) -> None:
    assert is_closed(week, today) is closed


def test_countries_are_protected_apart(busy: Registry) -> None:
    before = read(build(busy).row.body).weeks["2026-W08"].cells
    busy.enrol("other", "XB")
    busy.cases("other", 3)
    after = read(build(busy).row.body).weeks["2026-W08"].cells
    assert {key: cell for key, cell in after.items() if key[0].startswith("XA")} == before
    assert after["XB", ()] == Cell(None, Status.MASKED, "1-10")


def test_a_stricter_rule_makes_a_new_release(busy: Registry) -> None:
    build(busy)
    strict = build(busy, Rule(minimum=30, rounding=10, sites=2, dominance=0.85))
    assert strict.new
    document = read(strict.row.body)
    assert (document.rule.minimum, document.rule_of("2026-W08").minimum) == (30, 10)


def test_a_build_that_was_overtaken_says_so(busy: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    build(busy)
    busy.cases("south-a", 9)
    monkeypatch.setattr("registry_api.releases.build.latest_row", lambda _: None)
    with pytest.raises(ConflictError) as raised:
        build(busy)
    assert raised.value.code is Code.RUN_IN_PROGRESS


def test_the_archive_finds_the_newest_and_any_other_and_nothing_else(busy: Registry) -> None:
    archive = Archive()
    with busy.runtime.database.reading() as session, pytest.raises(InvalidInputError) as raised:
        archive.row(session)
    assert raised.value.code is Code.NOT_FOUND
    for _ in range(6):
        busy.cases("north-a", 5)
        busy.cases("north-b", 5)
        build(busy)
    with busy.runtime.database.reading() as session:
        assert [entry.number for entry in archive.entries(session)] == [6, 5, 4, 3, 2, 1]
        documents = [archive.document(archive.row(session, number)) for number in range(1, 7)]
        assert [document.number for document in documents] == [1, 2, 3, 4, 5, 6]
        assert archive.row(session).number == 6
        assert archive.document(archive.row(session)) is documents[-1]
