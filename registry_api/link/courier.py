"""Carries open notices to the streams of connected nodes, and cuts the streams of nodes that were shut out."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from protocol.link_pb2 import CentreFrame, Envelope
from registry_api.clock import Clock
from registry_api.database import Database
from registry_api.enrolment.sites import shut_out
from registry_api.link.outbox import open_notices
from registry_api.link.tables import NoticeRow
from registry_api.loops import keep_on

log = logging.getLogger(__name__)

TICK_SECONDS = 0.2
_RESEND_SECONDS = 30.0
_QUEUE_MAX = 1000


class Stream:
    """One node's open stream, as the centre writes to it."""

    def __init__(self, site: str, serial: str) -> None:
        self.site = site
        self.serial = serial
        self._frames: asyncio.Queue[CentreFrame | None] = asyncio.Queue(_QUEUE_MAX)
        self._ended = False
        self._sent_at: dict[str, float] = {}

    @property
    def ended(self) -> bool:
        """Whether it was cut: what the node sends on it counts no more."""
        return self._ended

    async def send(self, frame: CentreFrame) -> None:
        """Queue a frame; waits while the node does not read."""
        if not self._ended:
            await self._frames.put(frame)

    def carry(self, notice: NoticeRow) -> None:
        """Queue a notice, unless it was queued a moment ago or the node reads too slowly: then the next tick tries again."""
        now = time.monotonic()
        if self._ended or self._frames.full() or now - self._sent_at.get(notice.id, -_RESEND_SECONDS) < _RESEND_SECONDS:
            return
        self._sent_at[notice.id] = now
        self._frames.put_nowait(CentreFrame(notice=Envelope(id=notice.id, body=notice.body)))

    def received(self, notice_id: str) -> None:
        """Forget a notice that the node holds."""
        self._sent_at.pop(notice_id, None)

    def cut(self) -> None:
        """End the stream from this side."""
        if not self._ended:
            self._ended = True
            while self._frames.full():
                self._frames.get_nowait()
            self._frames.put_nowait(None)

    async def frames(self) -> AsyncIterator[CentreFrame]:
        """Yield what is to be sent until the stream is cut."""
        while (frame := await self._frames.get()) is not None:
            yield frame


class Courier:
    """Knows every connected node of this process. Other processes write notices too, so it looks into the outbox itself."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._streams: dict[str, Stream] = {}

    def join(self, site: str, serial: str) -> Stream:
        """Register a new stream. An older one of the same site is cut: it is the half-dead rest of a lost connection, or a copy."""
        stream = Stream(site, serial)
        older = self._streams.get(site)
        self._streams[site] = stream
        if older is not None:
            log.warning("link.replaced", extra={"site": site})
            older.cut()
        return stream

    def leave(self, stream: Stream) -> None:
        """Forget a stream that ended."""
        if self._streams.get(stream.site) is stream:
            del self._streams[stream.site]

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        await keep_on("courier", self.tick, every_seconds=TICK_SECONDS)

    async def tick(self) -> None:
        """Cut who may no longer connect, then hand each node its open notices."""
        if not self._streams:
            return
        streams = dict(self._streams)
        cut, notices = await asyncio.to_thread(self._look, list(streams.values()))
        for stream in cut:
            log.warning("link.cut", extra={"site": stream.site})
            stream.cut()
        for notice in notices:
            streams[notice.site].carry(notice)

    def _look(self, streams: list[Stream]) -> tuple[list[Stream], list[NoticeRow]]:
        now = self._clock()
        with self._database.reading() as session:
            out = shut_out(session, [(one.site, one.serial) for one in streams], now=now)
            staying = [one.site for one in streams if (one.site, one.serial) not in out]
            return [one for one in streams if (one.site, one.serial) in out], open_notices(session, staying)
