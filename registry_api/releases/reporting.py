"""How many hospitals sent records of a week, of how many that were expected to, and how these came. No hospital is named."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, time, timedelta

from registry_api.cases.quality import FIELDS, SiteWeek
from registry_api.enrolment.tables import SiteRow
from registry_api.releases.document import Quality
from registry_api.releases.weeks import monday_of
from registry_api.units.tree import Tree, country_of


def reporting(week: str, reported: Collection[str], sites: Iterable[SiteRow], tree: Tree) -> dict[str, tuple[int, int]]:
    """Return n of m hospitals by place, for every country and region that has any.

    A hospital is expected if it had joined before the week ended and was not shut out before the week began, or if it sent anyway.

    Args:
        week: An ISO week.
        reported: The sites that sent at least one record of it.
        sites: Those that ever enrolled.
        tree: Where they are.
    """
    start = datetime.combine(monday_of(week), time(), UTC)
    counted: dict[str, tuple[int, int]] = {}
    for site in sites:
        came = site.site in reported
        if came or _expected(site, start, start + timedelta(days=7)):
            for place in {tree.place_of(site.region), country_of(site.region)}:
                have, of = counted.get(place, (0, 0))
                counted[place] = have + came, of + 1
    return counted


NEARLY_ALL = 0.9
"""A hospital counts as timely, or a field as filled, by so many of its records of the week."""

HEARD, TIMELY = "heard", "timely"
QUALITY = (HEARD, TIMELY, *FIELDS)
"""What is said of the hospitals of a place: which were heard from in this week or since, whose records came in time, which fields are known."""


def quality(
    week: str,
    sent: Mapping[str, SiteWeek],
    heard: Collection[str],
    shown: Collection[str],
    sites: Iterable[SiteRow],
    tree: Tree,
) -> Quality:
    """Return, by place, how many hospitals are well by each word of `QUALITY`, of how many.

    How records came is said of the hospitals that sent any, and only in places whose number of studies is shown: nothing is said of a few records.

    Args:
        week: An ISO week.
        sent: What each hospital sent of it.
        heard: The hospitals that sent a record of this week or of a later one; held against those that were expected to send.
        shown: The places whose number of studies is shown.
        sites: Those that ever enrolled.
        tree: Where they are.
    """
    start = datetime.combine(monday_of(week), time(), UTC)
    counted: dict[str, dict[str, tuple[int, int]]] = {}
    for site in sites:
        came = sent.get(site.site)
        for place in {tree.place_of(site.region), country_of(site.region)}:
            if came or _expected(site, start, start + timedelta(days=7)):
                _count(counted.setdefault(place, {}), HEARD, holds=site.site in heard)
            if came and place in shown:
                well = {TIMELY: came.in_time, **came.filled}
                for name, records in well.items():
                    _count(counted[place], name, holds=records >= NEARLY_ALL * came.studies)
    return counted


def _count(counted: dict[str, tuple[int, int]], name: str, *, holds: bool) -> None:
    have, of = counted.get(name, (0, 0))
    counted[name] = have + holds, of + 1


def _expected(site: SiteRow, start: datetime, end: datetime) -> bool:
    joined = site.joined_at or site.enrolled_at
    return joined is not None and joined < end and (site.revoked_at is None or site.revoked_at >= start)
