"""How well a site's records come: what was expected against what came, how soon, how full. In numbers of one site for that site only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case
from sqlmodel import Session, col, func, select

from registry_api.cases.tables import CaseRow
from registry_api.enrolment.tables import SiteRow

FIELDS = ("age_band", "sex", "pcr", "care_setting", "rsna_class", "corads")
"""What a record may leave unknown; the rest of it is always there."""

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class WeekQuality:
    """One week of one site. Shares are fractions of `studies`, None where there are none."""

    week: str
    studies: int
    withdrawn: int
    expected: int | None
    completeness: float | None
    """Studies that came by those that were expected; more than 1 where more came."""
    timeliness: float | None
    """Share that came less than two weeks after the end of their week."""
    filled: dict[str, float | None]
    """By field: share of records in which it is known."""


@dataclass(frozen=True, slots=True)
class Quality:
    """A site's quality, week by week, and when it was last heard of."""

    last_received: datetime | None
    hours_since: float | None
    weeks: list[WeekQuality]


@dataclass(frozen=True, slots=True)
class SiteWeek:
    """What one site sent of one week, in whole records that are not withdrawn."""

    site: str
    studies: int
    in_time: int
    further: int
    """Studies of a patient of whom the site had sent another one of the week."""
    filled: Mapping[str, int]
    """By field: in how many records it is known."""


def site_weeks(session: Session, week: str) -> list[SiteWeek]:
    """Return what each site sent of a week, by its name; a site without a record is not there."""
    rows = session.exec(
        select(
            CaseRow.site,
            func.count(),
            _count(col(CaseRow.late).is_(False)),
            _count(col(CaseRow.first_in_week).is_(False)),
            *_FILLED,
        )
        .where(CaseRow.week == week, col(CaseRow.withdrawn).is_(False))
        .group_by(CaseRow.site)
        .order_by(CaseRow.site)
    )
    found: Iterable[Sequence[Any]] = rows
    return [
        SiteWeek(site, studies, int(in_time), int(further), dict(zip(FIELDS, map(int, filled), strict=True)))
        for site, studies, in_time, further, *filled in found
    ]


def senders_after(session: Session, week: str) -> set[str]:
    """Return the sites that sent a record of a later week."""
    return set(
        session.exec(select(CaseRow.site).where(CaseRow.week > week, col(CaseRow.withdrawn).is_(False)).distinct())
    )


def site_quality(session: Session, site: str, *, weeks: Sequence[str], now: datetime) -> Quality:
    """Return the quality of what `site` sent for each of `weeks`, in their order; a week without a record is there too.

    Raises:
        NoResultFound: If there is no such site.
    """
    expected = session.get_one(SiteRow, site).expected_weekly
    rows = session.exec(
        select(
            CaseRow.week,
            _count(col(CaseRow.withdrawn).is_(False)),
            _count(col(CaseRow.withdrawn).is_(True)),
            _count(col(CaseRow.withdrawn).is_(False), col(CaseRow.late).is_(False)),
            *_FILLED,
        )
        .where(CaseRow.site == site, col(CaseRow.week).in_(list(weeks)))
        .group_by(CaseRow.week)
    )
    found: dict[str, Sequence[Any]] = {row[0]: row[1:] for row in rows}
    last: datetime | None = session.exec(select(func.max(CaseRow.received_at)).where(CaseRow.site == site)).first()
    return Quality(
        last_received=last,
        hours_since=None if last is None else round((now - last).total_seconds() / 3600, 1),
        weeks=[_week(week, found.get(week, [0] * (3 + len(FIELDS))), expected) for week in weeks],
    )


_UNKNOWN_OF: dict[str, Any] = {"corads": -1}
"""CO-RADS is a number and has no word for unknown: it is absent, and an absent value is never unequal to anything."""


def _count(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """Return how many rows of the group fulfil all conditions; one that compares with an absent value is not fulfilled."""
    whole = conditions[0] if len(conditions) == 1 else conditions[0] & conditions[1]
    return func.coalesce(func.sum(case((whole, 1), else_=0)), 0)


_FILLED = [_count(col(getattr(CaseRow, name)) != _UNKNOWN_OF.get(name, _UNKNOWN)) for name in FIELDS]
"""By field: in how many records of the group it is known; a withdrawn one holds nothing."""


def _week(week: str, counts: Sequence[int], expected: int | None) -> WeekQuality:
    studies, withdrawn, in_time, *filled = (int(count) for count in counts)
    return WeekQuality(
        week=week,
        studies=studies,
        withdrawn=withdrawn,
        expected=expected,
        completeness=_share(studies, expected),
        timeliness=_share(in_time, studies),
        filled={name: _share(count, studies) for name, count in zip(FIELDS, filled, strict=True)},
    )


def _share(part: int, whole: int | None) -> float | None:
    return round(part / whole, 3) if whole else None
