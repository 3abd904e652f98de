"""Bells between processes of one machine: who has something for another rings, and who waits for it need not ask.

A bell is a small file that grows with each ring. Whoever waits looks at its size, which costs next to nothing, where a question to one of
Flower's servers costs both sides some milliseconds. A bell that is never heard costs time only: everybody who waits for one also asks from
time to time without it.
"""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

TICK_SECONDS = 0.02
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

    def is_silent(self) -> bool:
        """Say whether it has not rung since the last time that this was asked."""
        before, self._seen = self._seen, self.count()
        return before == self._seen

    def rest(self, seconds: float) -> None:
        """Wait until the bell rings, or did since the last time, and no longer than `seconds`."""
        deadline = time.monotonic() + seconds
        while self.count() == self._seen and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
        self._seen = self.count()
