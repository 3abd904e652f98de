"""Releases as they are read: from their bytes, parsed once, since they never change."""

from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.releases.document import Document, read
from registry_api.releases.tables import CountReleaseRow

_KEPT = 4


class Archive:
    """Finds releases and keeps the last few parsed."""

    def __init__(self) -> None:
        self._parsed: dict[int, Document] = {}

    def numbers(self, session: Session) -> list[int]:
        """Return the numbers of all releases, oldest first."""
        return list(session.exec(select(CountReleaseRow.number).order_by(col(CountReleaseRow.number))))

    def row(self, session: Session, number: int | None = None) -> CountReleaseRow:
        """Return a release, the newest if no number is given.

        Raises:
            InvalidInputError: `not-found` if there is none.
        """
        query = select(CountReleaseRow).order_by(col(CountReleaseRow.number).desc()).limit(1)
        if number is not None:
            query = query.where(CountReleaseRow.number == number)
        found = session.exec(query).first()
        if found is None:
            raise InvalidInputError(Code.NOT_FOUND, "There is no such release of counts yet.")
        return found

    def document(self, row: CountReleaseRow) -> Document:
        """Return what a release says."""
        if row.number not in self._parsed:
            while len(self._parsed) >= _KEPT:
                self._parsed.pop(next(iter(self._parsed)), None)
            self._parsed[row.number] = read(row.body)
        return self._parsed[row.number]
