"""Who may read what, and what comes first. Pure: every reason is a value, so that a page can show it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from protocol.reading import Language, Priority
from protocol.shape import OpaqueId, RegionCode, SiteId


class Obstacle(StrEnum):
    """Why a request is not offered to a reader."""

    NO_LICENCE = "no-licence"
    LICENCE_ENDS = "licence-ends-before-due"
    LANGUAGE = "language"
    NO_AGREEMENT = "no-agreement"
    AT_CAPACITY = "at-capacity"
    SAME_HOSPITAL = "same-hospital"
    EARLIER_READER = "earlier-reader"
    SAME_ORGANISATION = "same-organisation"


REASONS: dict[Obstacle, str] = {
    Obstacle.NO_LICENCE: "You hold no valid licence in the patient's jurisdiction.",
    Obstacle.LICENCE_ENDS: "Your licence there ends before the read is due.",
    Obstacle.LANGUAGE: "You do not report in the language that the hospital asks for.",
    Obstacle.NO_AGREEMENT: "The hospital has no agreement with you.",
    Obstacle.AT_CAPACITY: "You hold as many reads as your capacity allows.",
    Obstacle.SAME_HOSPITAL: "The read must come from outside your own hospital.",
    Obstacle.EARLIER_READER: "You read another slot of this request; the second reader must be someone else.",
    Obstacle.SAME_ORGANISATION: "Two reads disagree; who decides must be of another organisation than both readers.",
}


@dataclass(frozen=True, slots=True)
class Licence:
    """A credential that the network verified: where, and from when until when (half-open)."""

    jurisdiction: RegionCode
    valid_from: datetime
    valid_until: datetime

    def covers(self, jurisdiction: RegionCode) -> bool:
        """Say whether this licence holds in `jurisdiction`; a country's licence holds in its subdivisions, not the reverse."""
        return jurisdiction == self.jurisdiction or jurisdiction.startswith(self.jurisdiction + "-")

    def valid_at(self, moment: datetime) -> bool:
        """Say whether this licence is in force at `moment`."""
        return self.valid_from <= moment < self.valid_until


@dataclass(frozen=True, slots=True)
class ReaderProfile:
    """A reader as far as matching needs it. `held` and `held_stat` count the slots held now."""

    reader_id: OpaqueId
    licences: tuple[Licence, ...]
    languages: frozenset[Language]
    agreements: frozenset[SiteId]
    home_site: SiteId | None = None
    held: int = 0
    held_stat: int = 0
    capacity: int = 5
    capacity_stat: int = 2
    organisations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request as far as matching needs it.

    `earlier_readers` hold or finished another slot of it; readers of an `excluded` organisation are not independent of them.
    """

    request_id: OpaqueId
    site: SiteId
    jurisdiction: RegionCode
    language: Language
    priority: Priority
    posted_at: datetime
    due_at: datetime
    earlier_readers: frozenset[OpaqueId] = frozenset()
    excluded: frozenset[str] = frozenset()


def obstacles(reader: ReaderProfile, wanted: Wanted, *, now: datetime) -> tuple[Obstacle, ...]:
    """Return every reason why `reader` may not claim `wanted`; empty means eligible."""
    checks = (
        *_licence_checks(reader, wanted, now),
        (wanted.language not in reader.languages, Obstacle.LANGUAGE),
        (wanted.site not in reader.agreements, Obstacle.NO_AGREEMENT),
        (_at_capacity(reader, wanted.priority), Obstacle.AT_CAPACITY),
        (wanted.site == reader.home_site, Obstacle.SAME_HOSPITAL),
        (reader.reader_id in wanted.earlier_readers, Obstacle.EARLIER_READER),
        (bool(reader.organisations & wanted.excluded), Obstacle.SAME_ORGANISATION),
    )
    return tuple(obstacle for holds, obstacle in checks if holds)


def licensed(reader: ReaderProfile, jurisdiction: RegionCode, moment: datetime) -> bool:
    """Say whether a licence of `reader` is in force in `jurisdiction` at `moment`."""
    return any(one.covers(jurisdiction) and one.valid_at(moment) for one in reader.licences)


def in_order(requests: Iterable[Wanted]) -> list[Wanted]:
    """Return the requests by priority, then due time, then time of posting; the id breaks ties the same way for everyone."""
    ranks = {priority: rank for rank, priority in enumerate((Priority.STAT, Priority.URGENT, Priority.ROUTINE))}
    return sorted(requests, key=lambda one: (ranks[one.priority], one.due_at, one.posted_at, one.request_id))


def _licence_checks(reader: ReaderProfile, wanted: Wanted, now: datetime) -> tuple[tuple[bool, Obstacle], ...]:
    """A licence must hold now and when the signature is due (late reads: now is enough)."""
    now_valid = licensed(reader, wanted.jurisdiction, now)
    later_valid = licensed(reader, wanted.jurisdiction, max(now, wanted.due_at))
    return (not now_valid, Obstacle.NO_LICENCE), (now_valid and not later_valid, Obstacle.LICENCE_ENDS)


def _at_capacity(reader: ReaderProfile, priority: Priority) -> bool:
    full = reader.held >= reader.capacity
    return full or (priority is Priority.STAT and reader.held_stat >= reader.capacity_stat)
