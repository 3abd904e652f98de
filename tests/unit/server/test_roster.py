"""Who may come in is what the registry last said, and nobody when it has been silent for a minute."""

import pytest

from protocol.enrolment import SiteEntry
from server.roster import REFRESH_SECONDS, STALE_SECONDS, Roster

A, B = "ab" * 16, "cd" * 16


def entry(site: str, *serials: str, active: bool = True) -> SiteEntry:
    return SiteEntry(site=site, region="XA", supernode_key=None, active=active, certificate_serials=serials)


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


def test_nobody_is_known_before_the_registry_has_spoken(clock: Time) -> None:
    roster = Roster(clock)
    assert not roster.fresh
    assert roster.site_of(A) is None


def test_every_certificate_of_an_active_site_counts(clock: Time) -> None:
    roster = Roster(clock)
    roster.hear([entry("north", A, B)])
    assert roster.fresh
    assert (roster.site_of(A), roster.site_of(B)) == ("north", "north")


@pytest.mark.parametrize("serial", [None, "", "ef" * 16, A.upper(), "0" + A])
def test_no_other_serial_does(clock: Time, serial: str | None) -> None:
    roster = Roster(clock)
    roster.hear([entry("north", A)])
    assert roster.site_of(serial) is None


def test_a_site_that_was_shut_out_is_out_at_the_next_word(clock: Time) -> None:
    roster = Roster(clock)
    roster.hear([entry("north", A)])
    roster.hear([entry("north", A, active=False)])
    assert roster.site_of(A) is None


def test_a_certificate_that_was_replaced_is_out(clock: Time) -> None:
    roster = Roster(clock)
    roster.hear([entry("north", A)])
    roster.hear([entry("north", B)])
    assert (roster.site_of(A), roster.site_of(B)) == (None, "north")


def test_a_word_counts_for_a_minute(clock: Time) -> None:
    roster = Roster(clock)
    roster.hear([])
    clock.now += STALE_SECONDS
    assert roster.fresh
    clock.now += 0.1
    assert not roster.fresh
    roster.hear([])
    assert roster.fresh
    assert REFRESH_SECONDS * 5 < STALE_SECONDS


def test_the_first_certificate_of_a_site_is_the_one_to_use(clock: Time) -> None:
    roster = Roster(clock)
    roster.hear([entry("north", A, B), entry("south")])
    assert (roster.is_present(A), roster.is_present(B), roster.is_present(None)) == (True, False, False)
    roster.hear([entry("north", B, A)])
    assert (roster.is_present(A), roster.is_present(B)) == (False, True)
