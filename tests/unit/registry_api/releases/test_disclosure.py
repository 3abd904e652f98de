"""The disclosure rule: cell by cell, then the two demands on every line, over random tables."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_api.releases.disclosure import (
    LEAST_CANDIDATES,
    Cell,
    Line,
    Rule,
    Status,
    behind,
    implied,
    primary,
    protect,
    rounded,
)
from tests.unit.registry_api.releases.tables_of_studies import RULE, random_week

ALL = ("XA", ())
A, B, C = (("XA", (("severity", name),)) for name in ("mild", "moderate", "severe"))

rules = st.builds(
    Rule,
    minimum=st.integers(10, 40),
    rounding=st.integers(5, 10),
    sites=st.integers(2, 4),
    dominance=st.floats(0.3, 0.85),
)


def alone(tally: dict[str, int], rule: Rule = RULE) -> Cell:
    return protect({ALL: tally}, [], rule)[ALL]


def small_table(a: dict[str, int], b: dict[str, int], c: dict[str, int]) -> dict:
    total = {site: a.get(site, 0) + b.get(site, 0) + c.get(site, 0) for site in a | b | c}
    return protect({ALL: total, A: a, B: b, C: c}, [Line(ALL, (A, B, C))], RULE)


@pytest.mark.parametrize(
    ("tally", "shown"),
    [
        ({}, Cell(0, Status.PUBLISHED)),
        ({"a": 0}, Cell(0, Status.PUBLISHED)),
        ({"a": 1}, Cell(None, Status.MASKED, "1-10")),
        ({"a": 5, "b": 5}, Cell(None, Status.MASKED, "1-10")),
        ({"a": 6, "b": 5}, Cell(15, Status.PUBLISHED)),
        ({"a": 9, "b": 8}, Cell(15, Status.PUBLISHED)),
        ({"a": 9, "b": 9}, Cell(20, Status.PUBLISHED)),
        ({"a": 400}, Cell(None, Status.WITHHELD)),
        ({"a": 86, "b": 14}, Cell(None, Status.WITHHELD)),
        ({"a": 85, "b": 15}, Cell(100, Status.PUBLISHED)),
        ({"a": 60, "b": 0}, Cell(None, Status.WITHHELD)),
    ],
)
def test_a_cell_alone(tally: dict[str, int], shown: Cell) -> None:
    assert alone(tally) == shown


@given(count=st.integers(0, 5000), rule=rules)
def test_rounding_is_on_the_grid_near_and_never_small(count: int, rule: Rule) -> None:
    shown = rounded(count, rule)
    assert shown % rule.rounding == 0
    assert shown == 0 if count == 0 else shown > rule.minimum
    if count > rule.smallest:
        assert abs(shown - count) <= rule.rounding / 2


@given(count=st.integers(11, 5000), rule=rules)
def test_what_stands_behind_a_number_is_found_by_trying_all(count: int, rule: Rule) -> None:
    count = max(count, rule.minimum + 1)
    shown = rounded(count, rule)
    low, high = behind(shown, rule)
    everything = [
        n for n in range(rule.minimum + 1, count + 3 * rule.rounding + rule.smallest) if rounded(n, rule) == shown
    ]
    assert (low, high) == (everything[0], everything[-1])


@given(tally=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 200)), rule=rules)
def test_the_rule_is_total(tally: dict[str, int], rule: Rule) -> None:
    cell = alone(tally, rule)
    count = sum(tally.values())
    if cell.status is Status.PUBLISHED:
        assert cell.count is not None
        assert cell.count == 0 or max(tally.values()) <= rule.dominance * count
    else:
        assert cell.count is None
    assert (cell.status is Status.MASKED) == (1 <= count <= rule.minimum)


def test_a_lone_masked_cell_gets_the_next_smallest_as_company() -> None:
    cells = small_table({"a": 3, "b": 2}, {"a": 20, "b": 20}, {"a": 10, "b": 10})
    assert cells[A] == Cell(None, Status.MASKED, "1-10")
    assert cells[C] == Cell(None, Status.WITHHELD)
    assert cells[B] == Cell(40, Status.PUBLISHED)
    assert cells[ALL] == Cell(65, Status.PUBLISHED)


def test_two_masked_cells_are_company_enough() -> None:
    cells = small_table({"a": 3, "b": 2}, {"a": 4, "b": 4}, {"a": 10, "b": 10})
    assert [cells[key].status for key in (A, B, C)] == [Status.MASKED, Status.MASKED, Status.PUBLISHED]


def test_a_number_of_one_hospital_gets_company_too() -> None:
    cells = small_table({"a": 60}, {"a": 20, "b": 20}, {"a": 15, "b": 15})
    assert cells[A].status is Status.WITHHELD
    assert cells[C].status is Status.WITHHELD


def test_without_another_part_the_total_is_withheld() -> None:
    total, part = {"a": 50, "b": 1}, {"a": 50, "b": 1}
    cells = protect({ALL: total, A: part}, [Line(ALL, (A, B))], RULE)
    assert cells[A] == cells[ALL] == Cell(None, Status.WITHHELD)


def test_two_large_masked_cells_do_not_stand_beside_a_total_that_pins_them() -> None:
    a, b = {"a": 5, "b": 5}, {"a": 5, "b": 5}
    cells = protect({ALL: {"a": 10, "b": 10}, A: a, B: b}, [Line(ALL, (A, B))], RULE)
    bounds = implied(cells, [Line(ALL, (A, B))], RULE)
    assert bounds[A][1] - bounds[A][0] + 1 >= LEAST_CANDIDATES


def test_the_same_table_gives_the_same_cells_in_any_order() -> None:
    week = random_week(3)
    shuffled = dict(reversed(week.tallies.items()))
    assert protect(shuffled, list(reversed(week.lines)), RULE) == protect(week.tallies, week.lines, RULE)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 60), regions=st.integers(1, 4))
def test_demands_hold_for_whole_cubes(seed: int, size: int, regions: int) -> None:
    week = random_week(seed, per_site=[size] * 5, regions=regions)
    cells = protect(week.tallies, week.lines, RULE)
    assert cells.keys() == week.tallies.keys()
    for key, cell in cells.items():
        assert cell.status in (primary(week.tallies[key], RULE), Status.WITHHELD)
        assert cell.count is None or cell.count == rounded(week.count(key), RULE)
    for line in week.lines:
        members = [key for key in (line.total, *line.parts) if key in cells and week.count(key)]
        assert sum(cells[key].count is None for key in members) != 1
    _truth_stays_possible(week, cells)


def _truth_stays_possible(week, cells) -> None:
    bounds = implied(cells, week.lines, RULE)
    assert all(low <= week.count(key) <= high for key, (low, high) in bounds.items())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_masked_cell_is_pinned_by_published_numbers(seed: int) -> None:
    week = random_week(seed)
    cells = protect(week.tallies, week.lines, RULE)
    hidden = {key: cell if cell.count in (0, None) else Cell(None, Status.WITHHELD) for key, cell in cells.items()}
    now, zeros_only = implied(cells, week.lines, RULE), implied(hidden, week.lines, RULE)
    for key, cell in cells.items():
        if cell.status is Status.MASKED:
            left = now[key][1] - now[key][0] + 1
            assert left >= min(LEAST_CANDIDATES, zeros_only[key][1] - zeros_only[key][0] + 1)
