"""What the centre told us: each notice is on the disk before the centre hears that we have it, and stays until its receiver took it."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from client.store.database import add_column, transaction
from protocol.codes import Code

SCHEMA = """
CREATE TABLE IF NOT EXISTS inbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    envelope_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    received_s INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_s INTEGER NOT NULL DEFAULT 0,
    outcome TEXT,
    code TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS inbox_by_outcome ON inbox (outcome, seq);
"""
"""`outcome` is null until a receiver has answered; then it is `done` or the code of its refusal. `code` is why the last try came to nothing."""

DONE = "done"

LONGEST_WAIT_SECONDS = 300
"""No notice is put off for longer."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A notice that waits for its receiver."""

    envelope_id: str
    kind: str
    body: bytes
    attempts: int
    due: bool


@dataclass(frozen=True, slots=True)
class Stuck:
    """A notice that its receiver could not take yet, however often it was offered."""

    kind: str
    attempts: int
    received: datetime
    code: str | None
    """Why the last try failed; nothing where it was made before codes were kept."""


class Inbox:
    """The inbox in one node's database. One object per connection."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], datetime]) -> None:
        self._connection = connection
        self._clock = clock
        add_column(connection, "inbox", "code")

    def store(self, envelope_id: str, kind: str, body: bytes) -> bool:
        """Keep a notice durably.

        Returns:
            False if it was here already.

        Raises:
            UnavailableError: `disk-full`; the centre must not be told then that we have it.
        """
        with transaction(self._connection):
            fresh = self._connection.execute(
                "INSERT OR IGNORE INTO inbox (envelope_id, kind, body, received_s) VALUES (?, ?, ?, ?)",
                (envelope_id, kind, body, self._now_s()),
            )
        return fresh.rowcount == 1

    def pending(self) -> list[Arrived]:
        """Return the notices that no receiver has answered, oldest first.

        One that seems to wait for longer than any does was put off by a clock that has been set back since, and is due.
        """
        now_s = self._now_s()
        rows = self._connection.execute("SELECT * FROM inbox WHERE outcome IS NULL ORDER BY seq")
        return [
            Arrived(
                row["envelope_id"],
                row["kind"],
                row["body"],
                row["attempts"],
                not 0 < row["due_s"] - now_s <= LONGEST_WAIT_SECONDS,
            )
            for row in rows
        ]

    def stuck(self, *, most: int = 50) -> list[Stuck]:
        """Return what was offered in vain and is offered again, oldest first."""
        rows = self._connection.execute(
            "SELECT kind, attempts, received_s, code FROM inbox WHERE outcome IS NULL AND attempts > 0 ORDER BY seq LIMIT ?",
            (most,),
        )
        return [
            Stuck(row["kind"], row["attempts"], datetime.fromtimestamp(row["received_s"], UTC), row["code"])
            for row in rows
        ]

    def settle(self, envelope_id: str, outcome: str) -> None:
        """Note how the receiver answered: `done` or a code."""
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE inbox SET outcome = ?, attempts = attempts + 1 WHERE envelope_id = ?", (outcome, envelope_id)
            )

    def postpone(self, envelope_id: str, wait: timedelta, *, code: Code) -> None:
        """Note a failed attempt and why; the notice is due again after `wait`."""
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE inbox SET attempts = attempts + 1, due_s = ?, code = ? WHERE envelope_id = ?",
                (self._now_s() + int(wait.total_seconds()), code.value, envelope_id),
            )

    def _now_s(self) -> int:
        return int(self._clock().timestamp())
