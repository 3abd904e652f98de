"""Who should read what, for everything that waits at once: an assignment of greatest value (`worth`). Pure; the solver is handed in.

A place is room for one more read in a reader's hands. Up to `EXACT` requests and places one matching covers everything and is the
optimum. Beyond that it goes in waves: every wave gives each reader one place at most and takes the requests that come first in order,
so that nobody gets a second read before others could have got a first one; each wave is an optimum of its own. Stat reads take the first
of a reader's places, as many as the reader may hold of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from protocol.shape import OpaqueId
from registry_api.reading.worth import WEIGHTS, Batch, Table, Weights

if TYPE_CHECKING:
    from registry_api.reading.seating import Seating

Solve = Callable[..., dict[int, int]]
"""`solver.best_matching`: (rows and columns that may go together, what each pair is worth, how many of each there are) -> column by row."""

EXACT = 1500
"""Requests, and places, up to which one matching covers all of them."""

CANDIDATES = 48
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
    from registry_api.reading.seating import Seating

    seating = Seating(Table(batch, now, weights))
    left = list(range(len(seating.order)))
    made: list[Assignment] = []
    while found := _wave(left, seating, solve):
        for request, reader, place in found:
            seating.fill(request, reader)
            who = seating.people[reader].profile.reader_id
            made.append(Assignment(seating.order[request].request_id, who, place))
        taken = {request for request, _, _ in found}
        left = [one for one in left if one not in taken]
    return made


def total_value(made: Iterable[Assignment], batch: Batch, *, now: datetime, weights: Weights = WEIGHTS) -> float:
    """Return what an assignment is worth in all: the number that `assign` makes as great as it can."""
    table = Table(batch, now, weights)
    wanted = {one.request_id: one for one in batch.waiting}
    return sum(table.value(wanted[one.request_id], table.place(one.reader_id, one.place)) for one in made)


def _wave(left: Sequence[int], seating: "Seating", solve: Solve) -> list[tuple[int, int, int]]:
    """Return one matching: of everything if that is little, else of one place for each reader with room.

    Each is the number of a request, the number of a reader, and the how-manieth new read it is in that reader's hands.
    """
    exact = max(seating.left(), len(left)) <= EXACT
    places = seating.places(each=None if exact else 1)
    columns = len(places.reader)
    some = left[: max(EXACT, 2 * columns)]
    for rows, candidates in [(left, None)] if exact else [(some, CANDIDATES), (left, CANDIDATES), (left, None)]:
        pairs = seating.pairs(rows, places, candidates=candidates)
        if len(pairs.values):
            found = solve(pairs.rows, pairs.columns, pairs.values, shape=(len(rows), columns), tolls=places.cost)
            return [
                (rows[row], int(places.reader[column]), int(places.number[column]))
                for row, column in sorted(found.items())
            ]
    return []
