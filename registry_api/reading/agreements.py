"""What hospitals agreed with readers and reading groups: until when, how soon a read is signed, how many are read twice, who the patient is.

An agreement with a reader goes before one with the reader's group: where there is one, it alone says what holds for that reader.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.reading import Priority
from protocol.shape import OpaqueId, SiteId
from registry_api.enrolment.tables import SiteRow
from registry_api.reading.lifecycle import TIMERS
from registry_api.reading.own_row import require_reader
from registry_api.reading.tables import AgreementRow, AgreementTerms, GroupAgreementRow, ReaderRow

Agreement = AgreementRow | GroupAgreementRow


def agree_with_reader(
    session: Session, *, site: SiteId, reader_id: OpaqueId, terms: AgreementTerms | None = None, now: datetime
) -> None:
    """Write down that a hospital and a reader agreed; without terms on the network's own, until it is ended.

    Raises:
        InvalidInputError: `not-found` if there is no such reader or site.
        ConflictError: `already-exists` if the agreement is there.
    """
    require_reader(session, reader_id)
    _require_new(session, site, with_reader(session, site, reader_id))
    session.add(AgreementRow(site=site, reader_id=reader_id, created_at=now, **_columns(terms)))


def agree_with_group(
    session: Session, *, site: SiteId, group: str, terms: AgreementTerms | None = None, now: datetime
) -> None:
    """Write down that a hospital and a reading group agreed: it holds for whoever reads with the group, as long as they do.

    Raises:
        InvalidInputError: `not-found` if nobody reads with such a group, or there is no such site.
        ConflictError: `already-exists` if the agreement is there.
    """
    if not members_of(session, group):
        raise InvalidInputError(
            Code.NOT_FOUND, "Nobody reads with a group of that name. `acinus-registry readers group` says who does."
        )
    _require_new(session, site, with_group(session, site, group))
    session.add(GroupAgreementRow(site=site, reading_group=group, created_at=now, **_columns(terms)))


def change_terms(session: Session, agreement: Agreement | None, terms: AgreementTerms) -> None:
    """Let other terms hold from now on. What waits already stays due when it was.

    Raises:
        InvalidInputError: `not-found` if there is no agreement.
    """
    row = found(agreement)
    row.sqlmodel_update(_columns(terms))
    session.add(row)


def with_reader(session: Session, site: SiteId, reader_id: OpaqueId) -> AgreementRow | None:
    """Return the agreement of a hospital with a reader, if there is one."""
    query = select(AgreementRow).where(AgreementRow.site == site, AgreementRow.reader_id == reader_id)
    return session.exec(query).first()


def with_group(session: Session, site: SiteId, group: str) -> GroupAgreementRow | None:
    """Return the agreement of a hospital with a group, if there is one."""
    return session.get(GroupAgreementRow, (site, group))


def found(agreement: Agreement | None) -> Agreement:
    """Return the agreement.

    Raises:
        InvalidInputError: `not-found` if there is none.
    """
    if agreement is None:
        raise InvalidInputError(
            Code.NOT_FOUND, "There is no such agreement. `acinus-registry agreements list` shows them."
        )
    return agreement


def members_of(session: Session, group: str) -> Sequence[OpaqueId]:
    """Return who reads with a group."""
    return session.exec(select(ReaderRow.reader_id).where(ReaderRow.reading_group == group)).all()


def list_agreements(session: Session) -> list[Agreement]:
    """Return every agreement, hospital by hospital, those with readers first."""
    with_readers = session.exec(select(AgreementRow).order_by(col(AgreementRow.site), col(AgreementRow.id))).all()
    groups = select(GroupAgreementRow).order_by(col(GroupAgreementRow.site), col(GroupAgreementRow.reading_group))
    return sorted([*with_readers, *session.exec(groups)], key=lambda one: one.site)


def running(session: Session, site: SiteId, *, now: datetime) -> list[Agreement]:
    """Return the agreements of a hospital that run now."""
    rows: list[Agreement] = [
        *session.exec(select(AgreementRow).where(AgreementRow.site == site)),
        *session.exec(select(GroupAgreementRow).where(GroupAgreementRow.site == site)),
    ]
    return [one for one in rows if one.expires_at is None or now < one.expires_at]


def signed_within(terms: Sequence[AgreementTerms], priority: Priority) -> timedelta:
    """Return how soon a read of this priority is to be signed: the shortest of what was agreed.

    Nobody knows who will claim the read, so the strictest promise counts until it is kept; an agreement that says nothing promises the
    network's own time, and so does a hospital without any.
    """
    return min((one.minutes(priority) or TIMERS[priority].due for one in terms), default=TIMERS[priority].due)


def doubled_percent(terms: Sequence[AgreementTerms]) -> int:
    """Return how many of a hundred reads are read twice although the hospital asked for one: the most that was agreed."""
    return max((one.double_read_percent for one in terms), default=0)


def _require_new(session: Session, site: SiteId, known: Agreement | None) -> None:
    if session.get(SiteRow, site) is None:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no site {site}. `acinus-registry sites` lists them.")
    if known is not None:
        raise ConflictError(Code.ALREADY_EXISTS, f"{site} has that agreement already. `agreements change` changes it.")


def _columns(terms: AgreementTerms | None) -> dict[str, Any]:
    return (terms or AgreementTerms()).model_dump()
