"""Routes of counts: what a ministry may ask, computed from release bytes only."""

import hashlib
import json
from collections.abc import Sequence
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
from registry_api.releases.export import as_csv, as_dhis2, as_json, as_measure_report
from registry_api.releases.query import COUNTRY, REGION, WEEK, Answer, Question, answers, ask, may_see
from registry_api.releases.tables import CountReleaseRow
from registry_api.runtime import Runtime

router = APIRouter(prefix="/v1/registry")

Asker = Annotated[Caller, require(Role.MINISTRY, Role.COORDINATOR, Role.AUDITOR)]
NAMES = (WEEK, COUNTRY, REGION, *DIMENSIONS)
_FRESH_SECONDS = 300
_VALUE_MAX = 40


def question_of(request: Request, by: Annotated[str, Query(max_length=200)] = "week,region,severity") -> Question:
    """Return the question in the query string: `by` and, for each dimension, the values wanted.

    Raises:
        InvalidInputError: `too-fine` or `bad-request`.
    """
    foreign = set(request.query_params.keys()) - {"by", "release", *NAMES}
    if foreign:
        raise InvalidInputError(
            Code.BAD_REQUEST, f"There is no such parameter. Allowed: by, release, {', '.join(NAMES)}."
        )
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
        "cells": [as_json(answer) for answer in found],
    }
    return _cached(request, json.dumps(content, separators=(",", ":")).encode(), "application/json")


@router.get("/releases/{number}/export.csv")
def read_csv(
    request: Request, number: int, question: QuestionDep, runtime: RuntimeDep, session: SessionDep, caller: Asker
) -> Response:
    """Return the cells as CSV."""
    row, found = look_up(runtime, session, question, region=caller.region, number=number)
    return _cached(request, as_csv(row.number, found).encode(), "text/csv; charset=utf-8", name=f"counts-{number}.csv")


@router.get("/releases/{number}/dhis2.json")
def read_dhis2(
    request: Request, number: int, question: QuestionDep, runtime: RuntimeDep, session: SessionDep, caller: Asker
) -> Response:
    """Return the cells as DHIS2 data values (`import`), and beside them those that DHIS2 cannot hold (`left_out`)."""
    _, found = look_up(runtime, session, question, region=caller.region, number=number)
    return _cached(
        request, json.dumps(as_dhis2(found)).encode(), "application/json", name=f"counts-{number}-dhis2.json"
    )


@router.get("/releases/{number}/measurereport.json")
def read_measure_report(
    request: Request, number: int, question: QuestionDep, runtime: RuntimeDep, session: SessionDep, caller: Asker
) -> Response:
    """Return the cells as a Bundle of FHIR R5 MeasureReports."""
    row, found = look_up(runtime, session, question, region=caller.region, number=number)
    bundle = as_measure_report(runtime.archive.document(row), found)
    return _cached(request, json.dumps(bundle).encode(), "application/fhir+json", name=f"counts-{number}-fhir.json")


def rule_content(thresholds: dict[str, Any]) -> dict[str, Any]:
    """Return the rule as people read it."""
    minimum = thresholds["minimum"]
    return {
        **thresholds,
        "masked": f"1 to {minimum}: null, status masked, bound 1-{minimum}",
        "withheld": "null, status withheld: too few hospitals, one that dominates, or company for a masked cell",
    }


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
