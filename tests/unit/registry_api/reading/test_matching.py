"""Eligibility gives every reason there is, and no reason where there is none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.reading import Priority
from registry_api.reading.matching import (
    REASONS,
    Licence,
    Obstacle,
    ReaderProfile,
    Wanted,
    in_order,
    licensed,
    obstacles,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
LICENCE = Licence("XA", NOW - YEAR, NOW + YEAR)
READER = ReaderProfile(
    reader_id="a" * 32, licences=(LICENCE,), languages=frozenset({"en"}), agreements=frozenset({"northport"})
)
WANTED = Wanted(
    request_id="1" * 32,
    site="northport",
    jurisdiction="XA-N",
    language="en",
    priority=Priority.ROUTINE,
    posted_at=NOW,
    due_at=NOW + timedelta(hours=24),
)


def test_a_fitting_reader_meets_no_obstacle() -> None:
    assert obstacles(READER, WANTED, now=NOW) == ()


@pytest.mark.parametrize(
    ("reader", "wanted", "expected"),
    [
        (replace(READER, licences=()), WANTED, Obstacle.NO_LICENCE),
        (replace(READER, licences=(replace(LICENCE, jurisdiction="XA-S"),)), WANTED, Obstacle.NO_LICENCE),
        (replace(READER, licences=(replace(LICENCE, jurisdiction="XA-N"),)), replace(WANTED, jurisdiction="XA"), Obstacle.NO_LICENCE),
        (replace(READER, licences=(replace(LICENCE, valid_until=NOW),)), WANTED, Obstacle.NO_LICENCE),
        (replace(READER, licences=(replace(LICENCE, valid_from=NOW + timedelta(seconds=1)),)), WANTED, Obstacle.NO_LICENCE),
        (replace(READER, licences=(replace(LICENCE, valid_until=NOW + timedelta(hours=1)),)), WANTED, Obstacle.LICENCE_ENDS),
        (READER, replace(WANTED, language="pt"), Obstacle.LANGUAGE),
        (READER, replace(WANTED, site="southbay"), Obstacle.NO_AGREEMENT),
        (replace(READER, held=5), WANTED, Obstacle.AT_CAPACITY),
        (replace(READER, held=2, held_stat=2), replace(WANTED, priority=Priority.STAT), Obstacle.AT_CAPACITY),
        (replace(READER, home_site="northport"), WANTED, Obstacle.SAME_HOSPITAL),
        (READER, replace(WANTED, earlier_readers=frozenset({READER.reader_id})), Obstacle.EARLIER_READER),
        (replace(READER, organisations=frozenset({"group X"})), replace(WANTED, excluded=frozenset({"group X", "group Y"})), Obstacle.SAME_ORGANISATION),
    ],
)  # fmt: skip
def test_each_obstacle_is_named_alone(reader: ReaderProfile, wanted: Wanted, expected: Obstacle) -> None:
    assert obstacles(reader, wanted, now=NOW) == (expected,)


def test_all_reasons_are_given_at_once() -> None:
    stranger = ReaderProfile(reader_id="b" * 32, licences=(), languages=frozenset(), agreements=frozenset(), held=9)
    found = obstacles(stranger, replace(WANTED, earlier_readers=frozenset({"b" * 32})), now=NOW)
    assert set(found) == set(Obstacle) - {Obstacle.LICENCE_ENDS, Obstacle.SAME_HOSPITAL, Obstacle.SAME_ORGANISATION}


def test_two_licences_may_follow_one_another() -> None:
    first = replace(LICENCE, valid_until=NOW + timedelta(hours=1))
    second = replace(LICENCE, valid_from=NOW + timedelta(hours=1))
    assert obstacles(replace(READER, licences=(first, second)), WANTED, now=NOW) == ()


def test_a_read_that_is_late_needs_a_licence_now() -> None:
    late = NOW + timedelta(days=2)
    ended = replace(READER, licences=(replace(LICENCE, valid_until=NOW + timedelta(hours=30)),))
    assert obstacles(ended, WANTED, now=NOW) == ()
    assert obstacles(ended, WANTED, now=late) == (Obstacle.NO_LICENCE,)


def test_a_neighbour_with_a_longer_code_is_another_country() -> None:
    assert not licensed(READER, "XAB", NOW)


def test_a_stat_read_does_not_count_against_an_urgent_one() -> None:
    assert obstacles(replace(READER, held=2, held_stat=2), replace(WANTED, priority=Priority.URGENT), now=NOW) == ()


@pytest.mark.parametrize("obstacle", list(Obstacle))
def test_every_obstacle_is_said_in_a_sentence(obstacle: Obstacle) -> None:
    assert REASONS[obstacle].endswith(".")


@given(st.permutations(range(6)))
def test_the_order_is_the_same_however_they_come(order: list[int]) -> None:
    hour = timedelta(hours=1)
    ranked = [
        replace(WANTED, request_id="f" * 32, priority=Priority.STAT),
        replace(WANTED, request_id="0" * 32, priority=Priority.URGENT, due_at=NOW),
        replace(WANTED, request_id="9" * 32, priority=Priority.URGENT, due_at=NOW + hour, posted_at=NOW - hour),
        replace(WANTED, request_id="1" * 32, priority=Priority.URGENT, due_at=NOW + hour),
        replace(WANTED, request_id="2" * 32, due_at=NOW - hour),
        replace(WANTED, request_id="3" * 32, due_at=NOW - hour),
    ]
    assert in_order(ranked[index] for index in order) == ranked
