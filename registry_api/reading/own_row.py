"""The row of what a reader takes on, made where there is none."""

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, select

from protocol.shape import OpaqueId
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
