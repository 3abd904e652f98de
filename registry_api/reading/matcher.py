"""Who should read what, for everything that waits at once: an assignment of greatest value (`worth`). Pure; the solver is handed in.

A place is room for one more read in a reader's hands. Up to `EXACT` requests and places one matching covers everything and is the
optimum. Beyond that it goes in waves: every wave gives each reader one place at most and takes the requests that come first in order,
so that nobody gets a second read before others could have got a first one; each wave is an optimum of its own. Stat reads take the first
of a reader's places, as many as the reader may hold of them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from protocol.reading import Priority
from protocol.shape import OpaqueId
from registry_api.reading.matching import Wanted
from registry_api.reading.worth import WEIGHTS, Able, Batch, Kind, Place, Table, Weights, kind_of

Solve = Callable[..., dict[int, int]]
"""`solver.best_matching`: (rows and columns that may go together, what each pair is worth, how many of each there are) -> column by row."""

EXACT = 1500
"""Requests, and places, up to which one matching covers all of them."""

CANDIDATES = 16
"""How many places of a wave one request is held against; all of them where one matching covers everything."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One request for one reader, as the `place`-th of the new ones in the reader's hands, from 0."""

    request_id: OpaqueId
    reader_id: OpaqueId
    place: int


def assign(batch: Batch, *, now: datetime, solve: Solve, weights: Weights = WEIGHTS) -> list[Assignment]:
    """Return who should read what. Nobody gets what they could not claim.

    Only readers who are on a shift, or said that they are available, are given anything. No request is left out for which a reader
    with room could have been found.

    Args:
        batch: Requests, readers and how they stand.
        now: The time.
        solve: Finds a matching of greatest value.
        weights: What is worth how much.
    """
    table = Table(batch, now, weights)
    rooms = _Rooms(table)
    left = table.order
    made: list[Assignment] = []
    while found := _wave(left, rooms, table, solve):
        for one, place in found:
            rooms.fill(one, place)
            made.append(Assignment(one.request_id, place.reader_id, place.number))
        taken = {one.request_id for one, _ in found}
        left = [one for one in left if one.request_id not in taken]
    return made


def total_value(made: Iterable[Assignment], batch: Batch, *, now: datetime, weights: Weights = WEIGHTS) -> float:
    """Return what an assignment is worth in all: the number that `assign` makes as great as it can."""
    table = Table(batch, now, weights)
    wanted = {one.request_id: one for one in batch.waiting}
    return sum(table.value(wanted[one.request_id], table.place(one.reader_id, one.place)) for one in made)


class _Rooms:
    """How many reads each reader was given, and how many of them stat."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._given = dict.fromkeys(table.readers, 0)
        self._stat = dict.fromkeys(table.readers, 0)

    def fill(self, wanted: Wanted, place: Place) -> None:
        """Give one request to a reader."""
        self._given[place.reader_id] += 1
        self._stat[place.reader_id] += wanted.priority is Priority.STAT

    def left(self) -> int:
        """Return how many places there are in all."""
        return sum(reader.room - self._given[one] for one, reader in self._table.readers.items())

    def places(self, *, each: int | None) -> list[tuple[Place, bool]]:
        """Return the next `each` places (None: all) of every reader, each with whether a stat read may take it."""
        found = []
        for one, reader in self._table.readers.items():
            free = reader.room - self._given[one]
            for step in range(free if each is None else min(each, free)):
                stat = step < reader.room_stat - self._stat[one]
                found.append((self._table.place(one, self._given[one] + step), stat))
        return found


def _wave(left: Sequence[Wanted], rooms: _Rooms, table: Table, solve: Solve) -> list[tuple[Wanted, Place]]:
    """Return one matching: of everything if that is little, else of one place for each reader with room."""
    exact = max(rooms.left(), len(left)) <= EXACT
    places = rooms.places(each=None if exact else 1)
    tries = [(left, False)] if exact else [(left[: max(EXACT, 2 * len(places))], True), (left, True), (left, False)]
    hands = _Hands(table, places)
    for some, pruned in tries:
        pairs = _pairs(some, hands, table, pruned=pruned)
        if pairs.values:
            found = solve(pairs.rows, pairs.columns, pairs.values, shape=(len(some), len(places)))
            return [(some[row], places[column][0]) for row, column in sorted(found.items())]
    return []


@dataclass(slots=True)
class _Pairs:
    """Requests (rows) and places (columns) that may go together, and what each pair is worth."""

    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def _pairs(some: Sequence[Wanted], hands: "_Hands", table: Table, *, pruned: bool) -> _Pairs:
    """Return the pairs to choose from. Pruned, requests alike share their readers out, so that every reader stands somewhere."""
    pairs = _Pairs()
    for row, one in enumerate(some):
        # What `Table.value` says of each pair, with what is the same for the whole row looked up once: there are 200,000 pairs.
        due, earlier, weight, late = one.due_at, one.earlier_readers, table.weight(one), table.lateness
        seats = [
            seat
            for seat, who in (hands.deal(one) if pruned else hands.able(one))
            if (due < who[1] and who[0] not in earlier) or table.fits(one, who)
        ]
        pairs.rows += [row] * len(seats)
        pairs.columns += [column for column, _, _ in seats]
        pairs.values += [weight - cost - (late if done > due else 0.0) for _, cost, done in seats]
    return pairs


_Seat = tuple[int, float, datetime]
"""A place: its column, its cost, and when its read would be done. `_NEVER` if that is after the shift: it is late for whatever is due."""

_NEVER = datetime.max.replace(tzinfo=UTC)


class _Hands:
    """The places in this wave of the readers who may read a request."""

    def __init__(self, table: Table, places: Sequence[tuple[Place, bool]]) -> None:
        self._table = table
        self._seats: dict[bool, defaultdict[OpaqueId, list[_Seat]]] = {
            True: defaultdict(list),
            False: defaultdict(list),
        }
        for column, (place, takes_stat) in enumerate(places):
            seat = (column, place.cost, _NEVER if place.after_shift else place.done)
            for stat in (True, False) if takes_stat else (False,):
                self._seats[stat][place.reader_id].append(seat)
        self._able: dict[Kind, list[tuple[_Seat, Able]]] = {}
        self._dealt: defaultdict[Kind, int] = defaultdict(int)

    def able(self, wanted: Wanted) -> list[tuple[_Seat, Able]]:
        """Return all of them, the cheapest reader's first."""
        kind = kind_of(wanted)
        if kind not in self._able:
            seats = self._seats[wanted.priority is Priority.STAT]
            self._able[kind] = [
                (seat, who) for who in self._table.able(wanted) if who[0] in seats for seat in seats[who[0]]
            ]
        return self._able[kind]

    def deal(self, wanted: Wanted) -> list[tuple[_Seat, Able]]:
        """Return the next `CANDIDATES` of them; requests of one kind go round all of them."""
        seats = self.able(wanted)
        if len(seats) <= CANDIDATES:
            return seats
        kind = kind_of(wanted)
        start = self._dealt[kind] % len(seats)
        self._dealt[kind] += CANDIDATES
        dealt = seats[start : start + CANDIDATES]
        return dealt + seats[: CANDIDATES - len(dealt)]
