"""Who is a reader, and the row of what a reader takes on, made where there is none."""

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId
from registry_api.people.roles import Role
from registry_api.people.tables import PersonRow
from registry_api.reading.tables import ReaderRow


def own_row(session: Session, reader_id: OpaqueId) -> ReaderRow:
    """Return the reader's row for a change. Two first changes at once, on PostgreSQL, get the same one: the second waits for the first."""
    row = session.get(ReaderRow, reader_id)
    if row is not None:
        return row
    session.flush()  # the person may be new too
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(ReaderRow).values(reader_id=reader_id).on_conflict_do_nothing())
    return session.exec(select(ReaderRow).where(ReaderRow.reader_id == reader_id)).one()


def require_reader(session: Session, reader_id: OpaqueId) -> None:
    """Refuse an id that is no reader's.

    Raises:
        InvalidInputError: `not-found`.
    """
    person = session.get(PersonRow, reader_id)
    if person is None or person.role != Role.READER.value:
        raise InvalidInputError(
            Code.NOT_FOUND, "There is no reader of that id. `acinus-registry people list` shows them."
        )
