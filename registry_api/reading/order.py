"""What is read first: priority, which triage may raise; then one hospital after the other; then the due time. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

from protocol.reading import Priority
from protocol.shape import SiteId
from registry_api.reading.matching import Wanted

RANKS = {priority: rank for rank, priority in enumerate((Priority.STAT, Priority.URGENT, Priority.ROUTINE))}
"""Lower comes first."""

TRIAGE: tuple[tuple[Priority, int, int], ...] = ((Priority.STAT, 50, 101), (Priority.URGENT, 25, 30))
"""(priority, percent of ground glass, width of the uncertainty in percent) from which on a request is read as if it had that
priority. Uncertainty alone raises to urgent at most: 101 is never reached."""

_NOTHING_HELD: Mapping[SiteId, int] = {}


def effective_priority(wanted: Wanted) -> Priority:
    """Return the priority by which a request is ordered: what the hospital asked for, or what triage makes of it if that is sooner."""
    return triaged(wanted.priority, ggo_percent=wanted.ggo_percent, uncertainty_percent=wanted.uncertainty_percent)


@cache
def triaged(priority: Priority, *, ggo_percent: int, uncertainty_percent: int) -> Priority:
    """Return `priority`, or the higher one to which so much ground glass or doubt raises it; never a lower one.

    Remembered, for it is asked three times of all that waits; percents are few.
    """
    raised = [one for one, ggo, doubt in TRIAGE if ggo_percent >= ggo or uncertainty_percent >= doubt]
    return min((priority, *raised), key=RANKS.__getitem__)


def in_order(requests: Iterable[Wanted], in_hand: Mapping[SiteId, int] = _NOTHING_HELD) -> list[Wanted]:
    """Return the requests in the order in which they should be read, the same for everyone.

    Inside one priority hospitals take turns: a hospital's n-th waiting request stands in round `in_hand[site] + n`, so that whose
    reads are being read already waits for the others. Inside a round the due time decides, then the time of posting, then the id.

    Args:
        requests: What waits for a reader.
        in_hand: How many reads of each hospital readers hold now.
    """
    rounds: defaultdict[tuple[int, SiteId], int] = defaultdict(int)
    keyed = []
    by_time = sorted(requests, key=lambda one: (one.due_at, one.posted_at, one.request_id))
    for place, one in enumerate(by_time):
        rank = RANKS[effective_priority(one)]
        turn = in_hand.get(one.site, 0) + rounds[rank, one.site]
        rounds[rank, one.site] += 1
        keyed.append((rank, turn, place, one))
    return [one for *_, one in sorted(keyed)]  # `place` tells any two apart: requests are not compared
