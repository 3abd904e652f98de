"""Who may take which place in a reader's hands and what that is worth, as arrays: of a whole network there are hundreds of thousands of pairs.

What a pair is worth is said in `worth`, who may take what in `matching`; here both are worked out for many at once, and the odd ones are
asked of `matching` one by one. Beside `solver` the one module that knows NumPy; loaded when the matcher first runs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from protocol.reading import Language, Priority, Subspecialty
from protocol.shape import RegionCode, SiteId
from registry_api.reading.matching import Licence, ReaderProfile, Wanted, admitted, may_go_on, particular_sites, trained
from registry_api.reading.worth import READ_MINUTES, Present, Table

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_NOT = float("-inf")
"""Until when a licence runs that nobody has."""


@dataclass(frozen=True, slots=True)
class Places:
    """Room for more reads, a column each: whose, the how-manieth new one, what it costs, in how many seconds its read would be done.

    `first`, `room` and `room_stat` say of each reader where the columns begin, how many there are, and how many of them a stat read may
    take. What would be done after the shift is never done: it is late for whatever is due.
    """

    reader: Ints
    number: Ints
    cost: Floats
    done: Floats
    first: Ints
    room: Ints
    room_stat: Ints


@dataclass(frozen=True, slots=True)
class Pairs:
    """Requests (rows) and places (columns) that may go together, and what each pair is worth."""

    rows: Ints
    columns: Ints
    values: Floats


@dataclass(frozen=True, slots=True)
class _Able:
    """Readers who may read requests of each kind, one kind after the other, the cheapest first; `end` as `Seating` says."""

    reader: Ints
    end: Floats
    stat: Bools
    bounds: Ints
    """Where each kind begins, and where the last one ends."""


class Seating:
    """Requests in the order in which they should be read, readers who have room, and how much of it is taken. Both go by number.

    Who may read a request depends on its kind, its due time and its earlier readers. For each kind there are the readers who may read it
    now, with the time until which the licence, agreement and privilege for it run that are in force; what is due later is looked at itself.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.order = table.order
        self.people: list[Present] = list(table.readers.values())
        self._numbers = {one.profile.reader_id: number for number, one in enumerate(self.people)}
        self._given = np.zeros((2, len(self.people)), np.int64)  # of all reads, of stat reads
        self._room = _ints(one.room for one in self.people)
        self._room_stat = _ints(one.room_stat for one in self.people)
        self._held = _ints(one.profile.held for one in self.people)
        self._capacity = _ints(one.capacity for one in self.people)
        self._cost = _floats(one.cost for one in self.people)
        self._shift_end = _floats(
            float("inf") if one.shift_end is None else self._seconds(one.shift_end) for one in self.people
        )
        self._weight = _floats(table.weight(one) for one in self.order)
        self._due = _floats(self._seconds(one.due_at) for one in self.order)
        self._kind, self._able = _kinds(self.order, _Eligibility(self.people, table.now, self._seconds))
        self._barred = self._pairs_barred()

    def left(self) -> int:
        """Return how many places there are in all."""
        return int((self._room - self._given[0]).sum())

    def fill(self, request: int, reader: int) -> None:
        """Give one request to a reader."""
        self._given[0, reader] += 1
        self._given[1, reader] += self.order[request].priority is Priority.STAT

    def places(self, *, each: int | None) -> Places:
        """Return the next `each` places (None: all) of every reader. Stat reads take the first of them."""
        free = self._room - self._given[0]
        room = free if each is None else np.minimum(free, each)
        first = _starts(room)[:-1]
        reader = np.repeat(np.arange(len(self.people)), room)
        number = self._given[0][reader] + np.arange(len(reader)) - first[reader]
        held = self._held[reader] + number
        done = 60.0 * READ_MINUTES * (held + 1)
        return Places(
            reader=reader,
            number=number,
            cost=self._cost[reader] + self._table.weights.load * held / self._capacity[reader],
            done=np.where(done > self._shift_end[reader], np.inf, done),
            first=first,
            room=room,
            room_stat=np.clip(self._room_stat - self._given[1], 0, room),
        )

    def pairs(self, some: Sequence[int], places: Places, *, candidates: int | None) -> Pairs:
        """Return the pairs of some requests with places that may go together.

        Args:
            some: Numbers of requests.
            places: All that may be taken.
            candidates: How many places one request is held against at most; None is all of them. Requests of one kind share the places
                out among them, the cheapest reader's first, and go round all of them, so that every reader stands somewhere.
        """
        seats, bounds = self._seats(places)
        requests = np.asarray(some, np.int64)
        kinds = self._kind[requests]
        have = np.diff(bounds)[kinds]
        take, start = have, np.zeros_like(have)
        if candidates is not None:
            take = np.minimum(have, candidates)
            start = np.where(have > candidates, _turns(kinds) * candidates % np.maximum(have, 1), 0)
        rows = np.repeat(np.arange(len(requests)), take)
        nth = np.arange(len(rows)) - _starts(take)[rows]
        at = bounds[kinds][rows] + (start[rows] + nth) % have[rows]
        able, columns = seats[0][at], seats[1][at]
        fit = self._fit(requests[rows], able)
        rows, columns = rows[fit], columns[fit]
        of = requests[rows]
        late = self._table.weights.late * (places.done[columns] > self._due[of])
        return Pairs(rows, columns, self._weight[of] - places.cost[columns] - late)

    def _seats(self, places: Places) -> tuple[tuple[Ints, Ints], Ints]:
        """Return the places of those who may read each kind: (numbers in `_able`, columns), and where each kind begins and ends."""
        who = self._able.reader
        count = np.where(self._able.stat, places.room_stat[who], places.room[who])
        starts = _starts(count)
        able = np.repeat(np.arange(len(who)), count)
        columns = places.first[who[able]] + np.arange(len(able)) - starts[able]
        return (able, columns), starts[self._able.bounds]

    def _fit(self, requests: Ints, able: Ints) -> Bools:
        """Say of each pair whether who may read this kind may read this very request."""
        who, end = self._able.reader[able], self._able.end[able]
        fit: Bools = self._due[requests] < end
        for pair in np.flatnonzero(~fit):
            one = self.order[requests[pair]]
            profile, later = self.people[who[pair]].profile, max(self._table.now, one.due_at)
            fit[pair] = may_go_on(profile, one.site, one.jurisdiction, later)
        if len(self._barred):
            fit &= ~np.isin(requests * len(self.people) + who, self._barred)
        return fit

    def _pairs_barred(self) -> Ints:
        """Return each request with each of its earlier readers, as one number."""
        earlier = [(number, one) for number, one in enumerate(self.order) if one.earlier_readers]
        return _ints(
            number * len(self.people) + self._numbers[who]
            for number, one in earlier
            for who in one.earlier_readers
            if who in self._numbers
        )

    def _seconds(self, moment: datetime) -> float:
        """Return how many seconds from now `moment` is."""
        return (moment - self._table.now).total_seconds()


class _Eligibility:
    """Who may read what kind of request, worked out once for every hospital, law, language and subspecialty that occurs."""

    def __init__(self, people: Sequence[Present], now: datetime, seconds: Callable[[datetime], float]) -> None:
        self._people, self._now, self._seconds = [one.profile for one in people], now, seconds
        self._by_site: defaultdict[SiteId, list[int]] = defaultdict(list)
        self._particular: defaultdict[SiteId, list[int]] = defaultdict(list)
        for number, one in enumerate(self._people):
            sites = one.privileges & one.agreements
            for site in sites:
                self._by_site[site].append(number)
            for site in particular_sites(one) & sites:
                self._particular[site].append(number)
        self._running: defaultdict[RegionCode, list[tuple[int, Licence]]] = defaultdict(list)
        for number, one in enumerate(self._people):
            for licence in one.licences:
                if licence.valid_at(now):
                    self._running[licence.jurisdiction].append((number, licence))
        self._admitted: dict[tuple[object, ...], tuple[Ints, Floats]] = {}
        self._licences: dict[RegionCode, Floats] = {}
        self._skills: dict[tuple[Language, Subspecialty | None], Bools] = {}

    def able(self, wanted: Wanted) -> tuple[Ints, Floats]:
        """Return who may read requests of this kind, and until when what they need for it runs."""
        who, ends = self._admitted_to(wanted)
        keep = self._skilled(wanted.language, wanted.subspecialty)[who]
        return who[keep], ends[keep]

    def _skilled(self, language: Language, subspecialty: Subspecialty | None) -> Bools:
        """Say of each reader whether they report in the language and have the subspecialty."""
        asked = (language, subspecialty)
        if asked not in self._skills:
            self._skills[asked] = np.fromiter(
                (language in one.languages and trained(one, subspecialty, self._now) for one in self._people), np.bool_
            )
        return self._skills[asked]

    def _admitted_to(self, wanted: Wanted) -> tuple[Ints, Floats]:
        """Return whom nothing but language, subspecialty and stat reads could keep from requests of this hospital and law."""
        site, law = wanted.site, wanted.jurisdiction
        where = (site, law, wanted.excluded, wanted.widened, wanted.kinds)
        if where not in self._admitted:
            known = _ints(self._by_site[site])
            ends = self._licensed(law)[known]
            odd = known if wanted.excluded else _ints(self._particular[site])
            for at in np.searchsorted(known, odd):
                ends[at] = min(ends[at], self._until(self._people[known[at]], wanted))
            running = ends > _NOT
            self._admitted[where] = known[running], ends[running]
        return self._admitted[where]

    def _until(self, reader: ReaderProfile, wanted: Wanted) -> float:
        """Return until when agreement and privilege of a reader run, where the hospital admits the reader now."""
        if not admitted(reader, replace(wanted, due_at=self._now), now=self._now):
            return _NOT
        terms = (reader.agreement_ends, reader.privilege_ends)
        return min((self._seconds(ends[wanted.site]) for ends in terms if wanted.site in ends), default=float("inf"))

    def _licensed(self, law: RegionCode) -> Floats:
        """Return until when each reader's licence under a law runs that is in force and runs longest."""
        if law not in self._licences:
            found = self._licences[law] = np.full(len(self._people), _NOT)
            for held in self._running.values():
                if held[0][1].covers(law):
                    ends = _floats(self._seconds(one.valid_until) for _, one in held)
                    np.maximum.at(found, _ints(number for number, _ in held), ends)
        return self._licences[law]


def _kinds(order: Sequence[Wanted], eligibility: _Eligibility) -> tuple[Ints, _Able]:
    """Return the kind of each request, by number, and who may read each kind."""
    numbers: dict[tuple[object, ...], int] = {}
    firsts: list[Wanted] = []
    kinds = []
    for one in order:
        number = numbers.setdefault(_kind_of(one), len(numbers))
        if number == len(firsts):
            firsts.append(one)
        kinds.append(number)
    found = [eligibility.able(one) for one in firsts]
    counts = _ints(len(readers) for readers, _ in found)
    able = _Able(
        reader=np.concatenate([_ints(()), *(readers for readers, _ in found)]),
        end=np.concatenate([_floats(()), *(ends for _, ends in found)]),
        stat=np.repeat(np.asarray([one.priority is Priority.STAT for one in firsts], np.bool_), counts),
        bounds=_starts(counts),
    )
    return _ints(kinds), able


def _kind_of(wanted: Wanted) -> tuple[object, ...]:
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


def _turns(kinds: Ints) -> Ints:
    """Return of each request how many of its kind stand before it."""
    by_kind = np.argsort(kinds, kind="stable")
    counts = np.bincount(kinds, minlength=1)
    turns = np.empty_like(kinds)
    turns[by_kind] = np.arange(len(kinds)) - _starts(counts)[kinds[by_kind]]
    return turns


def _starts(counts: Ints) -> Ints:
    """Return where each of some runs begins that follow one another, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)


def _floats(values: Iterable[float]) -> Floats:
    return np.fromiter(values, np.float64)
