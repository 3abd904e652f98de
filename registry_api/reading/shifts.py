"""When a reader works: shifts on the wall clock of the reader's own time zone, and what the reader declares beside them. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rrulestr

from protocol.codes import Code
from protocol.errors import InvalidInputError

LONGEST = timedelta(hours=24)
"""No shift is longer on the wall clock."""

_DAY = "(?:MO|TU|WE|TH|FR|SA|SU)"
_RULE = re.compile(rf"FREQ=WEEKLY(?:;INTERVAL=(?P<interval>[1-9]|[1-4]\d|5[0-3]))?(?:;BYDAY={_DAY}(?:,{_DAY})*)?")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")
_CLOCK_CHANGE = timedelta(hours=3)
"""Clocks are put back or forward by less than this (by one hour nearly everywhere)."""


class Presence(StrEnum):
    """Whether a reader takes reads now, and why."""

    ON_SHIFT = "on-shift"
    AVAILABLE = "available"
    ANY_TIME = "any-time"
    """No shift is on file and nothing was declared: the reader claims whenever they like, and is never assigned anything."""
    OFF_SHIFT = "off-shift"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a reader says of the time until `until`: there although on no shift, or away although on one."""

    available: bool
    until: datetime


@dataclass(frozen=True, slots=True)
class Shift:
    """A span of work. With a `rule` (RFC 5545, weekly) it comes again at the same time of the wall clock in `time_zone`.

    `capacity` is how many reads the reader holds at once on this shift; None leaves the reader's own number.
    """

    starts_at: datetime
    ends_at: datetime
    time_zone: str = "UTC"
    rule: str | None = None
    repeats_until: datetime | None = None
    capacity: int | None = None


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of this IANA name.

    Raises:
        InvalidInputError: `bad-request` if there is none.
    """
    unknown = InvalidInputError(
        Code.BAD_REQUEST, "There is no such time zone. Give its IANA name, such as Europe/Lisbon."
    )
    if _ZONE.fullmatch(name) is None:
        raise unknown
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise unknown from error


def checked(shift: Shift) -> Shift:
    """Return `shift` if it makes sense.

    Raises:
        InvalidInputError: `bad-request`, saying what does not.
    """
    zone = zone_of(shift.time_zone)
    length = _wall(shift.ends_at, zone) - _wall(shift.starts_at, zone)
    if not timedelta(0) < length <= LONGEST or shift.ends_at <= shift.starts_at:
        raise InvalidInputError(Code.BAD_REQUEST, "A shift ends after it starts, and at most 24 hours after.")
    if shift.rule is not None and _RULE.fullmatch(shift.rule) is None:
        raise InvalidInputError(
            Code.BAD_REQUEST,
            "A shift repeats by FREQ=WEEKLY, with INTERVAL and BYDAY if you like: FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TU.",
        )
    return shift


def presence(shifts: Iterable[Shift], declared: Declaration | None, now: datetime) -> Presence:
    """Say whether the reader takes reads at `now`. What was declared goes before the shifts until its time is over."""
    kept = tuple(shifts)
    said = declared is not None and now < declared.until
    return presence_on(None if said else current(kept, now), declared, now, shifts=bool(kept))


def presence_on(
    on: tuple[Shift, datetime] | None, declared: Declaration | None, now: datetime, *, shifts: bool
) -> Presence:
    """Say what `presence` does where it was looked up already what is `on` (None: nothing), and whether there are any shifts."""
    if declared is not None and now < declared.until:
        return Presence.AVAILABLE if declared.available else Presence.AWAY
    if not shifts:
        return Presence.ANY_TIME
    return Presence.ON_SHIFT if on is not None else Presence.OFF_SHIFT


def current(shifts: Iterable[Shift], now: datetime) -> tuple[Shift, datetime] | None:
    """Return the shift that is on at `now` with its end in UTC; of several the one that ends last."""
    on = [(shift, end) for shift in shifts for start, end in occurrences(shift, now) if start <= now < end]
    return max(on, key=lambda one: one[1], default=None)


def occurrences(shift: Shift, near: datetime) -> list[tuple[datetime, datetime]]:
    """Return start and end in UTC (half-open) of every occurrence that may hold `near`.

    An hour that the clock shows twice counts from its first to its last showing; a start that the clock skips is as far after
    midnight as it would have been (RFC 5545, 3.3.5).
    """
    zone = ZoneInfo(shift.time_zone)
    first = _wall(shift.starts_at, zone)
    length = _wall(shift.ends_at, zone) - first
    if shift.rule is None:
        starts = [first]
    else:
        wall = _wall(near, zone)
        rule = _rule(shift.rule, _close_before(first, wall, shift.rule))
        starts = rule.between(wall - length - _CLOCK_CHANGE, wall + _CLOCK_CHANGE, inc=True)
    spans = [(_instant(start, zone), _last_instant(start + length, zone)) for start in starts]
    return [span for span in spans if shift.repeats_until is None or span[0] < shift.repeats_until]


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return what the clock on the wall shows at `moment`, without a zone."""
    return moment.astimezone(zone).replace(tzinfo=None)


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _last_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    return max(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


def _close_before(first: datetime, wall: datetime, rule: str) -> datetime:
    """Move the beginning of a series by whole intervals to shortly before `wall`, so that years need not be counted through."""
    found = _RULE.fullmatch(rule)
    interval = timedelta(weeks=int(found["interval"] or 1) if found else 1)
    return first + max(0, (wall - first) // interval - 1) * interval


@lru_cache(maxsize=8192)
def _rule(rule: str, start: datetime) -> rrule:
    made: rrule = rrulestr(rule, dtstart=start)
    return made
