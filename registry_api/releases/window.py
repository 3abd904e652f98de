"""Which weeks a release counts anew: the newest closed one, four before it, and any from which something was withdrawn."""

from datetime import date, datetime, timedelta

from sqlmodel import Session, col, select

from registry_api.cases.tables import CaseRow
from registry_api.releases.cube import DIMENSIONS
from registry_api.releases.disclosure import Rule
from registry_api.releases.document import Document

REVISED_WEEKS = 4
"""So many weeks before the newest closed one may still change; what comes later for an older one is not counted (ADR 0102)."""

_WEEK = timedelta(days=7)
_MARGIN = timedelta(hours=1)
"""A withdrawal may have been taken before the last build's time and stored after it had read; counting a week once more does no harm."""


def is_closed(week: str, today: date) -> bool:
    """Say whether the ISO week ended before `today` (UTC)."""
    return monday_of(week) + _WEEK <= today


def monday_of(week: str) -> date:
    """Return the first day of an ISO week."""
    return date.fromisocalendar(int(week[:4]), int(week[6:]), 1)


def closed_weeks(today: date, *, count: int) -> list[str]:
    """Return the last `count` closed ISO weeks, oldest first."""
    monday = today - timedelta(days=today.weekday())
    days = (monday - number * _WEEK for number in range(count, 0, -1))
    return [f"{day.isocalendar().year}-W{day.isocalendar().week:02d}" for day in days]


def open_weeks(
    session: Session, before: Document | None, *, rule: Rule, today: date, built_at: datetime | None
) -> frozenset[str] | None:
    """Return the weeks to count anew; None is every closed week.

    Args:
        session: The records.
        before: The last release. Without one, or if it was made by another rule or from other dimensions, every week counts anew.
        rule: The thresholds of the release to be built.
        today: In UTC.
        built_at: When the last release was built.
    """
    if before is None or built_at is None or before.rule != rule or before.dimensions != DIMENSIONS:
        return None
    touched = session.exec(
        select(CaseRow.week)
        .where(col(CaseRow.withdrawn).is_(True), CaseRow.received_at >= built_at - _MARGIN)
        .distinct()
    )
    return frozenset(closed_weeks(today, count=REVISED_WEEKS + 1)) | (set(touched) & before.weeks.keys())
