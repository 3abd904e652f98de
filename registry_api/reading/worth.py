"""What it is worth that one reader takes one request now. Pure.

    value(i, j) = weight(i) - load(j) - night(j) - lateness(i, j)

`weight` grows with priority (raised by triage) and with the share of the time to `due` that is gone, and falls with the turn of the
hospital, so that one hospital's hundred do not crowd out another's two. `load` is the share of the capacity in hand and what the reader
read lately beside the others; `night` is how far the reader's clock is from the day (reads follow the sun); `lateness` is for readers
who would be done too late for the request, or after their shift.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from protocol.reading import Priority
from protocol.shape import OpaqueId, SiteId
from registry_api.reading.matching import ReaderProfile, Wanted, capacity_on
from registry_api.reading.order import effective_priority, in_order
from registry_api.reading.shifts import Presence, current, presence_on

READ_MINUTES = 20
"""What one read takes, counted against due times and ends of shifts."""

_SHORTEST = timedelta(seconds=1)
"""Any time to `due` counts as at least this."""

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


@dataclass(frozen=True, slots=True)
class Present:
    """A reader who takes reads now and has room, with what does not depend on the request worked out once."""

    profile: ReaderProfile
    room: int
    room_stat: int
    capacity: int
    """How many reads the reader holds at most now: `room` more than now."""
    cost: float
    """Beside the load."""
    shift_end: datetime | None


class Table:
    """What requests are worth and what readers cost; `seating` says who may read what."""

    def __init__(self, batch: Batch, now: datetime, weights: Weights) -> None:
        self.now = now
        self.weights = weights
        present = sorted(_present(batch, now, weights), key=lambda one: (one.cost, one.profile.reader_id))
        self.readers = {one.profile.reader_id: one for one in present}
        """Who takes reads now, the cheapest first."""
        self.order = in_order(batch.waiting, batch.in_hand)
        """The requests as they should be read."""
        self._worth = _worths(self.order, batch, now, weights)

    def place(self, reader_id: OpaqueId, number: int) -> Place:
        """Return the reader's `number`-th new place."""
        reader = self.readers[reader_id]
        held = reader.profile.held + number
        done = self.now + timedelta(minutes=READ_MINUTES * (held + 1))
        return Place(
            reader_id=reader_id,
            number=number,
            cost=reader.cost + self.weights.load * held / reader.capacity,
            done=done,
            after_shift=reader.shift_end is not None and done > reader.shift_end,
        )

    def value(self, wanted: Wanted, place: Place) -> float:
        """Return what it is worth that the request takes this place."""
        late = place.after_shift or place.done > wanted.due_at
        return self.weight(wanted) - place.cost - self.weights.late * late

    def weight(self, wanted: Wanted) -> float:
        """Return what the request is worth before anything is taken off for the reader."""
        return self._worth[wanted.request_id]


def _present(batch: Batch, now: datetime, weights: Weights) -> list[Present]:
    """Return the readers who take reads now and have room."""
    mean = sum(batch.recent.values()) / max(1, len(batch.readers))
    nights: dict[str, float] = {}
    found = []
    for profile in batch.readers:
        on = current(profile.shifts, now)
        capacity = capacity_on(profile, on[0] if on else None, now)
        there = presence_on(on, profile.declared, now, shifts=bool(profile.shifts))
        if capacity <= profile.held or there not in {Presence.ON_SHIFT, Presence.AVAILABLE}:
            continue
        zone = profile.time_zone
        if zone not in nights:
            nights[zone] = weights.night * hours_to_day(zone, now)
        lately = min(3.0, batch.recent.get(profile.reader_id, 0) / mean) if mean else 0.0
        found.append(
            Present(
                profile=profile,
                room=capacity - profile.held,
                room_stat=profile.capacity_stat - profile.held_stat,
                capacity=capacity,
                cost=weights.recent * lately + nights[zone],
                shift_end=on[1] if on else None,
            )
        )
    return found


def _worths(order: Sequence[Wanted], batch: Batch, now: datetime, weights: Weights) -> dict[OpaqueId, float]:
    """Return the weight of every request; whose turn comes later weighs less."""
    turns: defaultdict[tuple[Priority, SiteId], int] = defaultdict(int)
    found = {}
    for one in order:
        priority = effective_priority(one)
        turn = min(TURNS_MAX, batch.in_hand.get(one.site, 0) + turns[priority, one.site])
        turns[priority, one.site] += 1
        gone = (now - one.posted_at) / max(one.due_at - one.posted_at, _SHORTEST)
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
