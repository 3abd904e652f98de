"""Slows guessing down: failed log-ins by name and altogether, in memory. A name counts whether or not there is an account of that name."""

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from protocol.codes import Code
from protocol.errors import UnavailableError

WINDOW = timedelta(minutes=15)
BY_NAME, ALTOGETHER = 5, 50
"""Most failures within the window. The second keeps a guesser from trying one password on every name."""


class Attempts:
    """Counts failures."""

    def __init__(self, clock: Callable[[], datetime], *, altogether: int = ALTOGETHER) -> None:
        self._clock = clock
        self._most = altogether
        self._failures: deque[tuple[datetime, str]] = deque()

    def refuse_many(self, name: str) -> None:
        """Refuse another try before it costs anything, even if it would be the right one.

        Raises:
            UnavailableError: `rate-limited`.
        """
        self._forget()
        if len(self._failures) >= self._most or sum(tried == name for _, tried in self._failures) >= BY_NAME:
            raise UnavailableError(
                Code.RATE_LIMITED, "Too many failed log-ins in a short time. Try again in a quarter of an hour."
            )

    def failed(self, name: str) -> None:
        """Count a failure."""
        self._failures.append((self._clock(), name))

    def forgive(self, name: str) -> None:
        """Forget a name's failures: its holder has shown that the slips were theirs."""
        self._failures = deque((at, tried) for at, tried in self._failures if tried != name)

    def _forget(self) -> None:
        now = self._clock()
        while self._failures and now - self._failures[0][0] >= WINDOW:
            self._failures.popleft()
