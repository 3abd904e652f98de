"""What is read first: the same for everyone, hospitals in turn, and triage that only ever raises."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.reading import Priority
from registry_api.reading.matching import Wanted
from registry_api.reading.order import RANKS, effective_priority, in_order

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WANTED = Wanted(
    request_id="1" * 32, site="northport", jurisdiction="XA-N", language="en", priority=Priority.ROUTINE, posted_at=NOW,
    due_at=NOW + 24 * HOUR,
)  # fmt: skip

waiting = st.builds(
    Wanted,
    request_id=st.integers(0, 10**9).map(lambda number: f"{number:032x}"),
    site=st.sampled_from(["northport", "southbay", "eastgate"]),
    jurisdiction=st.just("XA"),
    language=st.just("en"),
    priority=st.sampled_from(Priority),
    posted_at=st.just(NOW),
    due_at=st.integers(0, 5).map(lambda hours: NOW + hours * HOUR),
    ggo_percent=st.integers(0, 100),
    uncertainty_percent=st.integers(0, 100),
)
queues = st.lists(waiting, max_size=25, unique_by=lambda one: one.request_id)


@given(st.permutations(range(6)))
def test_the_order_is_the_same_however_they_come(order: list[int]) -> None:
    ranked = [
        replace(WANTED, request_id="f" * 32, priority=Priority.STAT),
        replace(WANTED, request_id="0" * 32, priority=Priority.URGENT, due_at=NOW),
        replace(WANTED, request_id="9" * 32, priority=Priority.URGENT, due_at=NOW + HOUR, posted_at=NOW - HOUR),
        replace(WANTED, request_id="1" * 32, priority=Priority.URGENT, due_at=NOW + HOUR),
        replace(WANTED, request_id="2" * 32, due_at=NOW - HOUR),
        replace(WANTED, request_id="3" * 32, due_at=NOW - HOUR),
    ]
    assert in_order(ranked[index] for index in order) == ranked


def test_hospitals_take_turns_inside_one_priority() -> None:
    many = [replace(WANTED, request_id=f"a{number:031x}", due_at=NOW + number * HOUR) for number in range(4)]
    few = replace(WANTED, request_id="b" * 32, site="southbay", due_at=NOW + 23 * HOUR)
    assert [one.site for one in in_order([*many, few])] == ["northport", "southbay", *["northport"] * 3]


def test_whose_reads_are_in_hand_waits_for_the_others() -> None:
    early = replace(WANTED, due_at=NOW)
    other = replace(WANTED, request_id="b" * 32, site="southbay")
    assert in_order([early, other])[0] == early
    assert in_order([early, other], {"northport": 1})[0] == other


def test_a_higher_priority_waits_for_no_turn() -> None:
    stat = replace(WANTED, request_id="a" * 32, priority=Priority.STAT)
    other = replace(WANTED, request_id="b" * 32, site="southbay")
    assert in_order([other, stat], {"northport": 99})[0] == stat


@given(queues, st.dictionaries(st.sampled_from(["northport", "southbay"]), st.integers(0, 9)))
def test_a_priority_is_never_overtaken_and_turns_differ_by_one_at_most(
    queue: list[Wanted], held: dict[str, int]
) -> None:
    ordered = in_order(queue, held)
    assert sorted(ordered, key=lambda one: one.request_id) == sorted(queue, key=lambda one: one.request_id)
    ranks = [RANKS[effective_priority(one)] for one in ordered]
    assert ranks == sorted(ranks)
    for rank in set(ranks):
        ahead: dict[str, int] = dict(held)
        inside = [one for one in ordered if RANKS[effective_priority(one)] == rank]
        for place, one in enumerate(inside):
            waiting_still = {other.site for other in inside[place:]}
            assert ahead.get(one.site, 0) == min(ahead.get(site, 0) for site in waiting_still)
            ahead[one.site] = ahead.get(one.site, 0) + 1


@given(waiting)
def test_triage_never_lowers_a_priority(wanted: Wanted) -> None:
    assert RANKS[effective_priority(wanted)] <= RANKS[wanted.priority]


@given(waiting, st.integers(0, 100), st.integers(0, 100))
def test_more_disease_or_doubt_never_comes_later(wanted: Wanted, ggo: int, doubt: int) -> None:
    worse = replace(
        wanted,
        ggo_percent=max(wanted.ggo_percent, ggo),
        uncertainty_percent=max(wanted.uncertainty_percent, doubt),
    )
    assert RANKS[effective_priority(worse)] <= RANKS[effective_priority(wanted)]


@pytest.mark.parametrize(
    ("ggo", "doubt", "expected"),
    [(24, 29, Priority.ROUTINE), (25, 0, Priority.URGENT), (0, 30, Priority.URGENT), (0, 100, Priority.URGENT), (50, 0, Priority.STAT)],
)  # fmt: skip
def test_from_where_on_triage_raises(ggo: int, doubt: int, expected: Priority) -> None:
    assert effective_priority(replace(WANTED, ggo_percent=ggo, uncertainty_percent=doubt)) is expected
