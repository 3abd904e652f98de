"""The quarantine as a person sorts it: found page by page, given another code, removed."""

import sqlite3
from pathlib import Path

from client.store.database import transaction
from client.store.files import disk_faults
from client.store.records import Quarantined
from client.store.search import SIZE, Page
from protocol.codes import Code
from protocol.errors import InvalidInputError


class Aside:
    """What was set aside at one node. One object per connection."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder

    def page(self, number: int = 1, *, code: str = "") -> Page[Quarantined]:
        """Return one page, the newest first; of one code if it is named."""
        where, values = ("code = ?", (code,)) if code else ("1", ())
        total = self._connection.execute(f"SELECT COUNT(*) FROM quarantine WHERE {where}", values).fetchone()[0]  # noqa: S608 - our own words
        rows = self._connection.execute(
            f"SELECT * FROM quarantine WHERE {where} ORDER BY received_at DESC, sha256 LIMIT ? OFFSET ?",  # noqa: S608 - our own words
            (*values, SIZE, (max(1, number) - 1) * SIZE),
        )
        return Page([self._quarantined(row) for row in rows], number, int(total))

    def counts(self) -> dict[str, int]:
        """Return how many instances were set aside, by code."""
        rows = self._connection.execute("SELECT code, COUNT(*) AS n FROM quarantine GROUP BY code ORDER BY code")
        return {row["code"]: int(row["n"]) for row in rows}

    def one(self, sha256: str) -> Quarantined:
        """Return one instance.

        Raises:
            InvalidInputError: `not-found`.
        """
        row = self._connection.execute("SELECT * FROM quarantine WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            raise InvalidInputError(
                Code.NOT_FOUND, "That instance is not in quarantine, or no longer. Go back to the list of quarantine."
            )
        return self._quarantined(row)

    def recode(self, sha256: str, code: Code) -> None:
        """Note why an instance cannot be used now."""
        with transaction(self._connection):
            self._connection.execute("UPDATE quarantine SET code = ? WHERE sha256 = ?", (code.value, sha256))

    def remove(self, sha256: str) -> None:
        """Remove an instance from quarantine with its bytes. The row goes first: killed in between, a file without a row is left.

        Raises:
            InvalidInputError: `not-found`.
            UnavailableError: `disk-full` if the file cannot be removed.
        """
        path = self.one(sha256).path
        with transaction(self._connection):
            self._connection.execute("DELETE FROM quarantine WHERE sha256 = ?", (sha256,))
        with disk_faults("The quarantine"):
            path.unlink(missing_ok=True)

    def _quarantined(self, row: sqlite3.Row) -> Quarantined:
        return Quarantined(
            sha256=row["sha256"], code=row["code"], path=self._folder / row["file"], bytes=row["bytes"],
            received_at=row["received_at"],
        )  # fmt: skip
