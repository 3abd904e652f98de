"""Routes of counts: what a ministry may ask, computed from release bytes only."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from protocol.codes import Code
from protocol.errors import RefusedError
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.api.answering import Written, answer_with, as_bytes, note_reading, summary
from registry_api.api.asking import (
    ASKING,
    PAGE_MOST,
    Asked,
    AskedOfNewest,
    AskedOfNumber,
    Asker,
    PagingDep,
    ReleaseNumber,
    checked_week,
)
from registry_api.keyfiles import raw_key
from registry_api.people.roles import Role, Scope
from registry_api.releases.archive import Entry
from registry_api.releases.cells import cells_as_json
from registry_api.releases.comparison import Comparison, compare
from registry_api.releases.cube import ALONE, DIMENSIONS, MOST_DIMENSIONS
from registry_api.releases.difference import Revision, new_weeks, revisions
from registry_api.releases.distribution import Distribution, distributions
from registry_api.releases.document import Document
from registry_api.releases.export import as_json, as_reporting, shown
from registry_api.releases.query import COUNTRY, REGION, WEEK, QuestionError, Table, may_see, reporting_of
from registry_api.releases.series import Series, last_weeks, series

router = APIRouter(prefix="/v1/registry")

WEEKS_MOST = 260
Weeks = Annotated[int, Query(ge=1, le=WEEKS_MOST)]
WeeksBefore = Annotated[int, Query(ge=1, le=52)]
Week = Annotated[str | None, Query(pattern=r"^[0-9]{4}-W[0-9]{2}$")]


@router.get("/dimensions")
def read_dimensions(runtime: RuntimeDep, _: Asker) -> dict[str, Any]:
    """Return what may be asked, and the rule that every number went through."""
    return {
        "always": [WEEK, f"{COUNTRY} or {REGION}"],
        "dimensions": DIMENSIONS,
        "most_dimensions": MOST_DIMENSIONS,
        "alone": sorted(ALONE),
        "page_most": PAGE_MOST,
        "verify_key": raw_key(runtime.counts_key.public_key()),
        "rule": rule_content(runtime.settings.disclosure.model_dump()),
    }


@router.get("/releases")
def read_releases(runtime: RuntimeDep, session: SessionDep, _: Asker) -> list[dict[str, Any]]:
    """Return every release, newest first."""
    return [summary(entry) for entry in runtime.archive.entries(session)]


@router.get("/releases/{number}")
def read_release(number: ReleaseNumber, runtime: RuntimeDep, session: SessionDep, caller: Asker) -> dict[str, Any]:
    """Return one release's hash, signature, rule, weeks with their versions, and the places the caller may see.

    `rules` are those of weeks that were first published by other thresholds.
    """
    row = runtime.archive.row(session, number)
    document = runtime.archive.document(row)
    return {
        **summary(Entry.of(row)),
        "weeks": {week: table.version for week, table in sorted(document.weeks.items())},
        "places": [place for place in document.places if may_see(place, caller.region)],
        "units": {
            place: {"system": unit.system, "name": unit.name, "population": unit.population}
            for place, unit in document.units.items()
            if may_see(place, caller.region)
        },
        "rule": rule_content(asdict(document.rule)),
        "rules": {
            week: rule_content(asdict(rule))
            for week in sorted(document.weeks)
            if (rule := document.rule_of(week)) != document.rule
        },
    }


@router.get("/releases/{number}/body.json")
def read_body(
    number: ReleaseNumber,
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Annotated[Caller, require(Role.COORDINATOR, Role.AUDITOR, scope=Scope.COUNTS)],
) -> Response:
    """Return the signed bytes themselves. They hold every country, so neither a ministry nor anybody else of one place gets them.

    Raises:
        RefusedError: `forbidden` for who sees one country or region only.
    """
    if caller.region is not None:
        raise RefusedError(
            Code.FORBIDDEN, f"These bytes hold every country, and you see {caller.region}. Ask `counts` instead."
        )
    row = runtime.archive.row(session, number)
    note_reading(runtime, caller, what="body.json", release=number)
    headers = {"Cache-Control": "private, max-age=31536000, immutable", "ETag": f'"{row.sha256}"'}
    return Response(row.body, media_type="application/json", headers=headers)


@router.get("/counts", **ASKING)
def read_counts(asked: AskedOfNewest, paging: PagingDep) -> Response:
    """Return the cells asked for. Each is a number on the grid, or null with `status` and `bound`."""

    def render(document: Document) -> dict[str, Any]:
        table = Table(document, asked.question, region=asked.caller.region)
        found = list(table.runs(paging.offset, min(paging.offset + paging.limit, len(table))))
        return {
            **precision(document),
            **paging.members(table, asked),
            "reporting": [as_reporting(one) for one in reporting_of(document, found)],
            "cells": Written(cells_as_json(found)),
        }

    return _answer(asked, render, limit=paging.limit, offset=paging.offset)


@router.get("/series", **ASKING)
def read_series(asked: AskedOfNewest, paging: PagingDep, weeks: Weeks = 12, until: Week = None) -> Response:
    """Return a row per place and category with a cell for each of the last `weeks` up to `until`, the newest week by default.

    A week that the release does not hold is null with status `absent`, which is no zero.
    """
    last = _week_by_name(asked, until)

    def render(document: Document) -> dict[str, Any]:
        window = last_weeks(document, count=weeks, until=last)
        found = series(document, asked.question, window, region=asked.caller.region)
        return {
            **precision(document),
            **paging.members(found, asked),
            "weeks": window,
            "versions": [table.version if (table := document.weeks.get(week)) else None for week in window],
            "series": [_series_content(one) for one in paging.part(found)],
        }

    return _answer(asked, render, weeks=weeks, until=last, limit=paging.limit, offset=paging.offset)


@router.get("/comparison", **ASKING)
def read_comparison(asked: AskedOfNewest, paging: PagingDep, weeks: WeeksBefore = 4) -> Response:
    """Hold one `week`, the newest by default, against the week before and against the mean of the `weeks` before.

    `change` is from rounded numbers; `least` and `most` say between which values the true change lies. Null where a number is hidden.
    """
    wanted = sorted(asked.question.wanted.get(WEEK, ()))
    if len(wanted) > 1:
        raise QuestionError(Code.BAD_REQUEST, "Compare one week at a time.", allowed=[WEEK])
    week = checked_week(wanted[0]) if wanted else None

    def render(document: Document) -> dict[str, Any]:
        window, found = compare(document, asked.question, weeks=weeks, week=week, region=asked.caller.region)
        return {
            **precision(document),
            **paging.members(found, asked),
            "week": window[-1] if window else None,
            "against": list(window[:-1]),
            "cells": [_comparison_content(one) for one in paging.part(found)],
        }

    return _answer(asked, render, weeks=weeks, limit=paging.limit, offset=paging.offset)


@router.get("/distribution", **ASKING)
def read_distribution(asked: AskedOfNewest, paging: PagingDep) -> Response:
    """Return how the studies of each week and place spread over the one dimension in `by`, such as `by=week,region,ggo`."""
    if len(asked.question.dimensions) != 1:
        allowed = list(DIMENSIONS)
        raise QuestionError(Code.BAD_REQUEST, f"Name one dimension in `by`: {', '.join(allowed)}.", allowed=allowed)

    def render(document: Document) -> dict[str, Any]:
        found = distributions(document, asked.question, region=asked.caller.region)
        return {
            **precision(document),
            **paging.members(found, asked),
            "of": asked.question.dimensions[0],
            "distributions": [_distribution_content(one) for one in paging.part(found)],
        }

    return _answer(asked, render, limit=paging.limit, offset=paging.offset)


@router.get("/releases/{number}/changes", **ASKING)  # noqa: FAST003 — `Asked.named` reads the number
def read_changes(asked: AskedOfNumber) -> Response:
    """Return what the release says otherwise than the one before it, cell by cell; the first release changes nothing."""
    archive, session = asked.runtime.archive, asked.session

    def render(after: Document) -> dict[str, Any]:
        earlier = archive.open(session, archive.entry(session, after.number - 1)) if after.number > 1 else after
        return {
            "since": earlier.number,
            "new_weeks": list(new_weeks(earlier, after)),
            "revisions": [_revision(one) for one in revisions(earlier, after, asked.question, region=asked.caller.region)],
        }  # fmt: skip

    return _answer(asked, render)


def precision(document: Document) -> dict[str, Any]:
    """Return what the numbers of a release went through, in the words of Beacon v2.2."""
    return {
        "count_precision": "rounded",
        "count_adjusted_to": [document.rule.rounding, f">{document.rule.minimum}"],
    }


def rule_content(thresholds: dict[str, Any]) -> dict[str, Any]:
    """Return the rule as people read it."""
    minimum = thresholds["minimum"]
    return {
        **thresholds,
        "masked": f"1 to {minimum}: null, status masked, bound 1-{minimum}",
        "withheld": "null, status withheld: too few hospitals, one that dominates, or company for a masked cell",
    }


def _answer(asked: Asked, render: Callable[[Document], dict[str, Any]], **extra: object) -> Response:
    def body() -> bytes:
        document = asked.runtime.archive.open(asked.session, asked.entry)
        return as_bytes({**summary(asked.entry), **render(document)})

    return answer_with(asked, body, extra=extra)


def _week_by_name(asked: Asked, until: str | None) -> str | None:
    """A series has its weeks by `weeks` and `until`; a wanted week would be a second way to say it."""
    if WEEK in asked.question.wanted:
        raise QuestionError(Code.BAD_REQUEST, "Say `weeks` and `until` instead of `week`.", allowed=["weeks", "until"])
    return checked_week(until)


def _series_content(one: Series) -> dict[str, Any]:
    cells = [shown(cell) for cell in one.cells]
    columns = {plural: [cell[name] for cell in cells] for name, plural in (("count", "counts"), ("status", "statuses"))}
    return {"region": one.place, **dict(one.categories), **columns}


def _comparison_content(one: Comparison) -> dict[str, Any]:
    change = one.change and {
        "count": one.change.count,
        "percent": one.change.percent,
        "least": one.change.least,
        "most": one.change.most,
    }
    measured = {"mean": one.mean, "percent_of_mean": one.percent_of_mean, "change": change}
    return {"region": one.place, **dict(one.categories), **shown(one.cell), "before": shown(one.before), **measured}


def _distribution_content(one: Distribution) -> dict[str, Any]:
    parts = [{"value": part.value, **shown(part.cell), "percent": part.percent} for part in one.parts]
    return {"week": one.week, "version": one.version, "region": one.place, "all": shown(one.total), "parts": parts}


def _revision(one: Revision) -> dict[str, Any]:
    versions = {"version_before": one.version_before, "version": one.after.version}
    return {**as_json(one.after), **versions, "before": shown(one.before)}
