"""Releases as they are read: from their bytes, parsed once, since they never change."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Self

from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.releases.document import Document, read
from registry_api.releases.tables import CountReleaseRow

_KEPT = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """A release without its bytes."""

    number: int
    sha256: str
    signature: str
    built_at: datetime

    @classmethod
    def of(cls, row: CountReleaseRow) -> Self:
        """Return the entry of a release."""
        return cls(row.number, row.sha256, row.signature, row.built_at)


class Archive:
    """Finds releases and keeps the last few parsed."""

    def __init__(self) -> None:
        self._parsed: dict[int, Document] = {}
        self._parsing = Lock()

    def entries(self, session: Session) -> list[Entry]:
        """Return all releases, newest first; their bytes stay in the database."""
        columns = CountReleaseRow.number, CountReleaseRow.sha256, CountReleaseRow.signature, CountReleaseRow.built_at
        return [Entry(*found) for found in session.exec(select(*columns).order_by(col(CountReleaseRow.number).desc()))]

    def entry(self, session: Session, number: int | None = None) -> Entry:
        """Return a release without its bytes, the newest if no number is given.

        Raises:
            InvalidInputError: `not-found` if there is none.
        """
        columns = CountReleaseRow.number, CountReleaseRow.sha256, CountReleaseRow.signature, CountReleaseRow.built_at
        query = select(*columns).order_by(col(CountReleaseRow.number).desc()).limit(1)
        if number is not None:
            query = query.where(CountReleaseRow.number == number)
        found = session.exec(query).first()
        if found is None:
            raise InvalidInputError(Code.NOT_FOUND, "There is no such release of counts yet.")
        return Entry(*found)

    def row(self, session: Session, number: int | None = None) -> CountReleaseRow:
        """Return a release with its bytes, the newest if no number is given.

        Raises:
            InvalidInputError: `not-found` if there is none.
        """
        return session.get_one(CountReleaseRow, self.entry(session, number).number)

    def open(self, session: Session, entry: Entry) -> Document:
        """Return what a release says; its bytes are fetched only if they are not here in parsed form."""
        return self._document(entry.number, lambda: session.get_one(CountReleaseRow, entry.number).body)

    def document(self, row: CountReleaseRow) -> Document:
        """Return what a release says."""
        return self._document(row.number, lambda: row.body)

    def _document(self, number: int, body: Callable[[], bytes]) -> Document:
        """Parse for one caller while the others wait: a new release is asked for by many at once, and takes seconds each time."""
        parsed = self._parsed.get(number)
        if parsed is not None:
            return parsed
        with self._parsing:
            parsed = self._parsed.get(number)
            if parsed is None:
                parsed = read(body())
                while len(self._parsed) >= _KEPT:
                    del self._parsed[next(iter(self._parsed))]
                self._parsed[number] = parsed
            return parsed
