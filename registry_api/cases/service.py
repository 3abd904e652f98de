"""Taking in case records: corrections by id and version, withdrawals, rules with codes. There is no way to read one back."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import case
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, func

from protocol.case import CORADS_PROVEN, CaseRecord, PcrStatus, RsnaClass
from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.cases.bases import refuse_withdrawn_basis
from registry_api.cases.tables import CONTENT, CaseRow

_CONTENT = set(CONTENT)
_ITS_OWN = frozenset({"late", "left_weeks", "left_at"})
"""What a row says of all its versions."""
LATE_AFTER = timedelta(days=14)
"""A record that first comes this long after the end of its week is marked late; it still counts, as a revision."""


def accept_case(session: Session, site: str, record: CaseRecord, now: datetime) -> None:
    """Store the record for `site`: a higher version replaces a lower one, an older or equal one changes nothing.

    Raises:
        InvalidInputError: With the code of the rule of `check_case` that it breaks, or `case-basis-withdrawn`.
    """
    check_case(record, today=now.date())
    refuse_withdrawn_basis(session, site, record)
    _store(session, [_columns_of(site, record, now)])


def accept_cases(session: Session, records: Iterable[tuple[str, CaseRecord]], now: datetime) -> None:
    """Store records of many sites, each as `accept_case` would in this order. They must have passed its checks."""
    newest: dict[tuple[str, str], CaseRecord] = {}  # one statement may not meet a row twice (PostgreSQL)
    for site, record in records:
        kept = newest.setdefault((site, record.case_id), record)
        if record.version > kept.version:
            newest[site, record.case_id] = record
    if newest:
        _store(session, [_columns_of(site, record, now) for (site, _), record in newest.items()])


def check_case(record: CaseRecord, *, today: date) -> None:
    """Hold the record against the rules that its types cannot say.

    Raises:
        InvalidInputError: With the code of the first rule that it breaks.
    """
    broken = _week_rules(record, today) if record.withdrawn else _week_rules(record, today) | _content_rules(record)
    for code, holds in broken.items():
        if holds:
            raise InvalidInputError(code)


def _week_rules(record: CaseRecord, today: date) -> dict[Code, bool]:
    """Return the rules of every record, and whether each is broken."""
    monday = _monday(record.epi_week)
    return {
        Code.CASE_WEEK_UNKNOWN: monday is None,
        Code.CASE_WEEK_AHEAD: (monday or today) > today + timedelta(days=1),
    }


def _content_rules(record: CaseRecord) -> dict[Code, bool]:
    """Return the rules of what a record says of the study; of a withdrawn one that is not looked at, so that nothing keeps a case in."""
    shares = record.ggo_percent + record.consolidation_percent
    return {
        Code.CASE_OPACITY_SUM: abs(shares - record.opacity_percent) > 1,
        Code.CASE_CORADS_PCR: record.corads == CORADS_PROVEN and record.pcr is not PcrStatus.POSITIVE,
        Code.CASE_CLASSES_DIFFER: record.rsna_class is RsnaClass.NEGATIVE and (record.corads or 0) >= CORADS_PROVEN - 1,
    }


def _store(session: Session, rows: list[dict[str, Any]]) -> None:
    """Insert rows or put them over lower versions: each in one statement, since two versions may come at the same moment.

    What is returned is not looked at; asked for it, SQLAlchemy sends many rows to PostgreSQL in one statement instead of one each.
    """
    connection = session.connection()
    statement = _newer(connection.dialect.name)
    if connection.dialect.name == "postgresql":
        statement = statement.returning(col(CaseRow.version))
    connection.execute(statement, rows)


@cache
def _newer(dialect: str) -> Any:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(CaseRow)
    newer: dict[str, Any] = {name: statement.excluded[name] for name in CaseRow.model_fields if name not in _ITS_OWN}
    moves = col(CaseRow.week) != statement.excluded.week
    known = func.coalesce(col(CaseRow.left_weeks), "").contains(col(CaseRow.week))  # back and forth adds nothing
    more = func.coalesce(col(CaseRow.left_weeks).concat(","), "").concat(col(CaseRow.week))
    left = case((known, col(CaseRow.left_weeks)), else_=more)
    newer["left_weeks"] = case((moves, left), else_=col(CaseRow.left_weeks))
    newer["left_at"] = case((moves, statement.excluded.received_at), else_=col(CaseRow.left_at))
    return statement.on_conflict_do_update(
        index_elements=["site", "case_id"], set_=newer, where=col(CaseRow.version) < statement.excluded.version
    )


def _monday(week: str) -> date | None:
    """Return the first day of an ISO week, or None where the year has no week 53."""
    try:
        return date.fromisocalendar(int(week[:4]), int(week[6:]), 1)
    except ValueError:
        return None


def _columns_of(site: str, record: CaseRecord, now: datetime) -> dict[str, Any]:
    """Return the row to keep, by column; of a withdrawn record only its identity, its version and its week.

    Plain values and no `CaseRow`: records come by the thousand, and an object of the table costs more than storing it.
    """
    monday = _monday(record.epi_week) or now.date()
    return {
        "site": site,
        "case_id": record.case_id,
        "version": record.version,
        "withdrawn": record.withdrawn,
        "late": now.date() - (monday + timedelta(days=7)) >= LATE_AFTER,
        "received_at": now,
        "emptied_at": now if record.withdrawn else None,
        "week": record.epi_week,
        **(dict.fromkeys(CONTENT) if record.withdrawn else _content_of(record)),
    }


def _content_of(record: CaseRecord) -> dict[str, Any]:
    """Return what the record says of the study."""
    content = record.model_dump(mode="json", include=_CONTENT)
    return {**content, "quality": ",".join(record.quality)}
