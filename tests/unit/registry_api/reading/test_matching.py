"""Eligibility gives every reason there is, and no reason where there is none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from protocol.case import AgeBand
from protocol.reading import Priority, StudyKind, Subspecialty, kinds_of
from registry_api.reading.matching import (
    REASONS,
    Licence,
    Obstacle,
    ReaderProfile,
    Training,
    Wanted,
    capacity_at,
    licensed,
    obstacles,
)
from registry_api.reading.shifts import Declaration, Shift

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR, HOUR = timedelta(days=365), timedelta(hours=1)
THORACIC = Subspecialty.THORACIC
ADULT, YOUNG = frozenset({StudyKind.CT_CHEST_ADULT}), frozenset({StudyKind.CT_CHEST_UNDER_20})
LICENCE = Licence("XA", NOW - YEAR, NOW + YEAR)
READER = ReaderProfile(
    reader_id="a" * 32, licences=(LICENCE,), languages=frozenset({"en"}), agreements=frozenset({"northport"}),
    privileges=frozenset({"northport"}),
)  # fmt: skip
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


def test_a_privilege_with_limits_is_enough_within_them() -> None:
    limited = replace(
        READER,
        privilege_ends={"northport": WANTED.due_at + HOUR, "southbay": NOW},
        privilege_studies={"northport": ADULT},
    )
    assert obstacles(limited, replace(WANTED, kinds=ADULT), now=NOW) == ()


@pytest.mark.parametrize(
    ("age", "kinds"),
    [
        (AgeBand.UNDER_20, {StudyKind.CT_CHEST_UNDER_20}),
        (AgeBand.FROM_20, {StudyKind.CT_CHEST_ADULT}),
        (AgeBand.UNKNOWN, {StudyKind.CT_CHEST_ADULT, StudyKind.CT_CHEST_UNDER_20}),
    ],
)
def test_a_study_of_unknown_age_asks_for_every_kind(age: AgeBand, kinds: set[StudyKind]) -> None:
    assert kinds_of(age) == kinds


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
        (replace(READER, licences=(), unverified=frozenset({"XA"})), WANTED, Obstacle.LICENCE_UNVERIFIED),
        (READER, replace(WANTED, subspecialty=THORACIC), Obstacle.SUBSPECIALTY),
        (replace(READER, trainings=(Training(THORACIC, NOW - YEAR, NOW),)), replace(WANTED, subspecialty=THORACIC), Obstacle.SUBSPECIALTY),
        (replace(READER, agreements=frozenset()), WANTED, Obstacle.NO_AGREEMENT),
        (replace(READER, agreement_ends={"northport": NOW}), WANTED, Obstacle.NO_AGREEMENT),
        (replace(READER, agreement_ends={"northport": NOW + HOUR}), WANTED, Obstacle.AGREEMENT_ENDS),
        (replace(READER, privileges=frozenset({"southbay"})), WANTED, Obstacle.NO_PRIVILEGE),
        (replace(READER, privilege_ends={"northport": NOW}), WANTED, Obstacle.NO_PRIVILEGE),
        (replace(READER, privilege_ends={"northport": NOW + HOUR}), WANTED, Obstacle.PRIVILEGE_ENDS),
        (replace(READER, privilege_studies={"northport": ADULT}), replace(WANTED, kinds=YOUNG), Obstacle.OUTSIDE_PRIVILEGE),
        (replace(READER, privilege_studies={"northport": ADULT}), replace(WANTED, kinds=ADULT | YOUNG), Obstacle.OUTSIDE_PRIVILEGE),
        (replace(READER, declared=Declaration(available=False, until=NOW + HOUR)), WANTED, Obstacle.AWAY),
        (replace(READER, shifts=(Shift(NOW + HOUR, NOW + 2 * HOUR),)), WANTED, Obstacle.OFF_SHIFT),
        (replace(READER, shifts=(Shift(NOW - HOUR, NOW + HOUR, capacity=1),), held=1), WANTED, Obstacle.AT_CAPACITY),
        (replace(READER, conflicts=frozenset({"northport"})), WANTED, Obstacle.CONFLICT),
        (replace(READER, held=5), WANTED, Obstacle.AT_CAPACITY),
        (replace(READER, held=2, held_stat=2), replace(WANTED, priority=Priority.STAT), Obstacle.AT_CAPACITY),
        (replace(READER, home_site="northport"), WANTED, Obstacle.SAME_HOSPITAL),
        (READER, replace(WANTED, earlier_readers=frozenset({READER.reader_id})), Obstacle.EARLIER_READER),
        (replace(READER, held=1, restricted_until=NOW + timedelta(seconds=1)), WANTED, Obstacle.AT_CAPACITY),
        (replace(READER, pools=frozenset({"northport"})), WANTED, Obstacle.NOT_WIDENED),
        (replace(READER, organisations=frozenset({"group X"})), replace(WANTED, excluded=frozenset({"group X", "group Y"})), Obstacle.SAME_ORGANISATION),
    ],
)  # fmt: skip
def test_each_obstacle_is_named_alone(reader: ReaderProfile, wanted: Wanted, expected: Obstacle) -> None:
    assert obstacles(reader, wanted, now=NOW) == (expected,)


@pytest.mark.parametrize(
    ("reader", "wanted"),
    [
        (replace(READER, held=4, restricted_until=NOW), WANTED),
        (replace(READER, held=0, restricted_until=NOW + YEAR), WANTED),
        (replace(READER, pools=frozenset({"northport"})), replace(WANTED, widened=True)),
        (replace(READER, pools=frozenset({"southbay"})), WANTED),
    ],
)
def test_what_is_over_or_of_another_hospital_is_no_obstacle(reader: ReaderProfile, wanted: Wanted) -> None:
    assert obstacles(reader, wanted, now=NOW) == ()


def test_all_reasons_are_given_at_once() -> None:
    none: frozenset[str] = frozenset()
    stranger = ReaderProfile(
        reader_id="b" * 32, licences=(), languages=none, agreements=none, privileges=none, held=9,
        conflicts=frozenset({"northport"}), shifts=(Shift(NOW - 2 * HOUR, NOW - HOUR),),
    )  # fmt: skip
    wanted = replace(WANTED, earlier_readers=frozenset({"b" * 32}), subspecialty=THORACIC)
    found = obstacles(stranger, wanted, now=NOW)
    left_out = {
        Obstacle.LICENCE_ENDS,
        Obstacle.LICENCE_UNVERIFIED,
        Obstacle.SAME_HOSPITAL,
        Obstacle.AWAY,
        Obstacle.SAME_ORGANISATION,
        Obstacle.NOT_WIDENED,
        Obstacle.ASSIGNED,
        Obstacle.AGREEMENT_ENDS,
        Obstacle.PRIVILEGE_ENDS,
        Obstacle.OUTSIDE_PRIVILEGE,
    }
    assert set(found) == set(Obstacle) - left_out


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


def test_who_is_trained_meets_no_obstacle_while_the_training_holds() -> None:
    reader = replace(READER, trainings=(Training(THORACIC, NOW - YEAR, NOW + YEAR),))
    wanted = replace(WANTED, subspecialty=THORACIC)
    assert obstacles(reader, wanted, now=NOW) == ()
    assert obstacles(reader, replace(wanted, subspecialty=Subspecialty.CARDIAC), now=NOW) == (Obstacle.SUBSPECIALTY,)


def test_who_says_that_they_are_there_reads_beside_their_shifts() -> None:
    off = replace(READER, shifts=(Shift(NOW + HOUR, NOW + 2 * HOUR),))
    there = Declaration(available=True, until=NOW + HOUR)
    assert obstacles(replace(off, declared=there), WANTED, now=NOW) == ()


def test_a_shift_has_a_capacity_of_its_own_while_it_lasts() -> None:
    reader = replace(READER, shifts=(Shift(NOW, NOW + HOUR, capacity=9),))
    assert (capacity_at(reader, NOW), capacity_at(reader, NOW + HOUR)) == (9, 5)
