"""How long to wait before the next try: doubling, with jitter, up to a ceiling. Pure; randomness comes in as a number."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds. Jitter keeps a hundred nodes from knocking at the same moment after an outage."""

    first: float = 0.5
    ceiling: float = 30.0

    def delay(self, failures: int, chance: float) -> float:
        """Return the delay after so many failures in a row.

        Args:
            failures: 1 or more.
            chance: Uniform in [0, 1); the delay lies between half and all of the doubled step.
        """
        step = min(self.ceiling, self.first * 2.0 ** min(failures - 1, 30))
        return step * (0.5 + chance / 2)
