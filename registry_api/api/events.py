"""Route by which programs follow reads: server-sent events from a cursor on. Beside it the messenger of webhooks runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Query
from fastapi.responses import StreamingResponse

from protocol.codes import Code
from protocol.errors import UnavailableError
from registry_api.api.access import Caller, RuntimeDep, require
from registry_api.people.roles import Role
from registry_api.people.tables import PersonRow
from registry_api.reading.events import ReadEvent, Viewer, events_after
from registry_api.reading.messenger import Messenger, open_client, post
from registry_api.runtime import Runtime

POLL_SECONDS = 1.0
QUIET_SECONDS = 15.0
"""A comment is sent after so long without an event, so that no proxy takes the line for dead."""

FOLLOWERS_MAX = 4
"""Streams of one person in one process."""

STREAM_SECONDS = 600.0
"""So long one answer goes on; the client comes again with the number of the last event that it saw."""


@asynccontextmanager
async def _carrying(app: FastAPI) -> AsyncIterator[None]:
    """Carry webhooks for as long as the registry serves."""
    runtime: Runtime = app.state.runtime
    async with AsyncExitStack() as stack:
        authority = runtime.settings.reading.webhook_authority
        client = await open_client(stack, runtime.settings.within(authority) if authority is not None else None)
        carrying = asyncio.create_task(Messenger(runtime, partial(post, client)).run())
        yield
        carrying.cancel()


router = APIRouter(prefix="/v1", lifespan=_carrying)

_LAST_EVENT = 2**31 - 1
"""No database numbers an event higher: PostgreSQL keeps the number in 32 bits."""

Follower = Annotated[Caller, require(Role.READER, Role.HOSPITAL, Role.COORDINATOR)]


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


@router.get("/events", response_class=EventStream)
async def follow_events(
    runtime: RuntimeDep,
    caller: Follower,
    cursor: Annotated[int, Query(ge=0, le=_LAST_EVENT)] = 0,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=_LAST_EVENT)] = None,
    follow: Annotated[bool, Query(description="Stay and wait for more.")] = True,
) -> StreamingResponse:
    """Send the events of reads that the caller may see, from after the cursor on, each with its number as its id."""
    if runtime.followers[caller.person_id] >= FOLLOWERS_MAX:
        raise UnavailableError(Code.RATE_LIMITED, "You follow the events in too many places. Close one and try again.")
    viewer = Viewer(caller.person_id, caller.role, caller.site, caller.region)
    start = cursor if last_event_id is None else last_event_id
    frames = _counted(runtime, viewer, start, follow=follow)
    return EventStream(frames, headers={"Cache-Control": "no-store"})


async def _counted(runtime: Runtime, viewer: Viewer, cursor: int, *, follow: bool) -> AsyncIterator[str]:
    """Yield the frames, and know while it lasts that somebody follows."""
    runtime.followers[viewer.person_id] += 1
    try:
        async for frame in frames_of(runtime, viewer, cursor, follow=follow):
            yield frame
    finally:
        runtime.followers[viewer.person_id] -= 1


async def frames_of(runtime: Runtime, viewer: Viewer, cursor: int, *, follow: bool) -> AsyncIterator[str]:
    """Yield events as they come; the caller's right is looked at anew each time."""
    began = spoke = time.monotonic()
    while True:
        looked = await asyncio.to_thread(_look, runtime, viewer, cursor)
        if looked is None:
            return
        found, after = looked
        more, cursor = after != cursor, after
        for event in found:
            yield _frame(event)
        now = time.monotonic()
        if not more and (not follow or now - began > STREAM_SECONDS):
            return
        if found:
            spoke = now
        elif now - spoke > QUIET_SECONDS:
            spoke = now
            yield ": still here\n\n"
        if not more:
            await asyncio.sleep(POLL_SECONDS)


def _look(runtime: Runtime, viewer: Viewer, cursor: int) -> tuple[list[ReadEvent], int] | None:
    """Return the next events and the cursor after them; None if the caller may no longer ask."""
    with runtime.database.reading() as session:
        person = session.get(PersonRow, viewer.person_id)
        if person is None or person.disabled_at is not None or not viewer.is_still(person):
            return None
        return events_after(session, viewer, cursor, now=runtime.clock())


def _frame(event: ReadEvent) -> str:
    return f"id: {event.id}\nevent: read.{event.event}\ndata: {event.model_dump_json(exclude_none=True)}\n\n"
