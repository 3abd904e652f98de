"""The reader's page of their own settings: there or away, shifts, conflicts of interest, and what is on file of them."""

from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, Field
from sqlmodel import Session, col, select

from protocol.shape import SiteId
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.enrolment.tables import SiteRow
from registry_api.pages.render import page
from registry_api.people.roles import Role
from registry_api.reading import availability
from registry_api.reading.credentials import credentials_of
from registry_api.reading.matching import capacity_at
from registry_api.reading.readers import profile
from registry_api.reading.shifts import Declaration, Presence, Shift, zone_of

router = APIRouter(prefix="/availability")

ReaderCaller = Annotated[Caller, require(Role.READER)]

PRESENCE: dict[Presence, str] = {
    Presence.ON_SHIFT: "You are on a shift and are offered reads.",
    Presence.AVAILABLE: "You said that you are available and are offered reads.",
    Presence.ANY_TIME: "No shift is on file: you may claim at any time, and nothing is assigned to you.",
    Presence.OFF_SHIFT: "You are on no shift now and are offered nothing.",
    Presence.AWAY: "You said that you are away and are offered nothing.",
}
"""What a reader reads of where they stand."""

DAYS = {
    "MO": "Monday",
    "TU": "Tuesday",
    "WE": "Wednesday",
    "TH": "Thursday",
    "FR": "Friday",
    "SA": "Saturday",
    "SU": "Sunday",
}
"""RFC 5545's short words."""


class WeeklyShift(BaseModel):
    """The form of a shift: on the days that are ticked, by the clock on the wall."""

    time_zone: Annotated[str, Field(max_length=64)]
    begins: time
    ends: time
    day: Annotated[list[Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"]], Field(min_length=1)]
    every: Annotated[int, Field(ge=1, le=53)] = 1
    capacity: Annotated[str, Field(pattern=r"^\d{0,2}$")] = ""


@router.get("", response_class=HTMLResponse)
def read_page(runtime: RuntimeDep, session: SessionDep, caller: ReaderCaller) -> HTMLResponse:
    """Show the reader's own settings."""
    now = runtime.clock()
    found = availability.availability(session, caller.person_id, now=now)
    reader = profile(session, caller.person_id)
    return page(
        "availability.html",
        caller=caller,
        now=now,
        found=found,
        zone=ZoneInfo(found.time_zone),
        presence=PRESENCE[found.presence],
        days=DAYS,
        reader=reader,
        capacity=capacity_at(reader, now),
        credentials=credentials_of(session, caller.person_id),
        sites=_sites(session),
    )


@router.post("/declare")
def declare(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    says: Annotated[Literal["available", "away", "nothing"], Form()],
    hours: Annotated[int, Form(ge=1, le=24 * 366)] = 8,
) -> RedirectResponse:
    """Say that the reader is there, or away, for some hours, or take that back."""
    now = runtime.clock()
    declared = None if says == "nothing" else Declaration(says == "available", now + timedelta(hours=hours))
    availability.declare(session, caller.person_id, declared, now=now)
    return _back()


@router.post("/shifts")
def add_shift(
    runtime: RuntimeDep, session: SessionDep, caller: ReaderCaller, wish: Annotated[WeeklyShift, Form()]
) -> RedirectResponse:
    """Add a weekly shift from this week on; an end before the beginning is on the next day."""
    zone = zone_of(wish.time_zone)
    monday = _monday(runtime.clock().astimezone(zone))
    start = datetime.combine(monday, wish.begins, tzinfo=zone)
    end = datetime.combine(monday + timedelta(days=int(wish.ends <= wish.begins)), wish.ends, tzinfo=zone)
    rule = f"FREQ=WEEKLY;INTERVAL={wish.every};BYDAY={','.join(one for one in DAYS if one in wish.day)}"
    room = int(wish.capacity) if wish.capacity and int(wish.capacity) > 0 else None
    shift = Shift(start.astimezone(UTC), end.astimezone(UTC), zone.key, rule, None, room)
    availability.add_shift(session, caller.person_id, shift)
    return _back()


@router.post("/shifts/remove")
def remove_shift(session: SessionDep, caller: ReaderCaller, shift_id: Annotated[int, Form(ge=1)]) -> RedirectResponse:
    """Remove a shift."""
    availability.remove_shift(session, caller.person_id, shift_id)
    return _back()


@router.post("/conflicts")
def set_conflict(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    site: Annotated[SiteId, Form()],
    holds: Annotated[bool, Form()],
) -> RedirectResponse:
    """Declare a conflict of interest with a hospital, or take it back."""
    availability.set_conflict(session, caller.person_id, site=site, holds=holds, now=runtime.clock())
    return _back()


def _back() -> RedirectResponse:
    return RedirectResponse("/availability", status_code=303)


def _monday(moment: datetime) -> datetime:
    return moment - timedelta(days=moment.weekday())


def _sites(session: Session) -> list[SiteId]:
    """Return the hospitals of the network by name."""
    return list(session.exec(select(SiteRow.site).order_by(col(SiteRow.site))))
