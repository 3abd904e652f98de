"""Routes of a hospital: the quality of its own records, and who read the counts that they are in. No site stands in an address."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from sqlmodel import Session

from protocol.errors import UnavailableError
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.cases.quality import Quality, site_quality
from registry_api.enrolment.tables import SiteRow
from registry_api.loops import keep_on
from registry_api.people.readlog import LISTED_MAX, Entry, readings
from registry_api.people.roles import Role, Scope
from registry_api.releases.window import closed_weeks
from registry_api.runtime import Runtime
from registry_api.units.service import read_tree

log = logging.getLogger(__name__)

FLUSH_SECONDS = 30.0


@asynccontextmanager
async def _flushing(app: FastAPI) -> AsyncIterator[None]:
    """Store how often things were read, every half minute and at the end."""
    flush = app.state.runtime.read_log.flush
    flusher = asyncio.create_task(keep_on("read-log", partial(asyncio.to_thread, flush), every_seconds=FLUSH_SECONDS))
    yield
    flusher.cancel()
    try:
        await asyncio.to_thread(flush)
    except UnavailableError as error:
        log.warning("read-log.flush-failed", extra={"code": error.code})


router = APIRouter(prefix="/v1/registry", lifespan=_flushing)

Hospital = Annotated[Caller, require(Role.HOSPITAL, scope=Scope.QUALITY)]
Weeks = Annotated[int, Query(ge=1, le=104)]
WEEKS_SHOWN = 12
LogReader = Annotated[Caller, require(Role.HOSPITAL, Role.COORDINATOR, Role.AUDITOR, scope=Scope.READ_LOG)]
DAYS_SHOWN = 30
Offset = Annotated[int, Query(ge=0, le=10**6)]


@router.get("/quality")
def read_quality(
    runtime: RuntimeDep, session: SessionDep, caller: Hospital, weeks: Weeks = WEEKS_SHOWN
) -> dict[str, Any]:
    """Return completeness, timeliness, freshness and field completeness of the caller's own hospital, for the last closed weeks."""
    quality = own_quality(runtime, session, caller, weeks)
    return {"site": caller.site, **asdict(quality)}


def own_quality(runtime: RuntimeDep, session: SessionDep, caller: Caller, weeks: int) -> Quality:
    """Return the quality of the caller's hospital."""
    now = runtime.clock()
    return site_quality(session, str(caller.site), weeks=closed_weeks(now.date(), count=weeks), now=now)


@router.get("/read-log")
def read_log(  # noqa: PLR0913, PLR0917 — the parameters of a query, one by one
    request: Request,
    response: Response,
    runtime: RuntimeDep,
    session: SessionDep,
    caller: LogReader,
    days: Annotated[int, Query(ge=1, le=366)] = DAYS_SHOWN,
    limit: Annotated[int, Query(ge=1, le=LISTED_MAX)] = LISTED_MAX,
    offset: Offset = 0,
) -> list[dict[str, Any]]:
    """Return who read which counts in the last `days`: a hospital or who has a place sees the readings of it, others all.

    Where there are more lines than `limit`, the header `Link` leads to the next ones (RFC 8288).
    """
    found = readings_seen(runtime, session, caller, days, offset=offset, limit=limit + 1)
    if len(found) > limit:
        following = request.url.include_query_params(limit=limit, offset=offset + limit)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return [asdict(entry) for entry in found[:limit]]


def readings_seen(
    runtime: Runtime, session: Session, caller: Caller, days: int, *, offset: int = 0, limit: int = LISTED_MAX
) -> list[Entry]:
    """Return the lines of the log that a caller sees, `limit` of them from `offset` on."""
    about = caller.region
    if caller.site is not None:
        about = read_tree(session).place_of(session.get_one(SiteRow, caller.site).region)
    since = runtime.clock().date() - timedelta(days=days - 1)
    return readings(session, since=since, about=about, offset=offset, limit=limit)
