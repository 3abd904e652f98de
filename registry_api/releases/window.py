"""Which weeks a release counts anew: the newest closed one, four before it, and any from which something was withdrawn or moved."""

from datetime import date, datetime, timedelta

from sqlmodel import Session, col, select

from registry_api.cases.tables import CaseRow
from registry_api.releases.cube import DIMENSIONS
from registry_api.releases.disclosure import Rule
from registry_api.releases.document import Document
from registry_api.releases.weeks import WEEK, monday_of, week_of, weeks_until

REVISED_WEEKS = 4
"""So many weeks before the newest closed one may still change; what comes later for an older one is not counted (ADR 0102)."""

_MARGIN = timedelta(hours=1)
"""A withdrawal or a move may have been taken before the last build's time and stored after it had read; counting a week once more does no harm."""


def is_closed(week: str, today: date) -> bool:
    """Say whether the ISO week ended before `today` (UTC)."""
    return monday_of(week) + WEEK <= today


def closed_weeks(today: date, *, count: int) -> list[str]:
    """Return the last `count` closed ISO weeks, oldest first."""
    return weeks_until(week_of(today - WEEK), count=count)


def rule_of(week: str, before: Document | None, rule: Rule) -> Rule:
    """Return the rule that a week goes through: what was published of it by one rule must not be published by another.

    Whoever holds both, rounded on two grids or masked below two minimums, has where they meet (ADR 0161).

    Args:
        week: An ISO week.
        before: The last release.
        rule: The thresholds of the settings, for weeks that no release holds.
    """
    return rule if before is None or week not in before.weeks else before.rule_of(week)


def open_weeks(
    session: Session, before: Document | None, *, today: date, built_at: datetime | None
) -> frozenset[str] | None:
    """Return the weeks to count anew; None is every closed week.

    Args:
        session: The records.
        before: The last release. Without one, or if it was made from other dimensions, every week counts anew.
        today: In UTC.
        built_at: When the last release was built.
    """
    if before is None or built_at is None or before.dimensions != DIMENSIONS:
        return None
    touched = session.exec(  # not DISTINCT: for that SQLite would walk through every week
        select(CaseRow.week).where(col(CaseRow.withdrawn).is_(True), col(CaseRow.emptied_at) >= built_at - _MARGIN)
    )
    left = session.exec(
        select(CaseRow.left_weeks).where(
            col(CaseRow.left_weeks).is_not(None), col(CaseRow.left_at) >= built_at - _MARGIN
        )
    )
    anew = {*touched, *(week for weeks in left for week in str(weeks).split(","))}
    return frozenset(closed_weeks(today, count=REVISED_WEEKS + 1)) | (anew & before.weeks.keys())
