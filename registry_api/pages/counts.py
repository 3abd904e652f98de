"""The ministry's page: a release as a glance, figures and a table, from the same cells as the JSON routes."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import HTMLResponse, Response
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.api.access import Caller, RuntimeDep, SessionDep
from registry_api.api.answering import note_reading
from registry_api.api.asking import Asker, ReleaseNumber
from registry_api.pages.figures import FIGURES, View
from registry_api.pages.render import page
from registry_api.pages.wording import (
    TITLES,
    Shown,
    between_text,
    change_text,
    dimension_title,
    quality_title,
    show,
    value_title,
)
from registry_api.releases import parquet
from registry_api.releases.archive import Entry
from registry_api.releases.comparison import Comparison, compare
from registry_api.releases.cube import DIMENSIONS, PATIENTS, UNIT, is_country
from registry_api.releases.difference import revisions
from registry_api.releases.document import Document
from registry_api.releases.query import COUNTRY, REGION, Question, may_see
from registry_api.releases.reporting import QUALITY
from registry_api.releases.series import last_weeks
from registry_api.runtime import Runtime

router = APIRouter()

SPANS = (12, 26, 52)
"""So many weeks a page may show."""
_MEAN_WEEKS = 4


@dataclass(frozen=True, slots=True)
class TableRow:
    """One week of the chosen place: the total and its parts."""

    week: str
    version: int
    total: Shown
    parts: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a reader would like to see; what does not exist falls back to what does."""

    place: str
    week: str
    weeks: int

    @classmethod
    def of_query(
        cls,
        place: Annotated[str, Query(max_length=20)] = "",
        week: Annotated[str, Query(max_length=10)] = "",
        weeks: Annotated[int, Query(ge=1, le=SPANS[-1])] = SPANS[0],
    ) -> "Wish":
        """Return the wish in the query string."""
        return cls(place, week, weeks)

    def view(self, document: Document, caller: Caller) -> View | None:
        """Return the view of a release; None if the caller sees no place of it or it has no week."""
        places = [one for one in document.places if may_see(one, caller.region)]
        if not places or not document.weeks:
            return None
        place = self.place if self.place in places else places[0]
        week = self.week if self.week in document.weeks else max(document.weeks)
        return View(document, places, place, week, last_weeks(document, count=self.weeks, until=week))


WishDep = Annotated[Wish, Depends(Wish.of_query)]


@router.get("/registry", response_class=HTMLResponse)
def read_page(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Asker,
    wish: WishDep,
    by: Annotated[str, Query(max_length=20)] = "severity",
) -> HTMLResponse:
    """Show the newest release."""
    try:
        entry = runtime.archive.entry(session)
    except InvalidInputError:
        return page("registry_empty.html", caller=caller)
    view = wish.view(runtime.archive.open(session, entry), caller)
    if view is None:
        return page("registry_empty.html", caller=caller)
    dimension = by if by in DIMENSIONS else "severity"
    note_reading(runtime, caller, what="page", release=entry.number, question=f"{view.place} {dimension}")
    before = _document(runtime, session, entry.number - 1) if entry.number > 1 else None
    return _page(caller, entry, view, before, dimension)


@router.get("/registry/releases/{number}/{name}.svg")
def read_chart(
    number: ReleaseNumber,
    name: Annotated[str, Path(max_length=20)],
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Asker,
    wish: WishDep,
) -> Response:
    """Return one chart of a release as a file: `trend`, `regions`, `severity`, `ggo`, `ages` or `completeness`.

    Raises:
        InvalidInputError: `not-found` if there is no such chart of what the caller may see.
    """
    view = wish.view(_document(runtime, session, number), caller)
    figure = FIGURES[name](view) if view is not None and name in FIGURES else None
    if view is None or figure is None:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no such chart. There are: {', '.join(FIGURES)}.")
    note_reading(runtime, caller, what=f"{name}.svg", release=number, question=view.place)
    file = f"{name}-{view.place}-{view.week}-release-{number}.svg"
    return Response(
        str(figure.chart), media_type="image/svg+xml", headers={"Content-Disposition": f'attachment; filename="{file}"'}
    )


def _document(runtime: Runtime, session: Session, number: int) -> Document:
    return runtime.archive.open(session, runtime.archive.entry(session, number))


def _page(caller: Caller, entry: Entry, view: View, before: Document | None, dimension: str) -> HTMLResponse:
    document, rule = view.document, view.document.rule
    level = COUNTRY if is_country(view.place) else REGION
    made = (build(view) for build in FIGURES.values())
    return page(
        "registry.html",
        caller=caller,
        release=entry,
        rule=rule,
        view=view,
        weeks=sorted(document.weeks, reverse=True),
        spans=SPANS,
        glance=_glance(view),
        figures=[figure for figure in made if figure is not None],
        looked_at=urlencode({"place": view.place, "week": view.week, "weeks": len(view.weeks)}),
        dimension=dimension,
        titles={name: dimension_title(name) for name in TITLES if name in document.dimensions},
        values=[value_title(dimension, value) for value in DIMENSIONS[dimension]],
        rows=_rows(view, dimension),
        quality=_quality(view),
        changes=None if before is None else _changes(before, view, dimension),
        question=urlencode({"by": f"week,{level},{dimension}", level: view.place}),
        everything=urlencode({"by": f"week,{level},{dimension}"}),
        parquet=parquet.available(),
    )


@dataclass(frozen=True, slots=True)
class Glance:
    """The week in a few numbers, each as words."""

    studies: Shown
    patients: Shown | None
    per_100k: float | None
    change: str
    between: str
    against_mean: float | None
    sites: tuple[int, int] | None


def _glance(view: View) -> Glance:
    """Return the newest week of the chosen place against those before it."""
    _, found = compare(view.document, _question(view.place), weeks=_MEAN_WEEKS, week=view.week, region=None)
    one: Comparison = found[0]
    cell = one.cell if one.cell is not None else view.document.weeks[view.week].cell(view.place, ())
    persons = view.document.persons(view.place, view.week)
    return Glance(
        studies=show(cell),
        patients=_patients(view),
        per_100k=round(cell.count * 100_000 / persons, 1) if cell.count is not None and persons else None,
        change=change_text(one.change) if one.before is not None else "",
        between=between_text(one.change) if one.change else "",
        against_mean=one.percent_of_mean,
        sites=view.document.weeks[view.week].reporting.get(view.place),
    )


def _question(place: str, *dimensions: str) -> Question:
    """Return the question for one place."""
    regional = not is_country(place)
    return Question(regional, dimensions, {REGION if regional else COUNTRY: frozenset({place})})


def _patients(view: View) -> Shown | None:
    """Return the patients behind the studies; None of a release that does not count them."""
    cell = view.cell(*PATIENTS) if UNIT in view.document.dimensions else None
    return None if cell is None else show(cell)


def _quality(view: View) -> list[tuple[str, int, int]]:
    """Return what is said of the hospitals of the place in the week, and of how many of how many it holds."""
    known = view.document.weeks[view.week].quality.get(view.place, {})
    return [(quality_title(name), *known[name]) for name in QUALITY if name in known]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A number of an older week that this release shows otherwise than the one before."""

    week: str
    versions: tuple[int, int]
    what: str
    before: Shown
    after: Shown


def _changes(before: Document, view: View, dimension: str) -> list[ChangeRow]:
    """Return what is shown otherwise of the place, in all and by the dimension; a dimension that the release before lacks changed nowhere."""
    questions = [_question(view.place)]
    if dimension in before.dimensions:
        questions.append(_question(view.place, dimension))
    found = [one for question in questions for one in revisions(before, view.document, question, region=None)]
    return [
        ChangeRow(
            one.after.week,
            (one.version_before, one.after.version),
            ", ".join(value_title(*category) for category in one.after.categories),
            show(one.before),
            show(one.after.cell),
        )
        for one in sorted(found, key=lambda one: one.after.week, reverse=True)
    ]


def _rows(view: View, dimension: str) -> list[TableRow]:
    """Put each total beside its parts, newest week first; weeks that the release does not hold are left out."""
    held = [view.document.weeks[week] for week in reversed(view.weeks) if week in view.document.weeks]
    return [
        TableRow(
            table.week,
            table.version,
            show(table.cell(view.place, ())),
            _parts(view, table.week, dimension),
        )
        for table in held
    ]


def _parts(view: View, week: str, dimension: str) -> tuple[Shown, ...]:
    cells = [view.cell((dimension, value), week=week) for value in DIMENSIONS[dimension]]
    return tuple(show(cell) for cell in cells if cell is not None)
