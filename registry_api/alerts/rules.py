"""When a release sets off an alert: one published number of its newest week against a threshold. A hidden number says nothing. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from registry_api.releases.comparison import Comparison, compare
from registry_api.releases.cube import DIMENSIONS, is_country
from registry_api.releases.document import Document
from registry_api.releases.query import COUNTRY, REGION, Question, ask

MEAN_WEEKS = 4


class Measure(StrEnum):
    """What is held against the threshold."""

    COUNT = "count"
    """The number of studies."""
    CHANGE_PERCENT = "change-percent"
    """Of the published number, against that of the week before."""
    PERCENT_OF_MEAN = "percent-of-mean"
    """Of the mean of the four weeks before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One cell, one measure, one threshold. `values` are as in `severity:severe`, at most two."""

    place: str
    values: tuple[tuple[str, str], ...]
    measure: Measure
    threshold: float
    above: bool
    """Whether the alert goes off at or above the threshold, or at or below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A condition that a release fulfils."""

    week: str
    release: int
    measured: float
    count: int


def question_for(condition: Condition) -> Question:
    """Return the question whose only answer is the cell of the condition.

    Raises:
        QuestionError: `too-fine` or `bad-request` if no table has such a cell.
    """
    level = COUNTRY if is_country(condition.place) else REGION
    wanted = {name: [value] for name, value in condition.values}
    return ask([level, *wanted], {level: [condition.place], **wanted})


def judge(condition: Condition, document: Document) -> Alarm | None:
    """Return the alarm, if the newest week of the release fulfils the condition in published numbers."""
    if any(name not in document.dimensions for name, _ in condition.values):
        return None
    window, found = compare(document, question_for(condition), weeks=MEAN_WEEKS, week=None, region=None)
    if not found:
        return None
    measured = measure(condition.measure, found[0])
    count = found[0].cell.count if found[0].cell else None
    if measured is None or count is None:
        return None
    reached = measured >= condition.threshold if condition.above else measured <= condition.threshold
    return Alarm(week=window[-1], release=document.number, measured=measured, count=count) if reached else None


def measure(what: Measure, one: Comparison) -> float | None:
    """Return the measured number; None where it rests on anything that is hidden or absent."""
    if what is Measure.PERCENT_OF_MEAN:
        return one.percent_of_mean
    if what is Measure.CHANGE_PERCENT:
        return one.change.percent if one.change is not None else None
    return None if one.cell is None or one.cell.count is None else float(one.cell.count)


def read_values(text: str) -> tuple[tuple[str, str], ...]:
    """Return the values written as `severity:severe;sex:female`, in the order of the cube; nothing stands for all studies."""
    pairs = dict(part.split(":", 1) for part in text.split(";") if ":" in part)
    return tuple((name, pairs[name]) for name in DIMENSIONS if name in pairs)


def written_values(values: tuple[tuple[str, str], ...]) -> str:
    """Return what `read_values` reads."""
    return ";".join(f"{name}:{value}" for name, value in values)
