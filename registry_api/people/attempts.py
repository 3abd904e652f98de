"""Counts failed log-ins by caller's address, in memory, so that guessing is slow."""

from collections import defaultdict, deque
from datetime import datetime, timedelta
from threading import Lock

WINDOW = timedelta(minutes=15)
_ADDRESSES_MAX = 10_000


class Attempts:
    """Failures per key in the last quarter of an hour."""

    def __init__(self) -> None:
        self._failures: defaultdict[str, deque[datetime]] = defaultdict(deque)
        self._lock = Lock()

    def failed(self, key: str, *, now: datetime) -> None:
        """Note a failure under `key`."""
        with self._lock:
            if len(self._failures) >= _ADDRESSES_MAX:
                self._forget(now)
            self._failures[key].append(now)

    def count(self, key: str, *, now: datetime) -> int:
        """Return the failures under `key` within the window."""
        with self._lock:
            times = self._failures.get(key)
            while times and times[0] <= now - WINDOW:
                times.popleft()
            return len(times or ())

    def _forget(self, now: datetime) -> None:
        """Drop what is out of the window; if everything is within it, the oldest addresses."""
        for key in [key for key, times in self._failures.items() if not times or times[-1] <= now - WINDOW]:
            del self._failures[key]
        while len(self._failures) >= _ADDRESSES_MAX:
            del self._failures[next(iter(self._failures))]
