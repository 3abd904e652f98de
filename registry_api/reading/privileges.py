"""What hospitals say of who may read for them. Written by their nodes' parcels alone: the centre can grant nobody anything."""

from datetime import datetime

from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import ReaderPrivilege, StudyKind
from protocol.shape import SiteId
from registry_api.people.roles import Role
from registry_api.people.tables import PersonRow
from registry_api.reading.endings import give_back
from registry_api.reading.tables import PrivilegeRow


def accept_privilege(session: Session, site: SiteId, parcel: ReaderPrivilege, now: datetime) -> None:
    """Write down the hospital's word. One that it has overtaken itself changes nothing; a withdrawal ends what the reader holds there.

    Raises:
        InvalidInputError: `not-found` if there is no reader of this id.
    """
    person = session.get(PersonRow, parcel.reader_id)
    if person is None or person.role != Role.READER.value:
        raise InvalidInputError(Code.NOT_FOUND, "There is no reader of that id in the network.")
    row = session.get(PrivilegeRow, (site, parcel.reader_id), with_for_update=True)
    if row is not None and row.version >= parcel.version:
        return
    row = row or PrivilegeRow(site=site, reader_id=parcel.reader_id, granted=False, version=0, changed_at=now)
    row.granted, row.version, row.changed_at = parcel.granted, parcel.version, now
    row.valid_until = datetime.fromisoformat(parcel.valid_until) if parcel.valid_until is not None else None
    row.studies = ",".join(sorted(set(parcel.studies))) if set(parcel.studies) != set(StudyKind) else ""
    session.add(row)
    session.flush()
    if not parcel.granted:
        give_back(session, site, parcel.reader_id, now=now)
