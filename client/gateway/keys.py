"""Reader keys that this hospital approved. The centre has no say in this list: that is what keeps it from letting itself in."""

import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from client.gateway.book import Clock
from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import Thumbprint

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class ApprovedKey:
    """A reader's key by its RFC 7638 thumbprint, under the name that the hospital's staff gave it."""

    jkt: Thumbprint
    name: str
    approved_at: datetime


class ReaderKeys:
    """The list of approved keys in the node's database."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def approve(self, jkt: Thumbprint, *, name: str) -> None:
        """Let the key's holder in wherever a grant of the centre names it. Approving again renames and renews.

        Raises:
            InvalidInputError: `bad-request` if it is no thumbprint, or the name is empty or too long.
        """
        if _THUMBPRINT.fullmatch(jkt) is None:
            raise InvalidInputError(
                Code.BAD_REQUEST,
                "A thumbprint is the 43 characters that the gateway's page /reader shows. Copy it whole.",
            )
        if not name.strip() or len(name) > _NAME_MAX:
            raise InvalidInputError(Code.BAD_REQUEST, f"Say whose key it is: --name with 1 to {_NAME_MAX} characters.")
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO reader_keys (jkt, name, approved_s) VALUES (?, ?, ?) ON CONFLICT (jkt)"
                " DO UPDATE SET name = excluded.name, approved_s = excluded.approved_s, revoked_s = NULL",
                (jkt, name.strip(), self._now_s()),
            )

    def revoke(self, jkt: Thumbprint) -> None:
        """Take the approval back; open sessions of the key end with their next request.

        Raises:
            InvalidInputError: `not-found` if the key was not approved.
        """
        with transaction(self._connection):
            changed = self._connection.execute(
                "UPDATE reader_keys SET revoked_s = ? WHERE jkt = ? AND revoked_s IS NULL", (self._now_s(), jkt)
            )
        if changed.rowcount == 0:
            raise InvalidInputError(Code.NOT_FOUND, "No approved key has this thumbprint.")

    def find(self, jkt: Thumbprint) -> ApprovedKey | None:
        """Return the key if it is approved now."""
        return next((key for key in self.all() if key.jkt == jkt), None)

    def all(self) -> list[ApprovedKey]:
        """Return every key that is approved now, the oldest first."""
        rows = self._connection.execute(
            "SELECT jkt, name, approved_s FROM reader_keys WHERE revoked_s IS NULL ORDER BY approved_s, jkt"
        )
        return [ApprovedKey(row["jkt"], row["name"], datetime.fromtimestamp(row["approved_s"], UTC)) for row in rows]

    def _now_s(self) -> int:
        return int(self._clock().timestamp())
