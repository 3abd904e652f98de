"""What a release says otherwise than the one before it, in published numbers only. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry_api.releases.disclosure import Cell
from registry_api.releases.document import Document
from registry_api.releases.query import Answer, Question, answers


@dataclass(frozen=True, slots=True)
class Revision:
    """A cell of a revised week. `before` and `after` are what was and what is published, nothing finer."""

    after: Answer
    before: Cell
    version_before: int


def revisions(before: Document, after: Document, question: Question, *, region: str | None) -> list[Revision]:
    """Return the cells of weeks in both releases that are shown otherwise now, in the order of `answers`.

    Args:
        before: The earlier release.
        after: The later one.
        question: Which cells to compare.
        region: The caller's country or region; None sees every place.
    """
    known = {(one.week, one.place, one.categories): one for one in answers(before, question, region=region)}
    pairs = ((known.get((one.week, one.place, one.categories)), one) for one in answers(after, question, region=region))
    return [Revision(one, old.cell, old.version) for old, one in pairs if old is not None and old.cell != one.cell]


def new_weeks(before: Document, after: Document) -> Sequence[str]:
    """Return the weeks that the earlier release did not have."""
    return sorted(after.weeks.keys() - before.weeks.keys())
