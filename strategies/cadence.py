"""How often to look for what comes by itself: often at first, then ever less, so that looking costs little and waiting adds little."""

import time
from collections.abc import Callable

SHARE = 0.1
"""A look comes at the latest after a tenth of the time that has been waited already: nothing is noticed later than that."""


class Cadence:
    """The pause before each look, in seconds: `SHARE` of what was waited so far, no shorter than `shortest`, no longer than `longest`."""

    def __init__(self, shortest: float, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to wait.

        Args:
            shortest: Of the first pauses.
            longest: Of the last ones.
            clock: Seconds that never run backwards.
        """
        self._shortest = shortest
        self._longest = longest
        self._clock = clock
        self._since = clock()

    def restart(self) -> None:
        """Begin to wait anew: something came, and more may follow soon."""
        self._since = self._clock()

    def pause(self) -> float:
        """Return how long to wait before the next look."""
        return min(self._longest, max(self._shortest, SHARE * (self._clock() - self._since)))
