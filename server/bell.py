"""The bell between the ServerApp, which rings when it has orders, and the fleet gateway."""

import asyncio

from strategies.bell import TICK_SECONDS, Bell

ORDERS = ".orders.bell"
"""Its name in the folder of runs."""


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
