"""Who may read what. Pure: every reason is a value, so that a page can show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from protocol.reading import Language, Priority, StudyKind, Subspecialty
from protocol.shape import OpaqueId, RegionCode, SiteId
from registry_api.reading.lifecycle import ABANDONED_CAPACITY
from registry_api.reading.shifts import Declaration, Presence, Shift, current, presence


class Obstacle(StrEnum):
    """Why a request is not offered to a reader."""

    NO_LICENCE = "no-licence"
    LICENCE_UNVERIFIED = "licence-unverified"
    LICENCE_ENDS = "licence-ends-before-due"
    LANGUAGE = "language"
    SUBSPECIALTY = "subspecialty"
    NO_AGREEMENT = "no-agreement"
    AGREEMENT_ENDS = "agreement-ends-before-due"
    NO_PRIVILEGE = "no-privilege"
    PRIVILEGE_ENDS = "privilege-ends-before-due"
    OUTSIDE_PRIVILEGE = "outside-privilege"
    AWAY = "away"
    OFF_SHIFT = "off-shift"
    AT_CAPACITY = "at-capacity"
    SAME_HOSPITAL = "same-hospital"
    CONFLICT = "conflict"
    EARLIER_READER = "earlier-reader"
    ASSIGNED = "assigned"
    SAME_ORGANISATION = "same-organisation"
    NOT_WIDENED = "not-widened"


REASONS: dict[Obstacle, str] = {
    Obstacle.NO_LICENCE: "You hold no valid licence in the patient's jurisdiction.",
    Obstacle.LICENCE_UNVERIFIED: "Nobody has checked the evidence of your licence there yet; ask the coordinator.",
    Obstacle.LICENCE_ENDS: "Your licence there ends before the read is due.",
    Obstacle.LANGUAGE: "You do not report in the language that the hospital asks for.",
    Obstacle.SUBSPECIALTY: "The hospital asks for a subspecialty in which no valid training of yours is on file.",
    Obstacle.NO_AGREEMENT: "The hospital has no agreement with you or your group.",
    Obstacle.AGREEMENT_ENDS: "The agreement with the hospital ends before the read is due.",
    Obstacle.NO_PRIVILEGE: "The hospital has not granted you the privilege to read for it; only its own staff can.",
    Obstacle.PRIVILEGE_ENDS: "Your privilege at the hospital ends before the read is due; only its own staff can prolong it.",
    Obstacle.OUTSIDE_PRIVILEGE: "Your privilege at the hospital is not for studies of this kind.",
    Obstacle.AWAY: "You said that you are away.",
    Obstacle.OFF_SHIFT: "You are on no shift now. Say that you are available to read all the same.",
    Obstacle.AT_CAPACITY: "You hold as many reads as your capacity allows.",
    Obstacle.SAME_HOSPITAL: "The read must come from outside your own hospital.",
    Obstacle.CONFLICT: "You declared a conflict of interest with this hospital.",
    Obstacle.EARLIER_READER: "You read another slot of this request; the second reader must be someone else.",
    Obstacle.ASSIGNED: "It is assigned to another reader for the time being.",
    Obstacle.SAME_ORGANISATION: "This takes a reader of another organisation than those who read it before.",
    Obstacle.NOT_WIDENED: "The hospital's own readers have it first; it comes to the pool when half of the time is gone.",
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
class Training:
    """A subspecialty whose evidence the network verified, and from when until when that holds (half-open)."""

    subspecialty: Subspecialty
    valid_from: datetime
    valid_until: datetime

    def valid_at(self, moment: datetime) -> bool:
        """Say whether it holds at `moment`."""
        return self.valid_from <= moment < self.valid_until


@dataclass(frozen=True, slots=True)
class ReaderProfile:
    """A reader as far as matching needs it.

    `unverified` are jurisdictions of licences whose evidence nobody checked. `agreements` are of the network with a hospital,
    `agreement_ends` where one has an end; `privileges` are the hospital's own word, `privilege_ends` and `privilege_studies` where it is
    limited. `held` and `held_stat` count the slots held now.
    """

    reader_id: OpaqueId
    licences: tuple[Licence, ...]
    languages: frozenset[Language]
    agreements: frozenset[SiteId]
    privileges: frozenset[SiteId]
    unverified: frozenset[RegionCode] = frozenset()
    trainings: tuple[Training, ...] = ()
    agreement_ends: Mapping[SiteId, datetime] = field(default_factory=dict)
    shifts: tuple[Shift, ...] = ()
    declared: Declaration | None = None
    home_site: SiteId | None = None
    conflicts: frozenset[SiteId] = frozenset()
    time_zone: str = "UTC"
    held: int = 0
    held_stat: int = 0
    capacity: int = 5
    capacity_stat: int = 2
    organisations: frozenset[str] = frozenset()
    pools: frozenset[SiteId] = frozenset()
    restricted_until: datetime | None = None
    privilege_ends: Mapping[SiteId, datetime] = field(default_factory=dict)
    privilege_studies: Mapping[SiteId, frozenset[StudyKind]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request as far as matching needs it.

    `earlier_readers` hold or finished another slot of it; readers of an `excluded` organisation are not independent of them. Who reads
    for the hospital only out of a pool is offered it once it is `widened`. `assigned` says for whom the matcher set it aside, and until when.
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
    subspecialty: Subspecialty | None = None
    ggo_percent: int = 0
    uncertainty_percent: int = 0
    widened: bool = False
    open_slots: int = 1
    assigned: tuple[tuple[OpaqueId, datetime], ...] = ()
    kinds: frozenset[StudyKind] = frozenset()
    """What a privilege must be for."""
    posted_as: Priority | None = None
    """The hospital's own priority, by which leases go; None: `priority`, which of a peer review is another."""


def obstacles(reader: ReaderProfile, wanted: Wanted, *, now: datetime) -> tuple[Obstacle, ...]:
    """Return every reason why `reader` may not claim `wanted`; empty means eligible."""
    licence = tuple(obstacle for holds, obstacle in _licence_checks(reader, wanted, now) if holds)
    return licence + beside_licence(reader, wanted, now=now)


def beside_licence(reader: ReaderProfile, wanted: Wanted, *, now: datetime) -> tuple[Obstacle, ...]:
    """Return the reasons that are not of the licence, which is the same at every hospital under one law."""
    checks = (
        (wanted.language not in reader.languages, Obstacle.LANGUAGE),
        (not trained(reader, wanted.subspecialty, now), Obstacle.SUBSPECIALTY),
        *_hospital_checks(reader, wanted, now),
        *_presence_checks(reader, now),
        (_at_capacity(reader, wanted.priority, now), Obstacle.AT_CAPACITY),
        (reader.reader_id in wanted.earlier_readers, Obstacle.EARLIER_READER),
        (_set_aside(reader, wanted, now), Obstacle.ASSIGNED),
    )
    return tuple(obstacle for holds, obstacle in checks if holds)


def admitted(reader: ReaderProfile, wanted: Wanted, *, now: datetime) -> bool:
    """Say whether nothing between the reader and the hospital is in the way; the same for all of its requests of one kind."""
    return not any(holds for holds, _ in _hospital_checks(reader, wanted, now))


def particular_sites(reader: ReaderProfile) -> frozenset[SiteId]:
    """Return the hospitals for which more is on file of the reader than an agreement and a privilege.

    Every other one with both admits the reader, but for a read that takes another organisation. What is added to `_hospital_checks` and
    depends on the hospital belongs here too.
    """
    own = () if reader.home_site is None else (reader.home_site,)
    return reader.conflicts.union(
        own, reader.pools, reader.agreement_ends, reader.privilege_ends, reader.privilege_studies
    )


def assigned_at(wanted: Wanted, moment: datetime) -> frozenset[OpaqueId]:
    """Return for whom the request is set aside at `moment`."""
    return frozenset(reader_id for reader_id, until in wanted.assigned if moment < until)


def licensed(reader: ReaderProfile, jurisdiction: RegionCode, moment: datetime) -> bool:
    """Say whether a verified licence of `reader` is in force in `jurisdiction` at `moment`."""
    return any(one.covers(jurisdiction) and one.valid_at(moment) for one in reader.licences)


def trained(reader: ReaderProfile, subspecialty: Subspecialty | None, moment: datetime) -> bool:
    """Say whether `reader` has the subspecialty at `moment`; None asks for none."""
    return subspecialty is None or any(
        one.subspecialty is subspecialty and one.valid_at(moment) for one in reader.trainings
    )


def agreed(reader: ReaderProfile, site: SiteId, moment: datetime) -> bool:
    """Say whether an agreement between `reader` and `site` runs at `moment`."""
    end = reader.agreement_ends.get(site)
    return site in reader.agreements and (end is None or moment < end)


def privileged(reader: ReaderProfile, site: SiteId, moment: datetime) -> bool:
    """Say whether `site` lets `reader` read for it at `moment`, whatever kind of study."""
    end = reader.privilege_ends.get(site)
    return site in reader.privileges and (end is None or moment < end)


def capacity_at(reader: ReaderProfile, moment: datetime) -> int:
    """Return how many reads the reader holds at most at `moment`: the shift's number if it has one, else the reader's own.

    Who let reads lapse holds one at a time for a while.
    """
    on = current(reader.shifts, moment) if reader.shifts else None
    return capacity_on(reader, on[0] if on else None, moment)


def capacity_on(reader: ReaderProfile, shift: Shift | None, moment: datetime) -> int:
    """Return what `capacity_at` does where the shift that is on was looked up already."""
    usual = reader.capacity if shift is None or shift.capacity is None else shift.capacity
    restricted = reader.restricted_until is not None and moment < reader.restricted_until
    return min(usual, ABANDONED_CAPACITY) if restricted else usual


def may_go_on(reader: ReaderProfile, site: SiteId, jurisdiction: RegionCode, moment: datetime) -> bool:
    """Say whether licence, agreement and privilege for a read that the reader claimed are in force at `moment`."""
    return licensed(reader, jurisdiction, moment) and agreed(reader, site, moment) and privileged(reader, site, moment)


def _licence_checks(reader: ReaderProfile, wanted: Wanted, now: datetime) -> tuple[tuple[bool, Obstacle], ...]:
    """A licence must hold now and when the signature is due (late reads: now is enough)."""
    now_valid = licensed(reader, wanted.jurisdiction, now)
    later_valid = now_valid and licensed(reader, wanted.jurisdiction, max(now, wanted.due_at))
    claimed = not now_valid and any(Licence(one, now, now).covers(wanted.jurisdiction) for one in reader.unverified)
    return (
        (not now_valid and not claimed, Obstacle.NO_LICENCE),
        (not now_valid and claimed, Obstacle.LICENCE_UNVERIFIED),
        (now_valid and not later_valid, Obstacle.LICENCE_ENDS),
    )


def _hospital_checks(reader: ReaderProfile, wanted: Wanted, now: datetime) -> tuple[tuple[bool, Obstacle], ...]:
    return (
        *_agreement_checks(reader, wanted, now),
        *_privilege_checks(reader, wanted, now),
        (wanted.site == reader.home_site, Obstacle.SAME_HOSPITAL),
        (wanted.site in reader.conflicts, Obstacle.CONFLICT),
        (not reader.organisations.isdisjoint(wanted.excluded), Obstacle.SAME_ORGANISATION),
        (wanted.site in reader.pools and not wanted.widened, Obstacle.NOT_WIDENED),
    )


def _agreement_checks(reader: ReaderProfile, wanted: Wanted, now: datetime) -> tuple[tuple[bool, Obstacle], ...]:
    """As a licence, an agreement must run now and when the signature is due."""
    holds = agreed(reader, wanted.site, now)
    later = wanted.site not in reader.agreement_ends or agreed(reader, wanted.site, max(now, wanted.due_at))
    return (not holds, Obstacle.NO_AGREEMENT), (holds and not later, Obstacle.AGREEMENT_ENDS)


def _privilege_checks(reader: ReaderProfile, wanted: Wanted, now: datetime) -> tuple[tuple[bool, Obstacle], ...]:
    """As a licence, a privilege must hold now and when the signature is due."""
    holds = later = privileged(reader, wanted.site, now)
    if wanted.site in reader.privilege_ends:
        later = privileged(reader, wanted.site, max(now, wanted.due_at))
    studies = reader.privilege_studies.get(wanted.site)
    return (
        (not holds, Obstacle.NO_PRIVILEGE),
        (holds and not later, Obstacle.PRIVILEGE_ENDS),
        (holds and studies is not None and not wanted.kinds <= studies, Obstacle.OUTSIDE_PRIVILEGE),
    )


def _presence_checks(reader: ReaderProfile, now: datetime) -> tuple[tuple[bool, Obstacle], ...]:
    there = presence(reader.shifts, reader.declared, now)
    return (there is Presence.AWAY, Obstacle.AWAY), (there is Presence.OFF_SHIFT, Obstacle.OFF_SHIFT)


def _set_aside(reader: ReaderProfile, wanted: Wanted, moment: datetime) -> bool:
    """Every open slot of the request is set aside for somebody else."""
    if not wanted.assigned:
        return False
    readers = assigned_at(wanted, moment) - wanted.earlier_readers
    return len(readers) >= wanted.open_slots and reader.reader_id not in readers


def _at_capacity(reader: ReaderProfile, priority: Priority, now: datetime) -> bool:
    full = reader.held >= capacity_at(reader, now)
    return full or (priority is Priority.STAT and reader.held_stat >= reader.capacity_stat)
