"""Route of record quality: a hospital's own, and no other's. There is no site in the address that could be changed."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.cases.quality import Quality, site_quality
from registry_api.people.roles import Role
from registry_api.releases.window import closed_weeks

router = APIRouter(prefix="/v1/registry")

Hospital = Annotated[Caller, require(Role.HOSPITAL)]
Weeks = Annotated[int, Query(ge=1, le=104)]
WEEKS_SHOWN = 12


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
