"""Questions to a release. Two people who ask the same get the same; nothing is computed that is not in the release's bytes. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import overload

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.releases.cube import ALONE, DIMENSIONS, MOST_DIMENSIONS, beside, is_country
from registry_api.releases.disclosure import Cell
from registry_api.releases.document import Document
from registry_api.units.tree import country_of

WEEK, REGION, COUNTRY = "week", "region", "country"
_ALLOWED = f"week, country or region, and at most {MOST_DIMENSIONS} of {', '.join(DIMENSIONS)}, of which {', '.join(ALONE)} stands alone"


class QuestionError(InvalidInputError):
    """A question that no release answers. `members` say what is wrong and what is allowed, for programs."""

    def __init__(self, code: Code, message: str, **members: list[str]) -> None:
        super().__init__(code, message)
        self.members = members


Categories = tuple[tuple[str, str], ...]
"""Dimensions with their values, in the cube's order."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which cells: week and place always, `dimensions` in the cube's order, `wanted` values per name (empty: all)."""

    regional: bool
    dimensions: tuple[str, ...]
    wanted: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One cell with its coordinates."""

    week: str
    version: int
    place: str
    categories: Categories
    cell: Cell
    persons: int | None = None
    """How many people live in the place, if the release says."""
    system: str | None = None
    """The list that the place's code comes from."""

    @property
    def per_100k(self) -> float | None:
        """The published number per 100,000 people of the place (`per_100k`)."""
        return per_100k(self.cell.count, self.persons)


def per_100k(count: int | None, persons: int | None) -> float | None:
    """Return a published number per 100,000 of so many people, to a tenth; None where either is not known.

    It is formed from the rounded number only, so that turning it back gives that number and nothing finer.
    """
    return None if count is None or persons is None else round(count * 100_000 / persons, 1)


def ask(by: Sequence[str], wanted: Mapping[str, Sequence[str]]) -> Question:
    """Return the question that names `by` as dimensions and keeps only the `wanted` values.

    A dimension with wanted values counts as asked for, so that nothing finer than the cube can be reached.

    Raises:
        QuestionError: `too-fine` for more dimensions than a table has, `bad-request` for a name or value that does not exist.
    """
    named = list(dict.fromkeys([*by, *(name for name, values in wanted.items() if values)]))
    known = [WEEK, REGION, COUNTRY, *DIMENSIONS]
    unknown = [name for name in named if name not in known]
    if unknown:
        raise QuestionError(
            Code.BAD_REQUEST, f"There is no dimension of that name. Allowed: {_ALLOWED}.", allowed=known
        )
    if REGION in named and COUNTRY in named:
        raise QuestionError(Code.BAD_REQUEST, "Ask by country or by region, not by both.", allowed=[REGION, COUNTRY])
    _refuse_too_fine([name for name in named if name in DIMENSIONS])
    dimensions = tuple(name for name in DIMENSIONS if name in named)
    for name in dimensions:
        if set(wanted.get(name, ())) - set(DIMENSIONS[name]):
            values = list(DIMENSIONS[name])
            raise QuestionError(Code.BAD_REQUEST, f"{name} is one of {', '.join(values)}.", allowed=values)
    kept = {name: frozenset(values) for name, values in wanted.items() if values}
    return Question(regional=REGION in named, dimensions=dimensions, wanted=kept)


def spelt(question: Question) -> str:
    """Return the question in words for the log, such as `region,severity severity=mild`."""
    names = ["region" if question.regional else "country", *question.dimensions]
    wanted = [f"{name}={'|'.join(sorted(values))}" for name, values in sorted(question.wanted.items())]
    return " ".join([",".join(names), *wanted])


def _refuse_too_fine(named: Sequence[str]) -> None:
    """Take the dimensions in the order in which they were named; the first one that no table has beside those before it is too fine.

    Raises:
        QuestionError: `too-fine`, with what may stand beside the ones before it.
    """
    for number, name in enumerate(named):
        before = named[:number]
        if name not in beside(before):
            rest = named[number:]
            raise QuestionError(
                Code.TOO_FINE,
                f"{', '.join(named)} together are finer than any table of a release: leave out {', '.join(rest)}. Allowed: {_ALLOWED}.",
                dimensions=list(named),
                too_fine=list(rest),
                allowed=beside(before),
            )


class Table(Sequence[Answer]):
    """The cells that were asked for, zeros included, by week, place and category. A part of it costs no more than that part.

    Args:
        document: The release.
        question: What is asked.
        region: The caller's country or region; None sees every place.

    Raises:
        QuestionError: `not-found` if the release was built before the cube had these dimensions.
    """

    def __init__(self, document: Document, question: Question, *, region: str | None) -> None:
        _refuse_unknown(document, question)
        self._document = document
        self._weeks = [week for week in sorted(document.weeks) if week in question.wanted.get(WEEK, {week})]
        self._places = _places(document, question, region)
        self._grid = list(_grid(question))

    def __len__(self) -> int:
        return len(self._weeks) * len(self._places) * len(self._grid)

    @overload
    def __getitem__(self, at: int) -> Answer: ...
    @overload
    def __getitem__(self, at: slice) -> list[Answer]: ...
    def __getitem__(self, at: int | slice) -> Answer | list[Answer]:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            found = [answer for run in self.runs(start, stop) for answer in run.answers()]
            return found if step == 1 else [self[number] for number in range(start, stop, step)]
        number = range(len(self))[at]
        (run,) = self.runs(number, number + 1)
        return run.answers()[0]

    def runs(self, start: int, stop: int) -> Iterator["Run"]:
        """Yield the cells from `start` to before `stop`, in the order of the table, week by week and place by place."""
        width = len(self._grid)
        for row in range(start // width if width else 0, -(-stop // width) if width else 0):
            week, place = divmod(row, len(self._places))
            grid = self._grid[max(start - row * width, 0) : stop - row * width]
            if grid:
                yield self._run(self._weeks[week], self._places[place], grid)

    def _run(self, week: str, place: str, grid: Sequence[Categories]) -> "Run":
        table = self._document.weeks[week]
        cells = [table.cell(place, categories) for categories in grid]
        document = self._document
        return Run(week, table.version, place, document.persons(place, week), document.system(place), grid, cells)


@dataclass(frozen=True, slots=True)
class Run:
    """Cells of one week and place that follow one another in a table."""

    week: str
    version: int
    place: str
    persons: int | None
    system: str
    grid: Sequence[Categories]
    cells: Sequence[Cell]

    def answers(self) -> list[Answer]:
        """Return them one by one."""
        return [
            Answer(self.week, self.version, self.place, categories, cell, self.persons, self.system)
            for categories, cell in zip(self.grid, self.cells, strict=True)
        ]


def _refuse_unknown(document: Document, question: Question) -> None:
    """A release that was built before a dimension has no cell of it, which must not read as zero.

    Raises:
        QuestionError: `not-found`.
    """
    missing = [name for name in question.dimensions if name not in document.dimensions]
    if missing:
        raise QuestionError(
            Code.NOT_FOUND,
            f"Release {document.number} has no table by {', '.join(missing)}. Ask a later one.",
            allowed=list(document.dimensions),
        )


def answers(document: Document, question: Question, *, region: str | None) -> list[Answer]:
    """Return all cells that were asked for (`Table`).

    Raises:
        QuestionError: `not-found` if the release was built before the cube had these dimensions.
    """
    return Table(document, question, region=region)[:]


def rows(document: Document, question: Question, *, region: str | None) -> list[tuple[str, Categories]]:
    """Return place and categories of every row of a table over weeks, in the order of `Table`.

    Raises:
        QuestionError: `not-found` if the release was built before the cube had these dimensions.
    """
    _refuse_unknown(document, question)
    return list(product(_places(document, question, region), _grid(question)))


@dataclass(frozen=True, slots=True)
class Reporting:
    """How many hospitals of a place sent records of a week, of how many that were expected to, and how these came: `quality` as in the release."""

    week: str
    place: str
    sites: int
    expected: int
    quality: Mapping[str, tuple[int, int]]


def reporting_of(document: Document, found: Iterable[Answer | Run]) -> list[Reporting]:
    """Return what is known of the hospitals in the weeks and places of the answers."""
    asked = sorted({(one.week, one.place) for one in found})
    known = ((document.weeks[week], place) for week, place in asked if place in document.weeks[week].reporting)
    return [
        Reporting(table.week, place, *table.reporting[place], table.quality.get(place, {})) for table, place in known
    ]


def may_see(place: str, region: str | None) -> bool:
    """Say whether a caller of `region` may see the counts of `place`: its own country's, or of a region's caller its own."""
    return region is None or place == region or country_of(place) == region


def _places(document: Document, question: Question, region: str | None) -> list[str]:
    """A caller whose scope is one region gets that region, whichever level was asked for."""
    regional = question.regional or (region is not None and not is_country(region))
    wanted = question.wanted.get(REGION, frozenset()) | question.wanted.get(COUNTRY, frozenset())
    return [
        place
        for place in document.places
        if is_country(place) is not regional and may_see(place, region) and (not wanted or place in wanted)
    ]


def _grid(question: Question) -> Iterator[Categories]:
    """Yield every combination of values, in the order of the cube's lists."""
    choices = [
        [value for value in DIMENSIONS[name] if value in question.wanted.get(name, {value})]
        for name in question.dimensions
    ]
    for values in product(*choices):
        yield tuple(zip(question.dimensions, values, strict=True))
