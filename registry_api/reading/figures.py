"""Numbers that say how reading goes: turnaround, agreement of double readers, scores of peer reviews. Pure."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from protocol.shape import OpaqueId, SiteId
from registry_api.reading.comparison import Coded, Difference, differences
from registry_api.reading.lifecycle import Purpose


@dataclass(frozen=True, slots=True)
class SignedRead:
    """One signed slot. Its codes are of the first signed version: an amendment does not make a late read an early one."""

    request_id: OpaqueId
    site: SiteId
    reader_id: OpaqueId
    group: str | None
    purpose: Purpose
    opened_at: datetime
    due_at: datetime
    preliminary_at: datetime
    signed_at: datetime
    coded: Coded


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One peer review, by the reader, group and hospital of the report that was reviewed."""

    site: SiteId
    reader_id: OpaqueId
    group: str | None
    score: int


@dataclass(frozen=True, slots=True)
class Turnaround:
    """Minutes from the opening of a slot to its first report and to its signature, the hospital's answering times included."""

    reads: int
    preliminary_median_minutes: float | None
    preliminary_p90_minutes: float | None
    signed_median_minutes: float | None
    signed_p90_minutes: float | None
    breached: int
    """Signed after they were due; the clock of `due` stands still while the hospital is asked."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two blind readers say the same. `kappa` is Cohen's, of the RSNA class: agreement beyond chance."""

    double_reads: int
    agreed: int
    kappa: float | None
    differences: dict[Difference, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of one reader, group, hospital or network."""

    turnaround: Turnaround
    agreement: Agreement
    reviews: dict[int, int]
    """How many peer reviews gave each score, 1 to 4."""


def figures(
    reads: Collection[SignedRead], pairs: Collection[tuple[Coded, Coded]], reviews: Collection[Reviewed]
) -> Figures:
    """Return the figures of these reads, double reads and reviews."""
    scores = Counter(one.score for one in reviews)
    return Figures(turnaround(reads), agreement(pairs), {score: scores[score] for score in (1, 2, 3, 4)})


def turnaround(reads: Collection[SignedRead]) -> Turnaround:
    """Return how long reads took; None where there is none to say it of."""
    first = sorted(_minutes(one.opened_at, one.preliminary_at) for one in reads)
    signed = sorted(_minutes(one.opened_at, one.signed_at) for one in reads)
    return Turnaround(
        reads=len(reads),
        preliminary_median_minutes=median(first) if first else None,
        preliminary_p90_minutes=nearest_rank(first, 0.9),
        signed_median_minutes=median(signed) if signed else None,
        signed_p90_minutes=nearest_rank(signed, 0.9),
        breached=sum(one.signed_at > one.due_at for one in reads),
    )


def nearest_rank(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of the sorted values do not exceed: a time that really occurred."""
    rank = max(1, -int(-share * len(ordered) // 1))
    return ordered[rank - 1] if ordered else None


def agreement(pairs: Collection[tuple[Coded, Coded]]) -> Agreement:
    """Return how far both readers of double reads agree."""
    apart = [differences(first, second) for first, second in pairs]
    counted = Counter(one for found in apart for one in found)
    return Agreement(
        double_reads=len(pairs),
        agreed=sum(not found for found in apart),
        kappa=cohen_kappa([(first.rsna_class, second.rsna_class) for first, second in pairs]),
        differences={one: counted[one] for one in Difference},
    )


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa (1960) of two raters' categories: (observed - chance) / (1 - chance).

    None where it is not defined: without pairs, or where both raters know only one and the same category.
    """
    if not pairs:
        return None
    total = len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = sum(a == b for a, b in pairs) / total
    chance = sum(first[one] * second[one] for one in first) / total**2
    return (observed - chance) / (1 - chance) if chance < 1 else None


def pairs_of(reads: Collection[SignedRead]) -> dict[OpaqueId, tuple[SignedRead, SignedRead]]:
    """Return the double reads of which both are there, by request; who decided between them is no part of a pair."""
    found: dict[OpaqueId, list[SignedRead]] = {}
    for one in reads:
        if one.purpose is Purpose.READ:
            found.setdefault(one.request_id, []).append(one)
    return {key: (two[0], two[1]) for key, two in found.items() if len(two) == 2}  # noqa: PLR2004 - a double read


def _minutes(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() / 60
