"""How evenly reads were shared: the coefficient by its definition, and a month as it was."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidInputError
from protocol.reading import ReadPost
from registry_api.reading.groups import set_group
from registry_api.reading.load import gini, loads, month_of
from tests.unit.registry_api.reading.story import Story, opened, receipt


@pytest.mark.parametrize(
    ("values", "expected"), [([], 0), ([0, 0], 0), ([7], 0), ([3, 3, 3], 0), ([0, 0, 0, 8], 0.75), ([1, 3], 0.25)]
)
def test_known_coefficients(values: list[int], expected: float) -> None:
    assert gini(values) == pytest.approx(expected)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=12).filter(any))
def test_it_is_half_the_mean_difference_over_the_mean(values: list[int]) -> None:
    mean = sum(values) / len(values)
    difference = sum(abs(one - other) for one in values for other in values) / len(values) ** 2
    assert gini(values) == pytest.approx(difference / (2 * mean))
    assert gini(values) == pytest.approx(gini([3 * value for value in values]))


def test_a_month_counts_what_was_signed_in_it_group_by_group(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    busy, idle, alone = add_reader("Busy"), add_reader("Idle"), add_reader("Alone")
    with story.database.writing() as session:
        for reader in (busy, idle):
            set_group(session, reader, group="Night readers")
    for number in range(3):
        story.arrives(post(f"{number:032x}"))
        claim = story.claims(busy, f"{number:032x}")
        story.arrives(opened(claim))
        story.arrives(receipt(claim))
        story.signs(claim, busy)
    begins, ends = month_of("2026-03")
    lonely, night = story.look(lambda session: loads(session, begins=begins, ends=ends))
    assert (night.group, night.reads, night.gini) == ("Night readers", {busy: 3, idle: 0}, pytest.approx(0.5))
    assert (lonely.group, lonely.reads) == ("", {alone: 0})
    begins, ends = month_of("2026-04")
    april = story.look(lambda session: loads(session, begins=begins, ends=ends))
    assert [sum(group.reads.values()) for group in april] == [0, 0]


def test_a_year_ends_with_its_december() -> None:
    assert month_of("2026-12") == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("text", ["2026-13", "2026", "March", "2026-3", "1999-01"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        month_of(text)
