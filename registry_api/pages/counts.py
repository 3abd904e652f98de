"""The ministry's page: this release as a glance, a chart and a table, from the same cells as the JSON route."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from protocol.errors import InvalidInputError
from registry_api.api.access import Caller, RuntimeDep, SessionDep
from registry_api.api.counts import Asker
from registry_api.pages.chart import Bar, bar_chart
from registry_api.pages.render import page
from registry_api.releases.cube import DIMENSIONS, is_country
from registry_api.releases.disclosure import Cell, Rule, Status
from registry_api.releases.document import Document
from registry_api.releases.query import Answer, Question, answers, may_see
from registry_api.releases.tables import CountReleaseRow

router = APIRouter()

TITLES = {
    "severity": "Severity (zone score)",
    "age": "Age",
    "sex": "Sex",
    "pcr": "PCR",
    "rsna": "RSNA class",
}
_WEEKS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell as the page writes it: `text` stands alone, without colour; `note` explains it."""

    text: str
    note: str
    hidden: bool


@dataclass(frozen=True, slots=True)
class TableRow:
    """One week of one place: the total and its parts."""

    week: str
    version: int
    place: str
    total: Shown
    parts: tuple[Shown, ...]


@router.get("/registry", response_class=HTMLResponse)
def read_page(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Asker,
    by: Annotated[str, Query(max_length=20)] = "severity",
    place: Annotated[str, Query(max_length=10)] = "",
) -> HTMLResponse:
    """Show the newest release."""
    try:
        row = runtime.archive.row(session)
    except InvalidInputError:
        return page("registry_empty.html", caller=caller)
    document = runtime.archive.document(row)
    places = [one for one in document.places if may_see(one, caller.region)]
    chosen = place if place in places else next(iter(places), "")
    dimension = by if by in DIMENSIONS else "severity"
    return _page(caller, row, document, chosen=chosen, dimension=dimension)


def _page(caller: Caller, row: CountReleaseRow, document: Document, *, chosen: str, dimension: str) -> HTMLResponse:
    places = [one for one in document.places if may_see(one, caller.region)]
    totals = _cells(document, caller, places, ())
    parts = _cells(document, caller, places, (dimension,))
    weeks = sorted(document.weeks)[-_WEEKS_SHOWN:]
    rule = document.rule
    bars = [
        Bar(answer.week[5:], answer.cell.count, _word(answer.cell, rule)) for answer in totals if answer.place == chosen
    ]
    regional = any(not is_country(one) for one in places)
    return page(
        "registry.html",
        caller=caller,
        release=row,
        rule=rule,
        places=places,
        chosen=chosen,
        dimension=dimension,
        titles=TITLES,
        values=DIMENSIONS[dimension],
        glance=[
            (answer.place, show(answer.cell, rule), document.weeks[answer.week].reporting.get(answer.place))
            for answer in totals
            if weeks and answer.week == weeks[-1]
        ],
        last_week=weeks[-1] if weeks else "",
        chart=bar_chart(bars[-_WEEKS_SHOWN:], title=f"Studies per week, {chosen}"),
        rows=[one for one in _rows(totals, parts, rule) if one.week in weeks],
        question=urlencode({"by": f"week,{'region' if regional else 'country'},{dimension}"}),
    )


def _cells(document: Document, caller: Caller, places: Sequence[str], dimensions: tuple[str, ...]) -> list[Answer]:
    """Return the cells of both levels, country and region, in the order of `places`, newest week last."""
    levels = (Question(regional, dimensions) for regional in (False, True))
    found = {
        (one.week, one.place, one.categories): one
        for question in levels
        for one in answers(document, question, region=caller.region)
    }
    return sorted(found.values(), key=lambda one: (one.week, places.index(one.place)))


def _rows(totals: Sequence[Answer], parts: Sequence[Answer], rule: Rule) -> list[TableRow]:
    """Put each total beside its parts, newest week first."""
    beside: dict[tuple[str, str], list[Shown]] = {}
    for answer in parts:
        beside.setdefault((answer.week, answer.place), []).append(show(answer.cell, rule))
    rows = [
        TableRow(one.week, one.version, one.place, show(one.cell, rule), tuple(beside.get((one.week, one.place), ())))
        for one in totals
    ]
    return sorted(rows, key=lambda row: row.week, reverse=True)


def show(cell: Cell, rule: Rule) -> Shown:
    """Return what a person reads in place of the cell."""
    if cell.count is not None:
        return Shown(str(cell.count), "", hidden=False)
    if cell.status is Status.MASKED:
        return Shown(_word(cell, rule), f"masked: {rule.minimum} or fewer, but not none", hidden=True)
    return Shown(
        "withheld", "withheld: it would say too much of one hospital or of a masked number beside it", hidden=True
    )


def _word(cell: Cell, rule: Rule) -> str:
    if cell.count is not None:
        return str(cell.count)
    return f"1–{rule.minimum}" if cell.status is Status.MASKED else "withheld"
