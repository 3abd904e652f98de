"""Which readers of the network this hospital lets read for it. The hospital says so, the centre only writes it down."""

import re
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from client.gateway.book import Book
from client.gateway.records import studies_from
from client.gateway.reports import WayOut, send
from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import ReaderPrivilege, StudyKind
from protocol.shape import OpaqueId

_READER_ID = re.compile(r"[0-9a-f]{32}")
_NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class Privilege:
    """What the hospital said last of one reader, under the name that its staff gave them."""

    reader_id: OpaqueId
    name: str
    granted: bool
    changed_at: datetime
    until: datetime | None = None
    """None: until it is withdrawn."""
    studies: tuple[StudyKind, ...] = tuple(StudyKind)


class Privileges:
    """The hospital's list in the node's database. Each word is written down first and sent after."""

    def __init__(self, book: Book, gate: WayOut) -> None:
        self._book = book
        self._gate = gate

    def grant(
        self,
        reader_id: OpaqueId,
        *,
        name: str,
        until: datetime | None = None,
        studies: Collection[StudyKind] = tuple(StudyKind),
    ) -> Privilege:
        """Let a reader read for this hospital. Granting again renames, sets the limits anew and tells the centre again.

        Args:
            reader_id: Whom.
            name: Under which name the staff know them.
            until: The privilege ends by itself then; None: when it is withdrawn.
            studies: What may be read.

        Raises:
            InvalidInputError: `bad-request` if it is no reader's id, the name is empty or too long, `until` is past, or no kind of
                study is named.
        """
        if _READER_ID.fullmatch(reader_id) is None:
            raise InvalidInputError(
                Code.BAD_REQUEST, "A reader's id is 32 characters, 0-9 and a-f. The reader sees it on the worklist."
            )
        if not name.strip() or len(name) > _NAME_MAX:
            raise InvalidInputError(Code.BAD_REQUEST, f"Say who it is: --name with 1 to {_NAME_MAX} characters.")
        if until is not None and int(until.timestamp()) <= self._book.now_s():
            raise InvalidInputError(Code.BAD_REQUEST, "A privilege must end in the future. Check --until.")
        if not studies:
            raise InvalidInputError(Code.BAD_REQUEST, f"Name a kind of study: {', '.join(StudyKind)}.")
        limits = _Limits(until, tuple(one for one in StudyKind if one in studies))
        return self._say(reader_id, name=name.strip(), granted=True, limits=limits)

    def grant_through(
        self, reader_id: OpaqueId, *, name: str, last_day: date | None, studies: Collection[StudyKind]
    ) -> Privilege:
        """Grant as `grant` does, to the end of a day (UTC); None: until it is withdrawn.

        Raises:
            InvalidInputError: As `grant`.
        """
        end = datetime.combine(last_day, time.min, UTC) + timedelta(days=1) if last_day is not None else None
        return self.grant(reader_id, name=name, until=end, studies=studies)

    def withdraw(self, reader_id: OpaqueId) -> Privilege:
        """Take the privilege back: what the reader holds of this hospital goes back to the queue.

        Raises:
            InvalidInputError: `not-found` if the reader has none.
        """
        held = self._find(reader_id)
        if held is None or not held.granted:
            raise InvalidInputError(
                Code.NOT_FOUND, "This reader has no privilege here. `read privileges` lists who has."
            )
        return self._say(reader_id, name=held.name, granted=False, limits=_Limits(held.until, held.studies))

    def all(self) -> list[Privilege]:
        """Return who may read for this hospital now, the longest standing first."""
        return [_privilege(row) for row in self._rows("WHERE granted ORDER BY changed_s, reader_id")]

    def catch_up(self) -> None:
        """Send what was written down but, because the node stopped, perhaps not sent."""
        for row in self._rows("WHERE sent_s IS NULL ORDER BY changed_s"):
            self._send(row)

    def _say(self, reader_id: OpaqueId, *, name: str, granted: bool, limits: "_Limits") -> Privilege:
        connection = self._book.connection
        with transaction(connection):
            connection.execute(
                "INSERT INTO reader_privileges (reader_id, name, granted, version, changed_s) VALUES (?, ?, ?, 1, ?)"
                " ON CONFLICT (reader_id) DO UPDATE SET name = excluded.name, granted = excluded.granted,"
                " version = version + 1, changed_s = excluded.changed_s, sent_s = NULL",
                (reader_id, name, granted, self._book.now_s()),
            )
            until_s = int(limits.until.timestamp()) if limits.until is not None else None
            connection.execute(
                "INSERT OR REPLACE INTO reader_privilege_limits VALUES (?, ?, ?)",
                (reader_id, until_s, ",".join(limits.studies)),
            )
        (row,) = self._rows("WHERE reader_id = ?", reader_id)
        self._send(row)
        return _privilege(row)

    def _send(self, row: sqlite3.Row) -> None:
        said = _privilege(row)
        until = said.until.strftime("%Y-%m-%dT%H:%M:%SZ") if said.until is not None else None
        word = ReaderPrivilege(
            reader_id=said.reader_id,
            granted=said.granted,
            version=row["version"],
            valid_until=until,
            studies=said.studies,
        )
        send(self._gate, word)
        with transaction(self._book.connection):
            self._book.connection.execute(
                "UPDATE reader_privileges SET sent_s = ? WHERE reader_id = ? AND version = ?",
                (self._book.now_s(), row["reader_id"], row["version"]),
            )

    def _find(self, reader_id: OpaqueId) -> Privilege | None:
        found = self._rows("WHERE reader_id = ?", reader_id)
        return _privilege(found[0]) if found else None

    def _rows(self, where: str, *values: str) -> list[sqlite3.Row]:
        return self._book.connection.execute(
            f"SELECT * FROM reader_privileges LEFT JOIN reader_privilege_limits USING (reader_id) {where}",  # noqa: S608 - a constant of this module
            values,
        ).fetchall()


@dataclass(frozen=True, slots=True)
class _Limits:
    """Until when a privilege runs, and what it is for."""

    until: datetime | None
    studies: tuple[StudyKind, ...]


def _privilege(row: sqlite3.Row) -> Privilege:
    return Privilege(
        reader_id=row["reader_id"],
        name=row["name"],
        granted=bool(row["granted"]),
        changed_at=datetime.fromtimestamp(row["changed_s"], UTC),
        until=datetime.fromtimestamp(row["until_s"], UTC) if row["until_s"] is not None else None,
        studies=tuple(one for one in StudyKind if one in studies_from(row["studies"])),
    )
