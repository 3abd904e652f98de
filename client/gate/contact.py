"""When the centre was last heard of, and whether the link stands. Other processes of the node read it from the database."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from client.store.database import transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS contact (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    heard_s INTEGER,
    connected INTEGER NOT NULL
) STRICT;
"""

_STEP_S = 5
"""A sign of life is written down at most this often."""


@dataclass(frozen=True, slots=True)
class Contact:
    """What is known of the link."""

    heard: datetime | None
    """When the centre was last heard; none if never, or if it has shut the node out since."""
    connected: bool


class ContactBook:
    """The link's state in one node's database. One object per connection."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], datetime]) -> None:
        self._connection = connection
        self._clock = clock
        self._noted_s = 0

    def heard(self) -> None:
        """Note a sign of life from the centre."""
        now_s = int(self._clock().timestamp())
        if abs(now_s - self._noted_s) >= _STEP_S:  # a clock that was set back, too
            self._note(connected=True, heard_s=now_s)
            self._noted_s = now_s

    def lost(self) -> None:
        """Note that the link is down; when the centre was last heard stays."""
        self._noted_s = 0
        self._note(connected=False, heard_s=None)

    def shut_out(self) -> None:
        """Note that the centre does not let this node in: whatever was heard of it before counts for nothing from now on."""
        self._noted_s = 0
        with transaction(self._connection):
            self._connection.execute("UPDATE contact SET heard_s = NULL, connected = 0")

    def read(self) -> Contact:
        """Return what is known."""
        row = self._connection.execute("SELECT heard_s, connected FROM contact").fetchone()
        if row is None:
            return Contact(heard=None, connected=False)
        heard = None if row["heard_s"] is None else datetime.fromtimestamp(row["heard_s"], UTC)
        return Contact(heard=heard, connected=bool(row["connected"]))

    def last_heard(self) -> datetime | None:
        """Return when the centre was last heard of; `None` if never, or if it has shut the node out since."""
        return self.read().heard

    def _note(self, *, connected: bool, heard_s: int | None) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO contact VALUES (1, ?, ?) ON CONFLICT (one) DO UPDATE SET"
                " heard_s = coalesce(excluded.heard_s, heard_s), connected = excluded.connected",
                (heard_s, int(connected)),
            )
