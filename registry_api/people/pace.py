"""How fast one caller may ask: a bucket of requests per person, refilled as time passes. In memory, so each process counts by itself."""

from datetime import datetime
from threading import Lock

_CALLERS_MAX = 10_000


class Pace:
    """So many requests a minute on average, and as many at once after a pause."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: dict[str, tuple[float, datetime]] = {}
        self._lock = Lock()

    def take(self, caller: str, *, now: datetime) -> bool:
        """Count a request of `caller`; say whether it may go on."""
        with self._lock:
            left, since = self._buckets.pop(caller, (float(self._per_minute), now))
            passed = max((now - since).total_seconds(), 0.0)
            left = min(float(self._per_minute), left + passed * self._per_minute / 60)
            if len(self._buckets) >= _CALLERS_MAX:
                del self._buckets[next(iter(self._buckets))]
            may = left >= 1
            self._buckets[caller] = (left - 1 if may else left), now
            return may
