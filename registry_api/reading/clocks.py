"""The clock of one slot: from opening to due, standing still while the hospital is asked. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from protocol.reading import Priority
from registry_api.reading.lifecycle import TIMERS


@dataclass(frozen=True, slots=True)
class SlaClock:
    """When a slot was opened, when its signature is due, and how long the clock stood still.

    `due_at` contains `paused`, the pauses that are over; the one since `paused_at` is not in it yet. All pauses together
    stop the clock for `pause_max` at most; whatever the hospital takes beyond that runs.
    """

    opened_at: datetime
    due_at: datetime
    pause_max: timedelta
    paused: timedelta = timedelta()
    paused_at: datetime | None = None

    @property
    def allowed(self) -> timedelta:
        """The time that there is to read, pauses apart."""
        return self.due_at - self.opened_at - self.paused

    def paused_by(self, now: datetime) -> timedelta:
        """Return how long the clock has stood still by `now`."""
        running = now - self.paused_at if self.paused_at is not None else timedelta()
        return min(self.paused + max(running, timedelta()), max(self.paused, self.pause_max))

    def due_by(self, now: datetime) -> datetime:
        """Return when the signature is due if the clock goes on at `now`."""
        return self.due_at - self.paused + self.paused_by(now)

    def spent(self, now: datetime) -> float:
        """Return the share of the time that is gone: 0 at the opening, 1 when the signature is due."""
        return (now - self.opened_at - self.paused_by(now)) / self.allowed

    def moment(self, share: float) -> datetime:
        """Return when `share` of the time will be gone, if a pause that runs is used up to its end."""
        running = self.opened_at + self.paused + share * self.allowed
        if self.paused_at is None or running <= self.paused_at:
            return running
        return running + max(self.pause_max - self.paused, timedelta())


def pause_max(priority: Priority) -> timedelta:
    """Return for how long in all the hospital's answers may stop the clock: as long as it may take over one of them."""
    return TIMERS[priority].answer_within
