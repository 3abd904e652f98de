"""What a reader may show: licences, languages, subspecialties, each with its evidence, who saw it, and from when until when it holds."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import StringConstraints
from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import Language, Subspecialty
from protocol.shape import OpaqueId, RegionCode
from registry_api.people.roles import Role
from registry_api.people.tables import CredentialRow, PersonRow
from registry_api.reading.own_row import require_reader
from registry_api.reading.tables import CredentialTermRow, TrainingRow

Evidence = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9.:/_-]{2,79})$")]
"""Where the evidence is to be found: a number in the register of whoever licensed, or the SHA-256 of a paper. Never the paper."""

_VERIFIERS = frozenset({Role.COORDINATOR.value, Role.AUDITOR.value})


@dataclass(frozen=True, slots=True)
class Term:
    """From when until when (half-open) something holds, on what evidence, and who saw that."""

    valid_from: datetime
    valid_until: datetime
    verified_by: OpaqueId
    verified_at: datetime
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """A licence or a subspecialty as a person reads it. `term` is None where nobody has verified it."""

    reader_id: OpaqueId
    what: str
    language: str | None
    term: Term | None


def set_term(session: Session, reader_id: OpaqueId, *, jurisdiction: RegionCode, term: Term) -> None:
    """Say from when until when the reader's licence in `jurisdiction` holds; an earlier term is replaced.

    Raises:
        InvalidInputError: `not-found` if the reader has no licence there; `bad-request` if the term ends before it begins.
    """
    refuse_empty(term)
    rows = _licences(session, reader_id, jurisdiction)
    if not rows:
        raise InvalidInputError(Code.NOT_FOUND, "This reader has no licence in that jurisdiction. Add it first.")
    for row in rows:
        session.merge(CredentialTermRow(credential_id=row.id or 0, **_columns(term)))


def license_reader(
    session: Session, reader_id: OpaqueId, *, jurisdiction: RegionCode, language: Language, term: Term
) -> None:
    """Write down a verified licence with a language, or renew it.

    Raises:
        InvalidInputError: `not-found` if there is no such reader; `bad-request` if the verifier may not verify.
    """
    require_reader(session, reader_id)
    refuse_verifier(session, term, reader_id=reader_id)
    if language not in {row.language for row in _licences(session, reader_id, jurisdiction)}:
        session.add(CredentialRow(reader_id=reader_id, jurisdiction=jurisdiction, language=language))
        session.flush()
    set_term(session, reader_id, jurisdiction=jurisdiction, term=term)


def train_reader(session: Session, reader_id: OpaqueId, *, subspecialty: Subspecialty, term: Term) -> None:
    """Write down a verified subspecialty, or renew it.

    Raises:
        InvalidInputError: `not-found` if there is no such reader; `bad-request` if the verifier may not verify or the term is empty.
    """
    require_reader(session, reader_id)
    refuse_verifier(session, term, reader_id=reader_id)
    refuse_empty(term)
    session.merge(TrainingRow(reader_id=reader_id, subspecialty=subspecialty.value, **_columns(term)))


def credentials_of(session: Session, reader_id: OpaqueId | None) -> list[Credential]:
    """Return what one reader (or with None every reader) has on file, verified or not."""
    licences = (
        select(CredentialRow, CredentialTermRow)
        .join(CredentialTermRow, col(CredentialTermRow.credential_id) == CredentialRow.id, isouter=True)
        .order_by(col(CredentialRow.reader_id), col(CredentialRow.jurisdiction), col(CredentialRow.language))
    )
    trainings = select(TrainingRow).order_by(col(TrainingRow.reader_id), col(TrainingRow.subspecialty))
    if reader_id is not None:
        licences = licences.where(CredentialRow.reader_id == reader_id)
        trainings = trainings.where(TrainingRow.reader_id == reader_id)
    found = [
        Credential(row.reader_id, row.jurisdiction, row.language, _term(term)) for row, term in session.exec(licences)
    ]
    return found + [Credential(row.reader_id, row.subspecialty, None, _term(row)) for row in session.exec(trainings)]


def refuse_verifier(session: Session, term: Term, *, reader_id: OpaqueId) -> None:
    """Refuse a verifier who is not of the network's office, or is the reader.

    Raises:
        InvalidInputError: `bad-request`.
    """
    person = session.get(PersonRow, term.verified_by)
    if person is None or person.role not in _VERIFIERS or person.disabled_at is not None or person.id == reader_id:
        raise InvalidInputError(
            Code.BAD_REQUEST, "Evidence is verified by a coordinator or an auditor; give the id of one of them."
        )


def refuse_empty(term: Term) -> None:
    """Refuse a term that ends before it begins.

    Raises:
        InvalidInputError: `bad-request`.
    """
    if term.valid_until <= term.valid_from:
        raise InvalidInputError(Code.BAD_REQUEST, "A credential must end after it begins. Check the date of its end.")


def _licences(session: Session, reader_id: OpaqueId, jurisdiction: RegionCode) -> list[CredentialRow]:
    query = select(CredentialRow).where(
        CredentialRow.reader_id == reader_id, CredentialRow.jurisdiction == jurisdiction
    )
    return list(session.exec(query))


def _columns(term: Term) -> dict[str, Any]:
    return {
        "valid_from": term.valid_from,
        "valid_until": term.valid_until,
        "verified_by": term.verified_by,
        "verified_at": term.verified_at,
        "evidence": term.evidence,
    }


def _term(row: CredentialTermRow | TrainingRow | None) -> Term | None:
    if row is None:
        return None
    return Term(row.valid_from, row.valid_until, row.verified_by, row.verified_at, row.evidence)
