"""Numbers of a week that is published again: kept while they are near, and all versions together tell no more than plain rounding would."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_api.releases.disclosure import Cell, Rule, Status, behind, protect, rounded
from registry_api.releases.steady import steady
from tests.unit.registry_api.releases.tables_of_studies import RULE

KEY = ("XA", ())
MASKED, WITHHELD = Cell(None, Status.MASKED, "1-10"), Cell(None, Status.WITHHELD)
rules = st.integers(5, 40).flatmap(
    lambda minimum: st.builds(
        Rule, minimum=st.just(minimum), rounding=st.integers(2, minimum), sites=st.just(2), dominance=st.just(0.85)
    )
)


def number(count: int) -> Cell:
    return Cell(count, Status.PUBLISHED)


def kept(cell: Cell, before: Cell | None, rule: Rule = RULE) -> Cell:
    return steady({KEY: cell}, {} if before is None else {KEY: before}, rule)[KEY]


def plain(count: int, rule: Rule = RULE) -> Cell:
    """The cell of a count to which two hospitals of equal size contribute."""
    return protect({KEY: {"a": count // 2, "b": count - count // 2}}, [], rule)[KEY]


def versions(cells: list[Cell], rule: Rule = RULE) -> list[Cell]:
    """What is shown of a cell in one version of its week after the other."""
    first, *others = cells
    return list(accumulate(others, lambda before, cell: kept(cell, before, rule), initial=first))


@pytest.mark.parametrize(
    ("cell", "before", "shown"),
    [
        (number(20), None, number(20)),
        (number(25), number(20), number(20)),
        (number(15), number(20), number(20)),
        (number(30), number(20), number(30)),
        (number(15), number(25), number(15)),
        (number(0), number(15), number(0)),
        (number(15), number(0), number(15)),
        (MASKED, number(15), Cell(None, Status.MASKED, "1-10", earlier=15)),
        (WITHHELD, number(20), Cell(None, Status.WITHHELD, earlier=20)),
        (number(25), Cell(None, Status.WITHHELD, earlier=20), number(20)),
        (number(30), Cell(None, Status.WITHHELD, earlier=20), number(30)),
        (WITHHELD, Cell(None, Status.WITHHELD, earlier=20), Cell(None, Status.WITHHELD, earlier=20)),
        (number(15), MASKED, number(15)),
        (WITHHELD, WITHHELD, WITHHELD),
    ],
)
def test_a_number_moves_by_two_steps_or_not_at_all(cell: Cell, before: Cell | None, shown: Cell) -> None:
    assert kept(cell, before) == shown


@given(st.lists(st.integers(0, 80), min_size=1, max_size=6), rules)
def test_whatever_comes_it_is_shown_on_the_grid_zero_as_zero_and_small_counts_masked(
    counts: list[int], rule: Rule
) -> None:
    for count, cell in zip(counts, versions([plain(count, rule) for count in counts], rule), strict=True):
        assert (cell.status is Status.MASKED) == (1 <= count <= rule.minimum)
        assert (cell.count == 0) == (count == 0)
        if cell.count:
            assert cell.count % rule.rounding == 0
            assert cell.count > rule.minimum
            low, high = behind(cell.count, rule, kept=True)
            assert low <= count <= high


@given(st.integers(0, 200), st.integers(0, 200), rules)
def test_built_again_without_a_change_it_is_the_same(first: int, second: int, rule: Rule) -> None:
    now = kept(plain(second, rule), plain(first, rule), rule)
    assert kept(plain(second, rule), now, rule) == now


@given(st.integers(11, 300), st.lists(st.integers(-5, 5), max_size=8))
def test_a_number_stays_while_no_more_than_a_step_of_studies_came_and_went(count: int, changes: list[int]) -> None:
    counts = [count]
    for change in changes:
        if sum(abs(after - before) for before, after in pairwise(counts)) + abs(change) <= 5:
            counts.append(max(counts[-1] + change, 0))
    shown = {cell.count for cell in versions([plain(one) for one in counts])}
    assert shown - {None} == {rounded(count, RULE)}


ALIKE = {cell: [count for count in range(70) if plain(count) == cell] for cell in map(plain, range(70))}
"""By cell: the counts that are shown so, if nothing was shown before."""


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=2, max_size=6), st.data())
def test_counts_that_rounding_alone_does_not_tell_apart_are_not_told_apart_here(
    history: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """The proof, on any other history of the same rounded numbers and hidden cells: every version shows the same."""

    def cells(counts: list[int]) -> list[Cell]:
        hidden = [company and count > RULE.minimum for count, (_, company) in zip(counts, history, strict=True)]
        return [WITHHELD if one else plain(count) for count, one in zip(counts, hidden, strict=True)]

    counts = [count for count, _ in history]
    others = [data.draw(st.sampled_from(ALIKE[plain(count)])) for count in counts]
    assert versions(cells(others)) == versions(cells(counts))
