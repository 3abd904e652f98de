"""The pages of figures: a reader's own, a hospital's, the coordinator's of everybody, and a group's for who leads it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.api.reviews import DAYS, caller_statistics, led_statistics
from registry_api.pages.render import page
from registry_api.people.roles import Role
from registry_api.reading.comparison import Difference
from registry_api.reading.leads import led_group

router = APIRouter(prefix="/statistics")

Days = Annotated[int, Query(ge=1, le=366)]

SPANS = {7: "a week", 30: "30 days", DAYS: "90 days", 366: "a year"}
"""Spans that the page offers, in days."""

SCORES = {1: "agrees", 2: "an understandable miss", 3: "should be seen most of the time", 4: "almost always"}
"""RADPEER's scores, as short as a table takes them."""

APART: dict[Difference, str] = {
    Difference.RSNA_CLASS: "RSNA class",
    Difference.CORADS: "CO-RADS",
    Difference.SEVERITY_SCORE: "zone score",
    Difference.CRITICAL: "critical or not",
}
"""In what two reads differ, in words."""


def minutes(value: float | None) -> str:
    """Return a span as a person says it.

    >>> minutes(None), minutes(7.4), minutes(95), minutes(60 * 30)
    ('–', '7 min', '1 h 35 min', '30 h')
    """
    if value is None:
        return "–"
    hours, rest = divmod(round(value), 60)
    if hours == 0:
        return f"{rest} min"
    return f"{hours} h {rest} min" if rest and hours < 24 else f"{hours} h"  # noqa: PLR2004 - a day


@router.get("", response_class=HTMLResponse)
def read_page(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Annotated[Caller, require(Role.READER, Role.HOSPITAL, Role.COORDINATOR)],
    days: Days = DAYS,
) -> HTMLResponse:
    """Show the figures that the caller may know."""
    found = caller_statistics(runtime, session, caller, days)
    leads = led_group(session, caller.person_id) if caller.role is Role.READER else None
    return page("statistics.html", caller=caller, found=found, leads=leads, **_words(days))


@router.get("/group", response_class=HTMLResponse)
def read_group_page(
    runtime: RuntimeDep, session: SessionDep, caller: Annotated[Caller, require(Role.READER)], days: Days = DAYS
) -> HTMLResponse:
    """Show the group to who leads it."""
    return page("group.html", caller=caller, found=led_statistics(runtime, session, caller, days), **_words(days))


def _words(days: int) -> dict[str, Any]:
    return {"days": days, "spans": SPANS, "minutes": minutes, "scores": SCORES, "apart": APART}
