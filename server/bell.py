"""Bells between the centre's processes: the ServerApp rings when it has orders, the fleet gateway when a reply has come.

A bell is a small file beside the runs that grows with each ring. Whoever waits looks at its size, which costs next to nothing, where a
question to the SuperLink costs it ten milliseconds and more. A bell that is never heard costs time only: everybody who waits for one also
asks from time to time without it.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

ORDERS, REPLIES = ".orders.bell", ".replies.bell"
"""Names of the two bells in the folder of runs."""

TICK_SECONDS = 0.02
_REST_SECONDS = 0.05
"""The least between two looks of the ServerApp: a reply comes in some pieces, each with a ring of its own."""

_SIZE_MAX = 1024 * 1024


@dataclass(slots=True)
class Bell:
    """One bell, as one process rings or hears it."""

    path: Path
    _seen: int = field(init=False)

    def __post_init__(self) -> None:
        self._seen = self.count()

    def ring(self) -> None:
        """Let everybody hear who waits. What cannot be written is not heard, and found a little later."""
        try:
            with self.path.open("ab") as file:
                file.write(b".")
                if file.tell() > _SIZE_MAX:
                    file.truncate(0)  # another size than before, as after every ring
        except OSError as error:
            log.warning("bell.mute", extra={"why": error.strerror})

    def count(self) -> int:
        """Return a number that is another after each ring."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def rest(self, seconds: float) -> None:
        """Wait until the bell rings, or did since the last time, and no longer than `seconds`."""
        deadline = time.monotonic() + seconds
        time.sleep(min(_REST_SECONDS, seconds))
        while self.count() == self._seen and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
        self._seen = self.count()


class Watch:
    """Hears one bell for any number of tasks of an event loop."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._rung = asyncio.Event()
        self._waiting = 0
        self._closed = False

    async def run(self) -> None:
        """Look at the bell as long as somebody waits, until cancelled."""
        count = self._bell.count()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self._waiting and (now := self._bell.count()) != count:
                count = now
                self._wake()

    def mark(self) -> int:
        """Return what `next` is to be told: take it before the question to which a ring would be the answer."""
        return self._bell.count()

    async def next(self, mark: int, seconds: float) -> bool:
        """Wait until the bell has rung since `mark`; return whether it did within `seconds`, and before the watch was closed."""
        rung = self._rung
        if self._closed:
            return False
        if self._bell.count() != mark:
            return True
        self._waiting += 1
        try:
            await asyncio.wait_for(rung.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return not self._closed

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()
