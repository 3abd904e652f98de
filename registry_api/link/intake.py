"""What happens to a parcel: exactly one receiver, one transaction, one verdict, however often it is sent."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError, UnavailableError
from protocol.parcel import parse_parcel
from registry_api.cases.service import accept_case
from registry_api.database import Database
from registry_api.link.tables import ParcelRow
from registry_api.promoted.standings import accept_standing
from registry_api.reading import questions
from registry_api.reading import service as reading
from registry_api.reading.privileges import accept_privilege

Receiver = Callable[[Session, str, Any, datetime], None]
"""(session, site, parcel, now): store the parcel in the session's transaction, or raise an error with a code."""

RECEIVERS: dict[str, Receiver] = {
    "case-record": accept_case,
    "read-post": reading.accept_post,
    "read-opened": reading.accept_opened,
    "info-asked": questions.accept_asked,
    "info-answered": questions.accept_answered,
    "report-receipt": reading.accept_receipt,
    "read-delivered": reading.accept_delivered,
    "read-acknowledged": reading.accept_acknowledged,
    "report-noted": reading.accept_noted,
    "read-withdrawn": reading.accept_withdrawn,
    "read-reposted": reading.accept_reposted,
    "reader-privilege": accept_privilege,
    "release-standing": accept_standing,
}

_ENVELOPE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on a parcel. `code` is empty when it was accepted."""

    accepted: bool
    code: str = ""


def take(database: Database, site: str, *, envelope_id: str, body: bytes, now: datetime) -> Outcome:
    """Store the parcel durably for `site`, or refuse it for good.

    Raises:
        UnavailableError: If it can be neither stored nor refused now; the node must send it again.
    """
    try:
        _store(database, site, envelope_id, body, now)
    except UnavailableError:
        raise
    except FederationError as error:
        return Outcome(accepted=False, code=error.code.value)
    return Outcome(accepted=True)


def _store(database: Database, site: str, envelope_id: str, body: bytes, now: datetime) -> None:
    """Run the parcel's receiver once for this id, whichever of two simultaneous tries comes first."""
    if not is_envelope_id(envelope_id):
        raise InvalidInputError(Code.BAD_SHAPE, "An envelope's id is 32 hex digits.")
    try:
        with database.writing() as session:
            _store_once(
                session,
                site,
                ParcelRow(site=site, envelope_id=envelope_id, body_sha256=sha256_of(body), accepted_at=now),
                body,
            )
    except IntegrityError:
        with database.reading() as session:
            if session.get(ParcelRow, (site, envelope_id)) is None:
                raise


def _store_once(session: Session, site: str, row: ParcelRow, body: bytes) -> None:
    before = session.get(ParcelRow, (site, row.envelope_id))
    if before is not None:
        if before.body_sha256 != row.body_sha256:
            raise ConflictError(Code.ALREADY_EXISTS, "Another parcel came under that id before.")
        return
    parcel = parse_parcel(body)
    session.add(row)
    session.flush()
    RECEIVERS[parcel.kind](session, site, parcel, row.accepted_at)


def is_envelope_id(text: str) -> bool:
    """Say whether it is 32 hex digits."""
    return _ENVELOPE_ID.fullmatch(text) is not None


def sha256_of(body: bytes) -> str:
    """Return the hash that a parcel is known again by."""
    return hashlib.sha256(body).hexdigest()
