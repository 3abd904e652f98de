"""How the renewal of the certificate goes: the last try and what became of it. Other processes of the node read it from the database."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from client.store.database import transaction
from protocol.codes import Code

SCHEMA = """
CREATE TABLE IF NOT EXISTS renewal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    tried_s INTEGER NOT NULL,
    code TEXT
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class LastTry:
    """When a renewal was last tried, and why it failed; no code if it did not."""

    tried: datetime
    code: Code | None


class RenewalBook:
    """The last try of one node, in its database. One object per connection."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], datetime]) -> None:
        self._connection = connection
        self._clock = clock

    def note(self, code: Code | None) -> None:
        """Write down what became of a try, in the place of the one before."""
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO renewal VALUES (1, ?, ?) ON CONFLICT (one) DO UPDATE SET"
                " tried_s = excluded.tried_s, code = excluded.code",
                (int(self._clock().timestamp()), code),
            )

    def last(self) -> LastTry | None:
        """Return the last try; `None` if there was none yet."""
        row = self._connection.execute("SELECT tried_s, code FROM renewal").fetchone()
        if row is None:
            return None
        return LastTry(datetime.fromtimestamp(row["tried_s"], UTC), None if row["code"] is None else Code(row["code"]))
