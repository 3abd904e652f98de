"""What it is worth that one reader takes one request now, and who may at all. Pure.

    value(i, j) = weight(i) - load(j) - night(j) - lateness(i, j)

`weight` grows with priority (raised by triage) and with the share of the time to `due` that is gone, and falls with the turn of the
hospital, so that one hospital's hundred do not crowd out another's two. `load` is the share of the capacity in hand and what the reader
read lately beside the others; `night` is how far the reader's clock is from the day (reads follow the sun); `lateness` is for readers
who would be done too late for the request, or after their shift.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from protocol.reading import Language, Priority, Subspecialty
from protocol.shape import OpaqueId, RegionCode, SiteId
from registry_api.reading.matching import (
    ReaderProfile,
    Wanted,
    admitted,
    capacity_at,
    may_go_on,
    trained,
)
from registry_api.reading.order import effective_priority, in_order
from registry_api.reading.shifts import Presence, current, presence

READ_MINUTES = 20
"""What one read takes, counted against due times and ends of shifts."""

TURNS_MAX = 20
"""Of one hospital and priority that count against a request; later ones are as late."""

DAY = (8, 18)
"""Hours of the reader's clock between which reading costs nothing more."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What is worth how much. A pair costs at most 187, and the lightest request weighs 200: every pair is worth something."""

    priority: Mapping[Priority, float] = field(
        default_factory=lambda: {Priority.STAT: 2000.0, Priority.URGENT: 1200.0, Priority.ROUTINE: 400.0}
    )
    risk: float = 200.0
    """For a request whose time is up; less in proportion to the share that is gone. Twice that at the most."""
    turn: float = 10.0
    """Taken off for every earlier request of the same hospital and priority, up to `TURNS_MAX` of them."""
    load: float = 40.0
    """For a reader whose hands are full."""
    recent: float = 15.0
    """For a reader who read as much as the mean lately; up to three times the mean counts."""
    night: float = 6.0
    """For every hour between the reader's clock and the day (8 to 18)."""
    late: float = 60.0
    """For a reader who would be done after the request is due, or after the end of the shift."""


WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Batch:
    """What is matched: all that waits, who there is, how much of each hospital is in hand, what each reader read lately."""

    waiting: Sequence[Wanted]
    readers: Sequence[ReaderProfile]
    in_hand: Mapping[SiteId, int] = field(default_factory=dict)
    recent: Mapping[OpaqueId, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one more read in a reader's hands. `done` is when that read would be finished."""

    reader_id: OpaqueId
    number: int
    cost: float
    done: datetime
    after_shift: bool


Kind = tuple[object, ...]
"""What decides, beside due time and earlier readers, who may read a request."""

Able = tuple[OpaqueId, datetime]
"""A reader who may read a kind of request, and until when the licence, agreement and privilege for it run that are in force."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """A reader who takes reads now, with what does not depend on the request worked out once."""

    profile: ReaderProfile
    room: int
    room_stat: int
    cost: float
    shift_end: datetime | None


class Table:
    """Who may read what and what that is worth. Requests that are alike are held against the readers once."""

    def __init__(self, batch: Batch, now: datetime, weights: Weights) -> None:
        self._now = now
        self._weights = weights
        self.lateness = weights.late
        self.readers = {one.profile.reader_id: one for one in _present(batch, now, weights)}
        self.order = in_order(batch.waiting, batch.in_hand)
        """The requests as they should be read."""
        self._worth = _worths(self.order, batch, now, weights)
        self._able: dict[Kind, list[Able]] = {}
        self._admitted: dict[tuple[object, ...], list[Able]] = {}
        self._licences: dict[RegionCode, dict[OpaqueId, datetime]] = {}
        self._skilled: dict[tuple[Language, Subspecialty | None, bool], frozenset[OpaqueId]] = {}
        self._by_site: defaultdict[SiteId, list[_Reader]] = defaultdict(list)
        for reader in sorted(self.readers.values(), key=lambda one: (one.cost, one.profile.reader_id)):
            for site in reader.profile.privileges & reader.profile.agreements:
                self._by_site[site].append(reader)

    def able(self, wanted: Wanted) -> list[Able]:
        """Return who may read requests of this kind, the cheapest first; `fits` looks at the rest of the request."""
        kind = kind_of(wanted)
        if kind not in self._able:
            skilled = self._skilled_for(wanted)
            self._able[kind] = [who for who in self._admitted_to(wanted) if who[0] in skilled]
        return self._able[kind]

    def fits(self, wanted: Wanted, who: Able) -> bool:
        """Say whether a reader who may read this kind may read this very request."""
        reader_id, end = who
        if wanted.due_at < end:
            return reader_id not in wanted.earlier_readers
        if reader_id in wanted.earlier_readers:
            return False
        profile, later = self.readers[reader_id].profile, max(self._now, wanted.due_at)
        return may_go_on(profile, wanted.site, wanted.jurisdiction, later)

    def place(self, reader_id: OpaqueId, number: int) -> Place:
        """Return the reader's `number`-th new place."""
        reader = self.readers[reader_id]
        held = reader.profile.held + number
        done = self._now + timedelta(minutes=READ_MINUTES * (held + 1))
        return Place(
            reader_id=reader_id,
            number=number,
            cost=reader.cost + self._weights.load * held / max(1, reader.profile.capacity),
            done=done,
            after_shift=reader.shift_end is not None and done > reader.shift_end,
        )

    def value(self, wanted: Wanted, place: Place) -> float:
        """Return what it is worth that the request takes this place."""
        late = place.after_shift or place.done > wanted.due_at
        return self.weight(wanted) - place.cost - self.lateness * late

    def weight(self, wanted: Wanted) -> float:
        """Return what the request is worth before anything is taken off for the reader."""
        return self._worth[wanted.request_id]

    def _admitted_to(self, wanted: Wanted) -> list[Able]:
        """Return whom nothing but language, subspecialty and stat reads could keep from requests of this hospital and law."""
        where = (wanted.site, wanted.jurisdiction, wanted.excluded, wanted.widened, wanted.kinds)
        if where not in self._admitted:
            alike = replace(wanted, due_at=self._now)
            licences = self._licensed(wanted.jurisdiction)
            self._admitted[where] = [
                (one, min((licences[one], *_ends(reader.profile, wanted.site))))
                for reader in self._by_site[wanted.site]
                if (one := reader.profile.reader_id) in licences and admitted(reader.profile, alike, now=self._now)
            ]
        return self._admitted[where]

    def _licensed(self, jurisdiction: RegionCode) -> dict[OpaqueId, datetime]:
        """Return who is licensed under a law now, and until when the licence runs that runs longest."""
        if jurisdiction not in self._licences:
            found = self._licences[jurisdiction] = {}
            for one, reader in self.readers.items():
                running = [
                    licence.valid_until
                    for licence in reader.profile.licences
                    if licence.covers(jurisdiction) and licence.valid_at(self._now)
                ]
                if running:
                    found[one] = max(running)
        return self._licences[jurisdiction]

    def _skilled_for(self, wanted: Wanted) -> frozenset[OpaqueId]:
        """Return who reports in the language, has the subspecialty, and may take a stat read if this is one."""
        asked = (wanted.language, wanted.subspecialty, wanted.priority is Priority.STAT)
        if asked not in self._skilled:
            language, subspecialty, stat = asked
            self._skilled[asked] = frozenset(
                one
                for one, reader in self.readers.items()
                if language in reader.profile.languages
                and trained(reader.profile, subspecialty, self._now)
                and (reader.room_stat > 0 or not stat)
            )
        return self._skilled[asked]


def _ends(reader: ReaderProfile, site: SiteId) -> list[datetime]:
    """Return when the reader's agreement and privilege with a hospital end, of those that have an end."""
    return [ends[site] for ends in (reader.agreement_ends, reader.privilege_ends) if site in ends]


def kind_of(wanted: Wanted) -> Kind:
    """Return what decides who may read the request, beside its due time and its earlier readers."""
    return (
        wanted.site,
        wanted.jurisdiction,
        wanted.language,
        wanted.subspecialty,
        wanted.priority is Priority.STAT,
        wanted.excluded,
        wanted.widened,
        wanted.kinds,
    )


def _present(batch: Batch, now: datetime, weights: Weights) -> list[_Reader]:
    """Return the readers who take reads now and have room."""
    mean = sum(batch.recent.values()) / max(1, len(batch.readers))
    found = []
    for profile in batch.readers:
        room = capacity_at(profile, now) - profile.held
        there = presence(profile.shifts, profile.declared, now)
        if room <= 0 or there not in {Presence.ON_SHIFT, Presence.AVAILABLE}:
            continue
        on = current(profile.shifts, now)
        lately = min(3.0, batch.recent.get(profile.reader_id, 0) / mean) if mean else 0.0
        cost = weights.recent * lately + weights.night * hours_to_day(profile.time_zone, now)
        # What was worked out here need not be worked out for every request again.
        plain = replace(profile, shifts=(), declared=None, capacity=profile.held + room, restricted_until=None)
        room_stat = profile.capacity_stat - profile.held_stat
        found.append(_Reader(plain, room, room_stat, cost, on[1] if on else None))
    return found


def _worths(order: Sequence[Wanted], batch: Batch, now: datetime, weights: Weights) -> dict[OpaqueId, float]:
    """Return the weight of every request; whose turn comes later weighs less."""
    turns: defaultdict[tuple[Priority, SiteId], int] = defaultdict(int)
    found = {}
    for one in order:
        priority = effective_priority(one)
        turn = min(TURNS_MAX, batch.in_hand.get(one.site, 0) + turns[priority, one.site])
        turns[priority, one.site] += 1
        gone = (now - one.posted_at) / max(one.due_at - one.posted_at, timedelta(seconds=1))
        risk = weights.risk * min(2.0, max(0.0, gone))
        found[one.request_id] = weights.priority[priority] + risk - weights.turn * turn
    return found


def hours_to_day(time_zone: str, now: datetime) -> float:
    """Return how many hours the clock in `time_zone` is away from the day (8 to 18): 0 by day, 7 at one in the morning."""
    local = now.astimezone(ZoneInfo(time_zone))
    hour = local.hour + local.minute / 60
    begins, ends = DAY
    if begins <= hour <= ends:
        return 0.0
    return min((begins - hour) % 24, (hour - ends) % 24)
