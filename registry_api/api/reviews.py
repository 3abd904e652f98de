"""Routes of peer review and of figures: a score, turnaround, agreement; each caller's own, the coordinator's of everybody."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from protocol.shape import OpaqueId
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.api.reach import sites_of
from registry_api.api.reads import ReaderCaller, fence_of
from registry_api.people.roles import Role
from registry_api.reading.leads import GroupFigures, group_figures
from registry_api.reading.reviews import review
from registry_api.reading.tally import Scope, Statistics, statistics
from registry_api.runtime import Runtime

router = APIRouter(prefix="/v1")

DAYS = 90
"""The span of figures, if nobody asks for another."""


class ReviewCreate(BaseModel):
    """A score as RADPEER gives it: 1 agrees, 4 should almost never be missed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    claim_id: OpaqueId
    score: Annotated[int, Field(ge=1, le=4)]


@router.post("/peer-reviews", status_code=201)
def create_review(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    content: ReviewCreate,
    if_match: Annotated[str, Header()],
) -> dict[str, int]:
    """Score the result that the caller reviews under this claim."""
    row = review(
        session,
        content.claim_id,
        caller.person_id,
        fence=fence_of(if_match),
        score=content.score,
        now=runtime.clock(),
    )
    return {"score": row.score}


@router.get("/reads/statistics")
def read_statistics(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Annotated[Caller, require(Role.READER, Role.HOSPITAL, Role.COORDINATOR)],
    days: Annotated[int, Query(ge=1, le=366)] = DAYS,
) -> dict[str, Any]:
    """Return turnaround, agreement and review scores of the last days: a reader's or a hospital's own, those of a coordinator's place, or everybody's."""
    return asdict(caller_statistics(runtime, session, caller, days))


@router.get("/reads/statistics/group")
def read_group_statistics(
    runtime: RuntimeDep, session: SessionDep, caller: ReaderCaller, days: Annotated[int, Query(ge=1, le=366)] = DAYS
) -> dict[str, Any]:
    """Return load, turnaround and agreement of the group that the caller leads, by its readers."""
    return asdict(led_statistics(runtime, session, caller, days))


def led_statistics(runtime: Runtime, session: SessionDep, caller: Caller, days: int) -> GroupFigures:
    """Return the figures of the group that this reader leads."""
    until = runtime.clock()
    return group_figures(session, caller.person_id, since=until - timedelta(days=days), until=until)


def caller_statistics(runtime: Runtime, session: SessionDep, caller: Caller, days: int) -> Statistics:
    """Return the figures that this caller may see."""
    until = runtime.clock()
    scope = Scope(
        reader_id=caller.person_id if caller.role is Role.READER else None,
        site=str(caller.site) if caller.role is Role.HOSPITAL else None,
        sites=sites_of(session, caller) if caller.role is Role.COORDINATOR else None,
    )
    return statistics(session, scope, since=until - timedelta(days=days), until=until)
