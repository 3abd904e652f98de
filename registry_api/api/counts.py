"""Routes of counts: what a ministry may ask, computed from release bytes only."""

import hashlib
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.people.roles import Role
from registry_api.releases.archive import Entry
from registry_api.releases.cube import DIMENSIONS, MOST_DIMENSIONS
from registry_api.releases.difference import Revision, new_weeks, revisions
from registry_api.releases.export import as_csv, as_dhis2, as_json, as_reporting, shown
from registry_api.releases.fhir import FhirVersion, as_measure_report
from registry_api.releases.query import (
    COUNTRY,
    REGION,
    WEEK,
    Answer,
    Question,
    answers,
    ask,
    may_see,
    reporting_of,
)
from registry_api.releases.tables import CountReleaseRow
from registry_api.runtime import Runtime

router = APIRouter(prefix="/v1/registry")

Asker = Annotated[Caller, require(Role.MINISTRY, Role.COORDINATOR, Role.AUDITOR)]
NAMES = (WEEK, COUNTRY, REGION, *DIMENSIONS)
_OWN_PARAMETERS = {"dhis2.json": {"part"}, "measurereport.json": {"fhir"}}
"""What an export takes beside the question, by the end of its path."""
_FRESH_SECONDS = 300
_VALUE_MAX = 40


def question_of(request: Request, by: Annotated[str, Query(max_length=200)] = "week,region,severity") -> Question:
    """Return the question in the query string: `by` and, for each dimension, the values wanted.

    Raises:
        InvalidInputError: `too-fine` or `bad-request`.
    """
    allowed = ["by", "release", *NAMES, *_OWN_PARAMETERS.get(request.url.path.rpartition("/")[2], ())]
    if set(request.query_params.keys()) - set(allowed):
        raise InvalidInputError(Code.BAD_REQUEST, f"There is no such parameter. Allowed: {', '.join(allowed)}.")
    wanted = {name: request.query_params.getlist(name) for name in NAMES}
    if any(len(value) > _VALUE_MAX for values in wanted.values() for value in values):
        raise InvalidInputError(Code.BAD_REQUEST, "A value asked for is longer than any that exists.")
    return ask([name.strip() for name in by.split(",") if name.strip()], wanted)


QuestionDep = Annotated[Question, Depends(question_of)]


def look_up(
    runtime: Runtime, session: Session, question: Question, *, region: str | None, number: int | None
) -> tuple[CountReleaseRow, Sequence[Answer]]:
    """Return the release asked for and the cells of it that the caller may see."""
    row = runtime.archive.row(session, number)
    return row, answers(runtime.archive.document(row), question, region=region)


@router.get("/dimensions")
def read_dimensions(runtime: RuntimeDep, _: Asker) -> dict[str, Any]:
    """Return what may be asked, and the rule that every number went through."""
    return {
        "always": [WEEK, f"{COUNTRY} or {REGION}"],
        "dimensions": DIMENSIONS,
        "most_dimensions": MOST_DIMENSIONS,
        "rule": rule_content(runtime.settings.disclosure.model_dump()),
    }


@router.get("/releases")
def read_releases(runtime: RuntimeDep, session: SessionDep, _: Asker) -> list[dict[str, Any]]:
    """Return every release, newest first."""
    return [_summary(entry) for entry in runtime.archive.entries(session)]


@router.get("/releases/{number}")
def read_release(number: int, runtime: RuntimeDep, session: SessionDep, caller: Asker) -> dict[str, Any]:
    """Return one release's hash, signature, rule, weeks with their versions, and the places the caller may see."""
    row = runtime.archive.row(session, number)
    document = runtime.archive.document(row)
    return {
        **_summary(Entry.of(row)),
        "weeks": {week: table.version for week, table in sorted(document.weeks.items())},
        "places": [place for place in document.places if may_see(place, caller.region)],
        "units": {
            place: {"system": unit.system, "name": unit.name, "population": unit.population}
            for place, unit in document.units.items()
            if may_see(place, caller.region)
        },
        "rule": rule_content({name: getattr(document.rule, name) for name in document.rule.__slots__}),
    }


@router.get("/releases/{number}/body.json")
def read_body(
    number: int,
    runtime: RuntimeDep,
    session: SessionDep,
    _: Annotated[Caller, require(Role.COORDINATOR, Role.AUDITOR)],
) -> Response:
    """Return the signed bytes themselves. They hold every country, so a ministry does not get them."""
    row = runtime.archive.row(session, number)
    return Response(
        row.body, media_type="application/json", headers={"Cache-Control": "private, max-age=31536000, immutable"}
    )


@router.get("/counts")
def read_counts(
    request: Request,
    question: QuestionDep,
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Asker,
    release: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Return the cells asked for. Each is a number on the grid, or null with `status` and `bound`."""
    row, found = look_up(runtime, session, question, region=caller.region, number=release)
    document = runtime.archive.document(row)
    content = {
        **_summary(Entry.of(row)),
        "count_precision": "rounded",
        "count_adjusted_to": [document.rule.rounding, f">{document.rule.minimum}"],
        "reporting": [as_reporting(*one) for one in reporting_of(document, found)],
        "cells": [as_json(answer) for answer in found],
    }
    return _cached(request, json.dumps(content, separators=(",", ":")).encode(), "application/json")


@router.get("/releases/{number}/changes")
def read_changes(
    request: Request, number: int, question: QuestionDep, runtime: RuntimeDep, session: SessionDep, caller: Asker
) -> Response:
    """Return what the release says otherwise than the one before it, cell by cell; the first release changes nothing."""
    row = runtime.archive.row(session, number)
    after = runtime.archive.document(row)
    before = runtime.archive.document(runtime.archive.row(session, number - 1)) if number > 1 else after
    content = {
        **_summary(Entry.of(row)),
        "since": before.number,
        "new_weeks": list(new_weeks(before, after)),
        "revisions": [_revision(one) for one in revisions(before, after, question, region=caller.region)],
    }
    return _cached(request, json.dumps(content, separators=(",", ":")).encode(), "application/json")


@router.get("/releases/{number}/export.csv")
def read_csv(
    request: Request, number: int, question: QuestionDep, runtime: RuntimeDep, session: SessionDep, caller: Asker
) -> Response:
    """Return the cells as CSV."""
    row, found = look_up(runtime, session, question, region=caller.region, number=number)
    return _cached(request, as_csv(row.number, found).encode(), "text/csv; charset=utf-8", name=f"counts-{number}.csv")


class Dhis2Part(StrEnum):
    """Which part of a DHIS2 export: what DHIS2 takes as it is, the side file of hidden cells, or both in one document."""

    BOTH = "both"
    IMPORT = "import"
    LEFT_OUT = "left-out"


@router.get("/releases/{number}/dhis2.json")
def read_dhis2(  # noqa: PLR0913 - a route's dependencies, one by one
    request: Request,
    number: int,
    question: QuestionDep,
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Asker,
    *,
    part: Dhis2Part = Dhis2Part.BOTH,
) -> Response:
    """Return the cells as DHIS2 data values, and those that DHIS2 cannot hold beside them or as a side file."""
    _, found = look_up(runtime, session, question, region=caller.region, number=number)
    both = as_dhis2(found)
    content = both if part is Dhis2Part.BOTH else both[part.replace("-", "_")]
    name = f"counts-{number}-dhis2{'' if part is Dhis2Part.BOTH else f'-{part}'}.json"
    return _cached(request, json.dumps(content).encode(), "application/json", name=name)


@router.get("/releases/{number}/measurereport.json")
def read_measure_report(  # noqa: PLR0913 - a route's dependencies, one by one
    request: Request,
    number: int,
    question: QuestionDep,
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Asker,
    *,
    fhir: FhirVersion = FhirVersion.R5,
) -> Response:
    """Return the cells as a Bundle of FHIR MeasureReports, in R5 or R4B."""
    row, found = look_up(runtime, session, question, region=caller.region, number=number)
    bundle = as_measure_report(runtime.archive.document(row), found, fhir)
    name = f"counts-{number}-fhir-{fhir.lower()}.json"
    return _cached(request, json.dumps(bundle).encode(), fhir.media_type, name=name)


def rule_content(thresholds: dict[str, Any]) -> dict[str, Any]:
    """Return the rule as people read it."""
    minimum = thresholds["minimum"]
    return {
        **thresholds,
        "masked": f"1 to {minimum}: null, status masked, bound 1-{minimum}",
        "withheld": "null, status withheld: too few hospitals, one that dominates, or company for a masked cell",
    }


def _revision(one: Revision) -> dict[str, Any]:
    versions = {"version_before": one.version_before, "version": one.after.version}
    return {**as_json(one.after), **versions, "before": shown(one.before)}


def _summary(entry: Entry) -> dict[str, Any]:
    return {
        "release": entry.number,
        "built_at": entry.built_at.isoformat(timespec="seconds"),
        "sha256": entry.sha256,
        "signature": entry.signature,
    }


def _cached(request: Request, body: bytes, media_type: str, *, name: str | None = None) -> Response:
    """Return the bytes with their ETag, or 304 if the caller has them. Private: what a caller may see depends on the caller."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": f"private, max-age={_FRESH_SECONDS}", "Vary": "Authorization, Cookie"}
    if name is not None:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if etag in [one.strip() for one in request.headers.get("If-None-Match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
