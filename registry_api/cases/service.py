"""Taking in case records: corrections by id and version, withdrawals, rules with codes. There is no way to read one back."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col

from protocol.case import CaseRecord, RsnaClass
from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.cases.bases import refuse_withdrawn_basis
from registry_api.cases.tables import CaseRow

_CORADS_POSITIVE = 6
LATE_AFTER = timedelta(days=14)
"""A record that comes this long after the end of its week is marked late; it still counts, as a revision."""


def accept_case(session: Session, site: str, record: CaseRecord, now: datetime) -> None:
    """Store the record for `site`: a higher version replaces a lower one, an older or equal one changes nothing.

    Raises:
        InvalidInputError: `bad-request` if the record breaks a rule of `check_case`, or its legal basis was withdrawn.
    """
    check_case(record, today=now.date())
    refuse_withdrawn_basis(session, site, record)
    _store_newer(session, _row(site, record, now))


def accept_cases(session: Session, records: Sequence[tuple[str, CaseRecord]], now: datetime) -> None:
    """Store records of many sites, each as `accept_case` would in this order. They must have passed its checks."""
    if records:
        session.connection().execute(
            _newer(session), [_row(site, record, now).model_dump() for site, record in records]
        )


def check_case(record: CaseRecord, *, today: date) -> None:
    """Hold the record against the rules that its types cannot say.

    Raises:
        InvalidInputError: `bad-request`, with a sentence that quotes no value.
    """
    broken = {
        "The week does not exist.": _monday(record.epi_week) is None,
        "The week lies in the future.": (_monday(record.epi_week) or today) > today + timedelta(days=1),
        "Ground glass and consolidation do not add up to opacity.": abs(
            record.ggo_percent + record.consolidation_percent - record.opacity_percent
        )
        > 1,
        "CO-RADS 6 needs a positive PCR.": record.corads == _CORADS_POSITIVE and record.pcr != "positive",
        "A negative RSNA class contradicts CO-RADS 5 or 6.": record.rsna_class is RsnaClass.NEGATIVE
        and (record.corads or 0) >= _CORADS_POSITIVE - 1,
    }
    for sentence, holds in broken.items():
        if holds:
            raise InvalidInputError(Code.BAD_REQUEST, sentence)


def _store_newer(session: Session, row: CaseRow) -> None:
    session.exec(_newer(session).values(row.model_dump()))


def _newer(session: Session) -> Any:
    """Return the statement that inserts a row or puts it over a lower version, in one: two versions may come at the same moment."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(CaseRow)
    newer = {name: statement.excluded[name] for name in CaseRow.model_fields}
    return statement.on_conflict_do_update(
        index_elements=["site", "case_id"], set_=newer, where=col(CaseRow.version) < statement.excluded.version
    )


def _monday(week: str) -> date | None:
    """Return the first day of an ISO week, or None where the year has no week 53."""
    try:
        return date.fromisocalendar(int(week[:4]), int(week[6:]), 1)
    except ValueError:
        return None


def _row(site: str, record: CaseRecord, now: datetime) -> CaseRow:
    """Return the row to keep; of a withdrawn record only its identity, its version and its week."""
    monday = _monday(record.epi_week) or now.date()
    row = CaseRow(
        site=site,
        case_id=record.case_id,
        version=record.version,
        withdrawn=record.withdrawn,
        late=now.date() - (monday + timedelta(days=7)) >= LATE_AFTER,
        received_at=now,
        week=record.epi_week,
    )
    if not record.withdrawn:
        _fill(row, record)
    return row


def _fill(row: CaseRow, record: CaseRecord) -> None:
    """Copy what the record says of the study."""
    content = record.model_dump(mode="json", exclude={"kind", "case_id", "version", "withdrawn", "epi_week", "quality"})
    for name, value in content.items():
        setattr(row, name, value)
    row.quality = ",".join(record.quality)
