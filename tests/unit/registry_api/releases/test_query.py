"""Questions to a release: nothing finer than the cube, nothing of another country, zeros filled in."""

import pytest

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.releases.cube import DIMENSIONS
from registry_api.releases.disclosure import Cell, Status
from registry_api.releases.document import Document, WeekTable
from registry_api.releases.query import answers, ask, may_see
from tests.unit.registry_api.releases.tables_of_studies import RULE

CELLS = {
    ("XA", ()): Cell(40, Status.PUBLISHED),
    ("XA-N", ()): Cell(25, Status.PUBLISHED),
    ("XA-N", (("severity", "mild"),)): Cell(None, Status.MASKED, "1-10"),
    ("XB", ()): Cell(15, Status.PUBLISHED),
}
DOCUMENT = Document(
    number=3,
    rule=RULE,
    places=("XA", "XA-N", "XA-S", "XB"),
    weeks={"2026-W08": WeekTable("2026-W08", 1, CELLS), "2026-W07": WeekTable("2026-W07", 2, {})},
)


def places(by: str, region: str | None, wanted: dict[str, list[str]] | None = None) -> list[str]:
    found = answers(DOCUMENT, ask(by.split(","), wanted or {}), region=region)
    return sorted({answer.place for answer in found})


def test_cells_come_by_week_place_and_category_with_zeros() -> None:
    found = answers(DOCUMENT, ask(["week", "region", "severity"], {}), region="XA")
    assert len(found) == 2 * 2 * len(DIMENSIONS["severity"])
    assert [answer.week for answer in found] == sorted(answer.week for answer in found)
    first = [answer for answer in found if (answer.week, answer.place) == ("2026-W08", "XA-N")]
    assert [answer.cell.count for answer in first] == [0, None, 0, 0]


@pytest.mark.parametrize(
    ("by", "region", "seen"),
    [
        ("week,region", "XA", ["XA-N", "XA-S"]),
        ("week,country", "XA", ["XA"]),
        ("week", "XA", ["XA"]),
        ("week,region", "XA-N", ["XA-N"]),
        ("week,country", "XA-N", ["XA-N"]),
        ("week,country", None, ["XA", "XB"]),
        ("week,country", "XB", ["XB"]),
        ("week,region", "XB", []),
        ("week,country", "X", []),
    ],
)
def test_a_caller_sees_its_own_place_only(by: str, region: str | None, seen: list[str]) -> None:
    assert places(by, region) == seen


def test_asking_for_a_foreign_place_by_name_gives_nothing() -> None:
    assert places("week,country", "XA", {"country": ["XB"]}) == []
    assert places("week,region", "XA-N", {"region": ["XA-S"]}) == []


@pytest.mark.parametrize(
    ("place", "region", "allowed"),
    [("XA-N", "XA", True), ("XA", "XA-N", False), ("XA-N", "XA-S", False), ("XAB", "XA", False), ("XB", None, True)],
)
def test_may_see(place: str, region: str | None, *, allowed: bool) -> None:
    assert may_see(place, region) is allowed


def test_wanted_values_narrow_the_answer_and_count_as_dimensions() -> None:
    found = answers(
        DOCUMENT, ask(["week"], {"severity": ["mild"], "week": ["2026-W08"], "region": ["XA-N"]}), region="XA"
    )
    assert [(a.place, a.categories, a.cell.status) for a in found] == [("XA-N", (("severity", "mild"),), Status.MASKED)]


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ("severity,age,sex", {}),
        ("severity,age", {"sex": ["female"]}),
        ("week,region", {"sex": ["female"], "pcr": ["positive"], "rsna": ["typical"]}),
    ],
)
def test_what_is_finer_than_the_cube_is_refused_and_told_what_is_allowed(by: str, wanted: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidInputError, match="at most 2 of severity, age") as raised:
        ask(by.split(","), wanted)
    assert raised.value.code is Code.TOO_FINE


@pytest.mark.parametrize(
    ("by", "wanted"),
    [("hospital", {}), ("week,region,country", {}), ("severity", {"severity": ["bad"]}), ("week", {"site": ["a"]})],
)
def test_what_does_not_exist_is_refused(by: str, wanted: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidInputError) as raised:
        ask(by.split(","), wanted)
    assert raised.value.code is Code.BAD_REQUEST
