"""What may leave and has not been answered yet. A parcel stays until the centre's verdict; what it refuses is parked with its code."""

import hashlib
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from client.store.database import transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    envelope_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'accepted', 'parked')) DEFAULT 'waiting',
    code TEXT,
    queued_s INTEGER NOT NULL,
    settled_s INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_by_state ON outbox (state, seq);
"""


@dataclass(frozen=True, slots=True)
class Queued:
    """A parcel in its envelope. The id is the same on every try, so the centre takes it once."""

    envelope_id: str
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Parked:
    """A parcel that the centre refused for good."""

    envelope_id: str
    kind: str
    code: str
    settled_s: int


class Outbox:
    """The outbox in one node's database. One object per connection."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], datetime]) -> None:
        self._connection = connection
        self._clock = clock

    def put(self, kind: str, body: bytes) -> bool:
        """Queue a parcel inside the caller's transaction.

        Returns:
            False if this very parcel was queued before: nothing changes.
        """
        fresh = self._connection.execute(
            "INSERT OR IGNORE INTO outbox (envelope_id, kind, body, queued_s) VALUES (?, ?, ?, ?)",
            (envelope_id(body), kind, body, self._now_s()),
        )
        return fresh.rowcount == 1

    def waiting(self, *, limit: int = 32, but: Collection[str] = ()) -> list[Queued]:
        """Return the oldest unanswered parcels, in the order in which they were queued, without those in `but`."""
        rows = self._connection.execute(
            "SELECT envelope_id, kind, body FROM outbox WHERE state = 'waiting' ORDER BY seq LIMIT ?",
            (limit + len(but),),
        )
        found = [Queued(row["envelope_id"], row["kind"], row["body"]) for row in rows]
        return [queued for queued in found if queued.envelope_id not in but][:limit]

    def settle(self, envelope: str, *, accepted: bool, code: str) -> bool:
        """Note the centre's verdict; the first one counts.

        Returns:
            False if no such parcel was waiting.
        """
        with transaction(self._connection):
            changed = self._connection.execute(
                "UPDATE outbox SET state = ?, code = ?, settled_s = ? WHERE envelope_id = ? AND state = 'waiting'",
                ("accepted" if accepted else "parked", None if accepted else code, self._now_s(), envelope),
            )
        return changed.rowcount == 1

    def counts(self) -> dict[str, int]:
        """Return how many parcels are waiting, accepted and parked."""
        rows = self._connection.execute("SELECT state, COUNT(*) AS n FROM outbox GROUP BY state")
        found = {row["state"]: int(row["n"]) for row in rows}
        return {state: found.get(state, 0) for state in ("waiting", "accepted", "parked")}

    def parked(self) -> list[Parked]:
        """Return what the centre refused, the newest first."""
        rows = self._connection.execute(
            "SELECT envelope_id, kind, code, settled_s FROM outbox WHERE state = 'parked' ORDER BY seq DESC"
        )
        return [Parked(row["envelope_id"], row["kind"], row["code"], row["settled_s"]) for row in rows]

    def _now_s(self) -> int:
        return int(self._clock().timestamp())


def envelope_id(body: bytes) -> str:
    """Return the envelope's id: 128 bits of the body's SHA-256, so that the same parcel is queued and counted once."""
    return hashlib.sha256(body).hexdigest()[:32]
