"""Legal bases that a site has withdrawn: what rests on one is emptied, and no record of it is taken any more."""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import Session, col, select, update

from protocol.case import CaseRecord, LegalBasis
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from registry_api.cases.tables import CONTENT, CaseRow, WithdrawnBasisRow
from registry_api.enrolment.tables import SiteRow


def withdraw_basis(session: Session, site: str, basis: LegalBasis, *, now: datetime) -> int:
    """Empty every record of `site` that rests on `basis`, for good, and return how many there were.

    A node that sends such a case again under another basis, as a higher version, brings that case back.

    Raises:
        InvalidInputError: `not-found` if there is no such site.
        ConflictError: `already-exists` if it was withdrawn before.
    """
    if session.exec(select(SiteRow.site).where(SiteRow.site == site).with_for_update()).first() is None:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no site {site}. `acinus-registry sites` lists them.")
    if session.get(WithdrawnBasisRow, (site, basis.value)) is not None:
        raise ConflictError(Code.ALREADY_EXISTS, f"{site} has withdrawn {basis.value} before.")
    session.add(WithdrawnBasisRow(site=site, legal_basis=basis.value, withdrawn_at=now))
    emptied = session.exec(
        update(CaseRow)
        .where(col(CaseRow.site) == site, col(CaseRow.legal_basis) == basis.value, col(CaseRow.withdrawn).is_(False))
        .values(withdrawn=True, emptied_at=now, **dict.fromkeys(CONTENT))
    )
    return int(emptied.rowcount)


def withdrawn_bases(session: Session, sites: Collection[str]) -> set[tuple[str, str]]:
    """Return (site, basis) of what `sites` have withdrawn. None of them withdraws another until the transaction ends.

    Else a record could be stored after its basis was looked up and before it fell, where the emptying does not see it. PostgreSQL holds the
    sites' rows as the foreign keys of what is stored will hold them anyway; SQLite has one writer.
    """
    held = select(SiteRow.site).where(col(SiteRow.site).in_(sorted(sites)))
    session.exec(held.with_for_update(read=True, key_share=True)).all()
    query = select(WithdrawnBasisRow.site, WithdrawnBasisRow.legal_basis)
    return {(site, basis) for site, basis in session.exec(query.where(col(WithdrawnBasisRow.site).in_(sorted(sites))))}


def refuse_withdrawn_basis(session: Session, site: str, record: CaseRecord) -> None:
    """Refuse a record that rests on a basis which its site has withdrawn; a withdrawal is always taken.

    Raises:
        InvalidInputError: `case-basis-withdrawn`.
    """
    if not record.withdrawn and (site, record.legal_basis.value) in withdrawn_bases(session, {site}):
        raise InvalidInputError(Code.CASE_BASIS_WITHDRAWN)
