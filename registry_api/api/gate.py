"""How many requests are at the database at once. They wait for their turn without a thread, so that whoever is inside can finish."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SESSIONS_MAX = 12
"""Of one process; the pool has fifteen connections, on either database, and the link and the courier want some of them."""


class Gate:
    """Lets requests in by the order in which they came: as many as there are connections, and on SQLite one that writes.

    A request that waited inside a thread, for a connection or for SQLite's write lock, would keep that thread. With as many of them
    as there are threads, the one that holds the lock gets no thread to go on with, and all stand still until they time out.
    """

    def __init__(self, *, single_writer: bool) -> None:
        self._sessions = asyncio.Semaphore(SESSIONS_MAX)
        self._writers = asyncio.Semaphore(1 if single_writer else SESSIONS_MAX)

    @asynccontextmanager
    async def turn(self, *, writes: bool) -> AsyncIterator[None]:
        """Wait for the turn and keep it during the body."""
        if not writes:
            async with self._sessions:
                yield
            return
        async with self._writers, self._sessions:
            yield
