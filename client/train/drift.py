"""Whether a node's scans still look like the first that it saw: coarse figures, compared by the population stability index. Pure."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from client.train.groups import maker_of
from protocol.case import QualityFlag
from protocol.evaluation import Group

REFERENCE, RECENT, FEWEST = 200, 100, 50
"""The first so many studies are the reference; the last so many after them are compared with it; of fewer than so many nothing is said."""

INDEX_LIMIT = 0.25
"""From here on the field's convention speaks of a shift (Siddiqi 2006, Credit Risk Scorecards)."""

_ONE_IN_THOUSAND = 3.0902
"""The normal quantile that is passed by chance once in a thousand."""

_SLICE_ENDS_MM, _DENSITY_ENDS_HU = (1.5, 3.0, 5.0), (-850.0, -800.0, -700.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is compared of one study."""

    flags: frozenset[str]
    maker: str
    slice_mm: float
    lung_hu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One figure: its index, and the index beyond which it counts as changed."""

    figure: str
    index: float
    limit: float

    @property
    def changed(self) -> bool:
        """Whether more has changed than convention bears and chance explains."""
        return self.index > self.limit


def _has(flag: str) -> Callable[[Seen], Hashable]:
    return lambda one: flag in one.flags


def _band(value: float, ends: Sequence[float]) -> int:
    return sum(value > end for end in ends)


_Figure = tuple[str, tuple[Hashable, ...], Callable[[Seen], Hashable]]

_FIGURES: tuple[_Figure, ...] = (
    ("maker", (*(group for group in Group if group.value.startswith("maker-")), None), lambda one: maker_of(one.maker)),
    ("slice-spacing", tuple(range(len(_SLICE_ENDS_MM) + 1)), lambda one: _band(one.slice_mm, _SLICE_ENDS_MM)),
    ("lung-density", tuple(range(len(_DENSITY_ENDS_HU) + 1)), lambda one: _band(one.lung_hu, _DENSITY_ENDS_HU)),
    *((flag.value, (False, True), _has(flag.value)) for flag in QualityFlag),
)


def drifts(studies: Sequence[Seen]) -> list[Drift]:
    """Return every figure of the newest studies beside the first ones; empty while there are too few of either.

    Args:
        studies: All measured studies, the first that came first.
    """
    reference, recent = studies[:REFERENCE], studies[REFERENCE:][-RECENT:]
    if len(recent) < FEWEST:
        return []
    by_chance = 1.0 / len(reference) + 1.0 / len(recent)
    return [
        Drift(
            figure=name,
            index=stability_index([place(one) for one in reference], [place(one) for one in recent], bins),
            limit=max(INDEX_LIMIT, _chi_squared(len(bins) - 1) * by_chance),
        )
        for name, bins, place in _FIGURES
    ]


def stability_index(reference: Sequence[Hashable], recent: Sequence[Hashable], bins: Sequence[Hashable]) -> float:
    """Return the population stability index Σ (p - q) ln(p / q) over `bins`, every bin half a study larger so that none is empty.

    Without a shift it is about (1/n + 1/m) χ² with one degree of freedom less than bins (Yurdakul and Naranjo 2020, J. Risk Model
    Validation 14(4)), so a small sample passes 0.25 by chance; `drifts` asks for more then.

    >>> stability_index("aabb", "aabb", "ab")
    0.0
    """
    p, q = (_shares(values, bins) for values in (recent, reference))
    return sum((one - other) * math.log(one / other) for one, other in zip(p, q, strict=True))


def _shares(values: Sequence[Hashable], bins: Sequence[Hashable]) -> list[float]:
    total = len(values) + len(bins) / 2
    return [(sum(value == one for value in values) + 0.5) / total for one in bins]


def _chi_squared(degrees: int) -> float:
    """Return the value that χ² passes once in a thousand (Wilson and Hilferty 1931)."""
    part = 2.0 / (9.0 * degrees)
    return degrees * (1.0 - part + _ONE_IN_THOUSAND * math.sqrt(part)) ** 3
