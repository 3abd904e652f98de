"""What a SuperLink remembers, written less often."""

import time
from typing import Any

from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState

TIDY_SECONDS = 1.0
"""How often tasks whose heartbeat has lapsed are looked for; Flower gives a task a minute and more between two heartbeats."""


class LinkState(SqlLinkState):
    """Flower's own state in SQLite, without two writes that every request makes.

    Both take the database's one lock for writing: with three sites, requests wait for it longer than for all else.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._tidied = -TIDY_SECONDS

    def _cleanup_expired_task_tokens(self) -> None:
        """Look for tasks that have died, at most once in `TIDY_SECONDS`; Flower looks whenever it is asked how a run is."""
        now = time.monotonic()
        if now - self._tidied >= TIDY_SECONDS:
            self._tidied = now
            super()._cleanup_expired_task_tokens()

    def store_traffic(self, run_id: int, *, bytes_sent: int, bytes_recv: int) -> None:
        """Count no bytes: Flower adds them up for its own price list and its own interface, neither of which there is here."""
