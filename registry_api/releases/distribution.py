"""How the studies of a week spread over the values of one dimension: shares of published numbers. Pure."""

from dataclasses import dataclass
from itertools import groupby

from registry_api.releases.disclosure import Cell
from registry_api.releases.document import Document
from registry_api.releases.query import Answer, Question, Table


@dataclass(frozen=True, slots=True)
class Part:
    """One value and its cell. `percent` is of the published total, None where either number is hidden."""

    value: str
    cell: Cell
    percent: float | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """One week of one place. Parts were rounded by themselves, so their percentages need not add up to 100."""

    week: str
    version: int
    place: str
    total: Cell
    parts: tuple[Part, ...]


def distributions(document: Document, question: Question, *, region: str | None) -> list[Distribution]:
    """Return how the studies spread over the only dimension of `question`, by week and place.

    Raises:
        QuestionError: `not-found` if the release was built before the cube had that dimension.
        ValueError: If the question names no dimension, or two.
    """
    if len(question.dimensions) != 1:
        raise ValueError("a distribution is over one dimension")
    table = Table(document, question, region=region)
    return [
        _distribution(document, week, place, list(found))
        for (week, place), found in groupby(table, key=lambda one: (one.week, one.place))
    ]


def _distribution(document: Document, week: str, place: str, found: list[Answer]) -> Distribution:
    total = document.weeks[week].cell(place, ())
    parts = tuple(Part(one.categories[0][1], one.cell, share_of(one.cell, total)) for one in found)
    return Distribution(week, found[0].version, place, total, parts)


def share_of(part: Cell, total: Cell) -> float | None:
    """Return a published number as a percentage of a published total, to a tenth and never above 100: rounding may make a part larger."""
    if part.count is None or not total.count:
        return None
    return min(round(100 * part.count / total.count, 1), 100.0)
