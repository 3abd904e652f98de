"""A week against the weeks before it, from published numbers only: what changed, and what the rounding leaves open. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry_api.releases.disclosure import Cell, Rule, behind
from registry_api.releases.document import Document
from registry_api.releases.query import Question
from registry_api.releases.series import last_weeks, series


@dataclass(frozen=True, slots=True)
class Change:
    """A published number minus an earlier one. None of it is known where either is hidden or absent.

    `least` and `most` bound what the change of the true counts can be, given the grid, and that a number may have been kept
    since an earlier release: anybody can work them out.
    """

    count: int
    percent: float | None
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One cell beside what it was: the week before, and the mean of the last weeks. None is a week that the release does not hold."""

    place: str
    categories: tuple[tuple[str, str], ...]
    cell: Cell | None
    before: Cell | None
    mean: float | None
    """Of the published numbers of the weeks before; None if any of them is hidden or absent."""
    change: Change | None
    """Against the week before."""

    @property
    def percent_of_mean(self) -> float | None:
        """The number as a percentage of the mean; None where either is not known, or the mean is zero."""
        if self.cell is None or self.cell.count is None or not self.mean:
            return None
        return round(100 * self.cell.count / self.mean, 1)


def compare(
    document: Document, question: Question, *, weeks: int, week: str | None, region: str | None
) -> tuple[Sequence[str], list[Comparison]]:
    """Hold a week against those before it.

    Args:
        document: The release.
        question: Places and categories.
        weeks: How many weeks before make the mean.
        week: The week; None is the newest one of the release.
        region: The caller's country or region; None sees every place.

    Returns:
        The weeks looked at, the compared one last, and a comparison per place and category.

    Raises:
        QuestionError: `not-found` if the release was built before the cube had these dimensions.
    """
    window = last_weeks(document, count=weeks + 1, until=week)
    if not window:
        return window, []
    rules = document.rule_of(window[-2]), document.rule_of(window[-1])
    return window, [
        _compared(one.place, one.categories, one.cells, rules)
        for one in series(document, question, window, region=region)
    ]


def _compared(
    place: str, categories: tuple[tuple[str, str], ...], cells: Sequence[Cell | None], rules: tuple[Rule, Rule]
) -> Comparison:
    *earlier, now = cells
    return Comparison(place, categories, now, earlier[-1], mean_of(earlier), change_between(earlier[-1], now, rules))


def mean_of(cells: Sequence[Cell | None]) -> float | None:
    """Return the mean of published numbers, to a tenth; None if there are none or any is hidden or absent."""
    counts = [cell.count for cell in cells if cell is not None and cell.count is not None]
    return round(sum(counts) / len(counts), 1) if counts and len(counts) == len(cells) else None


def change_between(before: Cell | None, after: Cell | None, rules: tuple[Rule, Rule]) -> Change | None:
    """Return how a published number changed, each having gone through its rule; None if either is hidden or absent."""
    if before is None or after is None or before.count is None or after.count is None:
        return None
    change = after.count - before.count
    low, high = behind(before.count, rules[0], kept=True), behind(after.count, rules[1], kept=True)
    percent = round(100 * change / before.count, 1) if before.count else None
    return Change(change, percent, high[0] - low[1], high[1] - low[0])
