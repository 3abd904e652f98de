"""Counts over weeks: one row per place and category, one cell per calendar week. From a release's cells only. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry_api.releases.disclosure import Cell
from registry_api.releases.document import Document
from registry_api.releases.query import Question, rows
from registry_api.releases.weeks import weeks_until


@dataclass(frozen=True, slots=True)
class Series:
    """The cells of one place and category, in the order of `weeks`; None where the release holds nothing of a week."""

    place: str
    categories: tuple[tuple[str, str], ...]
    weeks: Sequence[str]
    cells: tuple[Cell | None, ...]


def series(document: Document, question: Question, weeks: Sequence[str], *, region: str | None) -> list[Series]:
    """Return the cells that were asked for, week by week.

    Args:
        document: The release.
        question: Places and categories; weeks that it wants are not looked at.
        weeks: ISO weeks; one that the release does not hold gives None, which is no zero.
        region: The caller's country or region; None sees every place.

    Raises:
        QuestionError: `not-found` if the release was built before the cube had these dimensions.
    """
    tables = [document.weeks.get(week) for week in weeks]
    return [
        Series(place, categories, weeks, tuple(table.cell(place, categories) if table else None for table in tables))
        for place, categories in rows(document, question, region=region)
    ]


def last_weeks(document: Document, *, count: int, until: str | None = None) -> list[str]:
    """Return `count` calendar weeks up to `until`, or up to the newest week of the release; none of a release without weeks."""
    last = until or max(document.weeks, default=None)
    return [] if last is None else weeks_until(last, count=count)
