"""The one rule by which true counts become published ones. Pure and total: every table of tallies has exactly one protected form.

A cell by itself:
    0                                                 → 0
    1 to the minimum (10)                             → masked, bound "1-10"
    from too few hospitals, or one that dominates     → withheld
    else                                              → the nearest 5, and never less than the first 5 above the minimum

Cells together: a table adds up, so what one cell hides, its line (a total and its parts) may give away. Two things are
held for every line, on the published bytes, with cells withheld until they hold:

    company     no line has exactly one hidden member: the others would give it by subtraction;
    candidates  a masked cell keeps at least three possible values, whatever the bounds of all lines together imply
                (interval propagation), unless the zeros alone leave fewer: those are public by the first line.

Rounding and the ban on exact totals: `docs/explanation/counts.md`; what other bodies do: the same page. What a week that is
published again shows of numbers that hardly changed: `steady.py`.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A cell's place and its categories, such as ("XA-N", (("severity", "mild"),)); the week is fixed."""

LEAST_CANDIDATES = 3
"""So many values a masked cell stays possible with. More hides whole totals of small regions and lowers the odds of a guess little."""

_UNBOUNDED = 10**12
_PASSES = 100


class Status(StrEnum):
    """How a cell is shown."""

    PUBLISHED = "published"
    MASKED = "masked"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Rule:
    """The thresholds. `rounding` must not be coarser than `minimum`."""

    minimum: int
    rounding: int
    sites: int
    dominance: float

    @property
    def bound(self) -> str:
        """What a masked cell says of itself."""
        return f"1-{self.minimum}"

    @property
    def smallest(self) -> int:
        """The smallest number ever published beside zero: the first on the grid above the minimum."""
        return (self.minimum // self.rounding + 1) * self.rounding


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as it is published: a number on the grid, or the reason why there is none."""

    count: int | None
    status: Status
    bound: str | None = None
    earlier: int | None = None
    """The number that an earlier version of the week showed last, where this one shows none (`steady.py`)."""


@dataclass(frozen=True, slots=True)
class Line:
    """A total and the parts that add up to it."""

    total: Key
    parts: tuple[Key, ...]


Tally = Mapping[str, int]
"""True counts by hospital."""

Bounds = tuple[int, int]
"""The least and the greatest count that is possible."""


def protect(tallies: Mapping[Key, Tally], lines: Sequence[Line], rule: Rule) -> dict[Key, Cell]:
    """Return what may be published of a table.

    Args:
        tallies: For each cell, how many each hospital counted.
        lines: Every total in the table with its parts; cells that `tallies` lacks count as zero.
        rule: The thresholds.

    Returns:
        One cell per key of `tallies`.
    """
    counts = {key: sum(tally.values()) for key, tally in tallies.items()}
    statuses = {key: primary(tally, rule) for key, tally in tallies.items()}
    return keep_company(counts, statuses, lines, rule)


def keep_company(
    counts: Mapping[Key, int], statuses: Mapping[Key, Status], lines: Sequence[Line], rule: Rule
) -> dict[Key, Cell]:
    """Return what may be published of cells, of which it is said how each would be shown if it stood alone."""
    held = dict(statuses)
    live = sorted(
        (_without_zeros(line, counts) for line in lines if counts.get(line.total, 0)),
        key=lambda line: (line.total, line.parts),
    )
    _Company(counts, held, live, rule).find()
    return {key: _cell(counts[key], status, rule) for key, status in held.items()}


def primary(tally: Tally, rule: Rule) -> Status:
    """Return how a cell would be shown if it stood alone."""
    count = sum(tally.values())
    if count == 0:
        return Status.PUBLISHED
    if count <= rule.minimum:
        return Status.MASKED
    few = sum(1 for part in tally.values() if part) < rule.sites
    return Status.WITHHELD if few or max(tally.values()) > rule.dominance * count else Status.PUBLISHED


def rounded(count: int, rule: Rule) -> int:
    """Return the nearest number on the grid, halves up, but never a number of 1 to the minimum: 11 becomes 15, not 10."""
    if count == 0:
        return 0
    nearest = (2 * count + rule.rounding) // (2 * rule.rounding) * rule.rounding
    return max(nearest, rule.smallest)


def behind(shown: int, rule: Rule, *, kept: bool = False) -> Bounds:
    """Return the least and the greatest true count that is published as `shown`; `kept` if a version before showed that number too."""
    if shown == 0:
        return 0, 0
    if kept:
        lower, higher = max(shown - rule.rounding, rule.smallest), shown + rule.rounding
        return behind(lower, rule)[0], behind(higher, rule)[1]
    least = -((rule.rounding - 2 * shown) // 2)
    greatest = -((-2 * shown - rule.rounding) // 2) - 1
    return (rule.minimum + 1 if shown == rule.smallest else least), greatest


def implied(cells: Mapping[Key, Cell], lines: Sequence[Line], rule: Rule) -> dict[Key, Bounds]:
    """Return what anybody can work out of the true counts from the published table: bounds narrowed along all lines together."""
    return narrowed({key: _own_bounds(cell.status, cell.count, rule) for key, cell in cells.items()}, lines)


def narrowed(bounds: Mapping[Key, Bounds], lines: Sequence[Line]) -> dict[Key, Bounds]:
    """Return the bounds of all counts that the lines leave; a part without bounds is zero."""
    present = [
        Line(line.total, tuple(part for part in line.parts if part in bounds)) for line in lines if line.total in bounds
    ]
    return _narrowed(dict(bounds), present)


def _cell(count: int, status: Status, rule: Rule) -> Cell:
    if status is Status.PUBLISHED:
        return Cell(rounded(count, rule), status)
    return Cell(None, status, rule.bound if status is Status.MASKED else None)


def _without_zeros(line: Line, counts: Mapping[Key, int]) -> Line:
    """Drop the parts that are zero: they are public and change no sum."""
    return Line(line.total, tuple(part for part in line.parts if counts.get(part, 0)))


def _own_bounds(status: Status, shown: int | None, rule: Rule) -> Bounds:
    """Return what the cell says of itself."""
    if status is Status.MASKED:
        return 1, rule.minimum
    if status is Status.WITHHELD or shown is None:
        return rule.minimum + 1, _UNBOUNDED
    return behind(shown, rule)


def _narrowed(bounds: dict[Key, Bounds], lines: Sequence[Line]) -> dict[Key, Bounds]:
    """Narrow every bound along every line until nothing moves (interval propagation; `bounds` is changed).

    A line is looked at again only when a bound of one of its members has moved (AC-3, Mackworth 1977).
    """
    lines_of: dict[Key, list[int]] = {}
    for number, line in enumerate(lines):
        for key in (line.total, *line.parts):
            lines_of.setdefault(key, []).append(number)
    waiting, queued = deque(range(len(lines))), [True] * len(lines)
    for _ in range(_PASSES * len(lines)):
        if not waiting:
            break
        number = waiting.popleft()
        queued[number] = False
        for key in _narrow_line(bounds, lines[number]):
            for other in lines_of[key]:
                if not queued[other]:
                    queued[other] = True
                    waiting.append(other)
    return bounds


def _narrow_line(bounds: dict[Key, Bounds], line: Line) -> list[Key]:
    """Apply total = sum of parts in both directions; return the members whose bounds moved."""
    own = [bounds[part] for part in line.parts]
    least, greatest = sum(low for low, _ in own), sum(high for _, high in own)
    moved = [line.total] if _tighten(bounds, line.total, least, greatest) else []
    low, high = bounds[line.total]
    for part, (own_low, own_high) in zip(line.parts, own, strict=True):
        lowest, highest = low - (greatest - own_high), high - (least - own_low)
        if (lowest > own_low or highest < own_high) and _tighten(bounds, part, lowest, highest):
            moved.append(part)
    return moved


def _tighten(bounds: dict[Key, Bounds], key: Key, low: int, high: int) -> bool:
    before = bounds[key]
    after = max(before[0], low), min(before[1], high)
    bounds[key] = after
    return after != before


class _Company:
    """Withholds further cells until no line gives a hidden one away. It only ever hides more, so it ends."""

    def __init__(
        self, counts: Mapping[Key, int], statuses: dict[Key, Status], lines: Sequence[Line], rule: Rule
    ) -> None:
        self._counts, self._statuses, self._lines, self._rule = counts, statuses, lines, rule
        self._live = sorted(key for key, count in counts.items() if count)
        self._members = [(line.total, *line.parts) for line in lines]
        self._lines_of: dict[Key, list[int]] = {key: [] for key in self._live}
        for number, members in enumerate(self._members):
            for key in members:
                self._lines_of[key].append(number)
        self._hidden = [sum(self._is_hidden(key) for key in members) for members in self._members]

    def find(self) -> None:
        """Change the statuses until both demands hold."""
        self._give_company(range(len(self._lines)))
        if any(self._statuses[key] is Status.MASKED for key in self._live):
            needed = self._needed()
            while pinned := self._pinned(needed):
                for key in pinned:
                    self._give_company(self._free(key))

    def _give_company(self, numbers: Iterable[int]) -> None:
        """Hide a second member of every line that has exactly one hidden."""
        queue = deque(numbers)
        while queue:
            number = queue.popleft()
            if self._hidden[number] == 1:
                queue += self._hide(self._next_to_hide(self._members[number]))

    def _next_to_hide(self, members: Iterable[Key]) -> Key:
        """The cell whose hiding leaves the fewest lines with one hidden member; then the finer, then the smaller one.

        Hiding the smallest each time would send one masked cell's company through every table of the week. Only among
        the totals of places, which readers want most and which go last, does size alone decide.
        """
        shown = [key for key in members if not self._is_hidden(key)]
        return min(shown, key=self._preference)

    def _preference(self, key: Key) -> tuple[bool, int, int, int, Key]:
        is_total = not key[1]
        return is_total, 0 if is_total else self._cost(key), -len(key[1]), self._counts[key], key

    def _cost(self, key: Key) -> int:
        """Lines that would newly have one hidden member, less those that would have no lone one any more."""
        hidden = [self._hidden[number] for number in self._lines_of[key]]
        return hidden.count(0) - hidden.count(1)

    def _is_hidden(self, key: Key) -> bool:
        return self._statuses[key] is not Status.PUBLISHED

    def _hide(self, key: Key) -> list[int]:
        """Withhold a cell and return the lines that must be looked at again."""
        self._statuses[key] = Status.WITHHELD
        for number in self._lines_of[key]:
            self._hidden[number] += 1
        return self._lines_of[key]

    def _bounds(self, *, all_hidden: bool) -> dict[Key, Bounds]:
        """What the table implies now, or would imply if every count but zero were hidden."""
        bounds = {}
        for key in self._live:
            status = self._statuses[key]
            if all_hidden and status is Status.PUBLISHED:
                status = Status.WITHHELD
            bounds[key] = _own_bounds(status, rounded(self._counts[key], self._rule), self._rule)
        return _narrowed(bounds, self._lines)

    def _needed(self) -> dict[Key, int]:
        """How many candidates each masked cell must keep: `LEAST_CANDIDATES`, or all that the zeros leave."""
        base = self._bounds(all_hidden=True)
        masked = (key for key in self._live if self._statuses[key] is Status.MASKED)
        return {key: min(LEAST_CANDIDATES, base[key][1] - base[key][0] + 1) for key in masked}

    def _pinned(self, needed: Mapping[Key, int]) -> list[Key]:
        """Return the masked cells that have too few candidates left."""
        bounds = self._bounds(all_hidden=False)
        return sorted(key for key, least in needed.items() if bounds[key][1] - bounds[key][0] + 1 < least)

    def _free(self, key: Key) -> list[int]:
        """Hide one more number beside a pinned cell, else one anywhere in the table; return the lines to look at again."""
        for number in self._lines_of[key]:
            if self._hidden[number] < len(self._members[number]):
                return self._hide(self._next_to_hide(self._members[number]))
        shown = [one for one in self._live if not self._is_hidden(one)]
        return self._hide(self._next_to_hide(shown)) if shown else []
