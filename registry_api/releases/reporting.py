"""How many hospitals sent records of a week, of how many that were expected to. No hospital is named."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, time, timedelta

from registry_api.enrolment.tables import SiteRow
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


def _expected(site: SiteRow, start: datetime, end: datetime) -> bool:
    joined = site.joined_at or site.enrolled_at
    return joined is not None and joined < end and (site.revoked_at is None or site.revoked_at >= start)
