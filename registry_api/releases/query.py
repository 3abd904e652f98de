"""Questions to a release. Two people who ask the same get the same; nothing is computed that is not in the release's bytes. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.releases.cube import DIMENSIONS, MOST_DIMENSIONS, is_country
from registry_api.releases.disclosure import Cell
from registry_api.releases.document import Document
from registry_api.units.tree import country_of

WEEK, REGION, COUNTRY = "week", "region", "country"
_ALLOWED = f"week, country or region, and at most {MOST_DIMENSIONS} of {', '.join(DIMENSIONS)}"


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
    categories: tuple[tuple[str, str], ...]
    cell: Cell
    persons: int | None = None
    """How many people live in the place, if the release says."""

    @property
    def per_100k(self) -> float | None:
        """The published number per 100,000 people of the place, to a tenth; None where either is not known.

        It is formed from the rounded number only, so that turning it back gives that number and nothing finer.
        """
        if self.cell.count is None or self.persons is None:
            return None
        return round(self.cell.count * 100_000 / self.persons, 1)


def ask(by: Sequence[str], wanted: Mapping[str, Sequence[str]]) -> Question:
    """Return the question that names `by` as dimensions and keeps only the `wanted` values.

    A dimension with wanted values counts as asked for, so that nothing finer than the cube can be reached.

    Raises:
        InvalidInputError: `too-fine` for more dimensions than the cube has, `bad-request` for a name or value that does not exist.
    """
    named = [*by, *(name for name, values in wanted.items() if values)]
    unknown = [name for name in named if name not in {WEEK, REGION, COUNTRY, *DIMENSIONS}]
    if unknown:
        raise InvalidInputError(Code.BAD_REQUEST, f"There is no dimension of that name. Allowed: {_ALLOWED}.")
    if REGION in named and COUNTRY in named:
        raise InvalidInputError(Code.BAD_REQUEST, "Ask by country or by region, not by both.")
    dimensions = tuple(name for name in DIMENSIONS if name in named)
    if len(dimensions) > MOST_DIMENSIONS:
        raise InvalidInputError(
            Code.TOO_FINE,
            f"{', '.join(dimensions)} together are finer than any table of a release. Allowed: {_ALLOWED}.",
        )
    for name in dimensions:
        if set(wanted.get(name, ())) - set(DIMENSIONS[name]):
            raise InvalidInputError(Code.BAD_REQUEST, f"{name} is one of {', '.join(DIMENSIONS[name])}.")
    kept = {name: frozenset(values) for name, values in wanted.items() if values}
    return Question(regional=REGION in named, dimensions=dimensions, wanted=kept)


def answers(document: Document, question: Question, *, region: str | None) -> list[Answer]:
    """Return the cells that were asked for, zeros included, by week, place and category.

    Args:
        document: The release.
        question: What is asked.
        region: The caller's country or region; None sees every place.
    """
    places = _places(document, question, region)
    grid = list(_grid(question))
    return [
        Answer(week, table.version, place, categories, table.cell(place, categories), document.persons(place, week))
        for week, table in sorted(document.weeks.items())
        if week in question.wanted.get(WEEK, {week})
        for place in places
        for categories in grid
    ]


def reporting_of(document: Document, found: Iterable[Answer]) -> list[tuple[str, str, int, int]]:
    """Return (week, place, hospitals that sent, hospitals expected to) for the weeks and places of the answers, as far as it is known."""
    asked = sorted({(one.week, one.place) for one in found})
    known = ((week, place, document.weeks[week].reporting.get(place)) for week, place in asked)
    return [(week, place, *sites) for week, place, sites in known if sites is not None]


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


def _grid(question: Question) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield every combination of values, in the order of the cube's lists."""
    choices = [
        [value for value in DIMENSIONS[name] if value in question.wanted.get(name, {value})]
        for name in question.dimensions
    ]
    for values in product(*choices):
        yield tuple(zip(question.dimensions, values, strict=True))
