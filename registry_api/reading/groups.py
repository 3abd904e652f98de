"""With whom readers read: their groups, who leads one, and which readers do not count as independent of one another."""

from collections.abc import Collection

from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId
from registry_api.reading.own_row import own_row, require_reader
from registry_api.reading.tables import ReaderRow

_NAME_MAX = 100


def set_group(session: Session, reader_id: OpaqueId, *, group: str | None, leads: bool = False) -> None:
    """Say which group the reader reads with, and whether they lead it; None takes them out.

    Raises:
        InvalidInputError: `not-found` if there is no such reader; `bad-request` for an empty or long name, or a lead of no group.
    """
    require_reader(session, reader_id)
    if group is not None and (not group.strip() or len(group) > _NAME_MAX):
        raise InvalidInputError(Code.BAD_REQUEST, f"Give the group a name of 1 to {_NAME_MAX} characters.")
    if leads and group is None:
        raise InvalidInputError(Code.BAD_REQUEST, "Only a reader of a group can lead it.")
    row = own_row(session, reader_id)
    row.reading_group, row.leads = group.strip() if group is not None else None, leads
    session.add(row)
    session.flush()


def organisations_of(session: Session, reader_ids: Collection[OpaqueId]) -> frozenset[str]:
    """Return every organisation that these readers belong to: reading groups and their own hospitals.

    A reader with neither is an organisation alone.
    """
    rows = {
        row.reader_id: row for row in session.exec(select(ReaderRow).where(col(ReaderRow.reader_id).in_(reader_ids)))
    }
    return frozenset(name for one in reader_ids for name in organisations(one, rows.get(one)))


def organisations(reader_id: OpaqueId, row: ReaderRow | None) -> frozenset[str]:
    """Return the organisations of one reader; what kind each is stands before its name, so that none can pass for another."""
    group = {f"group {row.reading_group}"} if row is not None and row.reading_group else set()
    hospital = {f"hospital {row.home_site}"} if row is not None and row.home_site else set()
    return frozenset(group | hospital or {f"reader {reader_id}"})
