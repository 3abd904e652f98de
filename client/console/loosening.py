"""Says in words what a change of the policy allows that was not allowed before. Pure.

Every key has its own rule for which way is looser; a key without one counts as looser, so that a new limit cannot slip past a reader.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from client.gate.policy import SecureSumUse, SitePolicy
from protocol.plan import LabelUse


class Way(StrEnum):
    """Which way a key moved."""

    LOOSER = "looser"
    TIGHTER = "tighter"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs."""

    key: str
    before: str
    after: str
    way: Way
    words: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """`wider(before, after)` says whether the key now admits something that it did not before; `meaning` is what that is."""

    wider: Callable[[Any, Any], bool]
    meaning: str


def _greater(before: float, after: float) -> bool:
    return after > before


def _smaller(before: float, after: float) -> bool:
    return after < before


def _more(before: list[str], after: list[str]) -> bool:
    return bool(set(after) - set(before))


def _switched_on(before: bool, after: bool) -> bool:
    return after and not before


def _switched_off(before: bool, after: bool) -> bool:
    return before and not after


def _scores_too(_before: str, after: str) -> bool:
    return after == LabelUse.MASKS_AND_ZONE_SCORES


def _other_sums(before: str, _after: str) -> bool:
    """Allowed admits both ways; from either of the others to anything else, something is admitted that was not."""
    return before != SecureSumUse.ALLOWED


def _more_peers(before: list[str], after: list[str]) -> bool:
    """No keys at all take every hospital that the centre's authority vouches for."""
    return not after or (bool(before) and _more(before, after))


def minutes(hours: str) -> frozenset[int]:
    """Return the minutes of a day in a span such as 20:00-06:00, as `client.gate.policy` reads it."""
    start, end = (int(h) * 60 + int(m) for h, m in re.findall(r"(\d\d):(\d\d)", hours))
    return frozenset(m for m in range(24 * 60) if (start <= m < end if start < end else m >= start or m < end))


def _longer(before: str, after: str) -> bool:
    return bool(minutes(after) - minutes(before))


RULES = {
    "training.allowed": _Rule(_switched_on, "the site takes part in training"),
    "training.purposes": _Rule(_more, "runs for more purposes are answered"),
    "training.lineages": _Rule(_more, "more families of models may be trained"),
    "training.bundles": _Rule(_more, "runs of more app bundles are answered"),
    "training.strategies": _Rule(_more, "updates may be combined in more ways"),
    "training.minimum_peers": _Rule(_smaller, "runs with fewer other hospitals are answered"),
    "training.labels": _Rule(_scores_too, "patients without a mask are trained on by their readers' zone scores"),
    "training.hours": _Rule(_longer, "training may run at more hours"),
    "training.epsilon_total": _Rule(_greater, "training may cost patients more privacy altogether"),
    "training.epsilon_per_run": _Rule(_greater, "one run may cost patients more privacy"),
    "training.epsilon_per_period": _Rule(_greater, "a period may cost patients more privacy"),
    "training.period_days": _Rule(_smaller, "the limit of a period renews itself sooner"),
    "training.whole_plan": _Rule(_switched_off, "runs are begun that the limits do not let the site finish"),
    "training.delta": _Rule(_greater, "the promise of privacy may fail more often"),
    "training.minimum_cohort": _Rule(_smaller, "training runs with fewer patients"),
    "training.most_patients": _Rule(_greater, "training runs with more patients"),
    "training.evaluation": _Rule(_switched_on, "noised sums about held-out patients leave, and are charged"),
    "training.minimum_held_out": _Rule(_smaller, "releases are compared on fewer held-out patients"),
    "training.secure_sum": _Rule(
        _other_sums, "updates are added up in another way: in secret with shared noise, or each with its own"
    ),
    "training.secure_sum_colluders": _Rule(_smaller, "fewer colluding sites uncover this site's noise"),
    "training.secure_sum_peers": _Rule(_more_peers, "more keys are taken for those of other hospitals"),
    "sharing.cases": _Rule(_switched_on, "case records leave the hospital"),
    "sharing.standing": _Rule(_switched_on, "the network learns in one word how the release does here"),
    "reading.posts": _Rule(_switched_on, "reads are posted to the network"),
}
"""By key: which way is looser. The others say where the hospital is and on which ground it shares, not what it allows."""

_NEITHER = {"sharing.legal_basis", "reading.jurisdiction", "reading.language", "reading.reads"}


def changes(before: SitePolicy, after: SitePolicy) -> list[Change]:
    """Return every key that differs, the loosened ones first."""
    old, new = dict(_flat(before)), dict(_flat(after))
    found = [_change(key, old[key], new[key]) for key in old if old[key] != new[key]]
    return sorted(found, key=lambda change: list(Way).index(change.way))


def _change(key: str, before: object, after: object) -> Change:
    shown = (_shown(before), _shown(after))
    if key in _NEITHER:
        return Change(key, *shown, Way.OTHER, "neither looser nor tighter by itself")
    rule = RULES.get(key)
    if rule is None:
        return Change(key, *shown, Way.LOOSER, "nobody has said which way is looser, so it counts as looser")
    if rule.wider(before, after):
        return Change(key, *shown, Way.LOOSER, rule.meaning)
    return Change(key, *shown, Way.TIGHTER, "less is allowed than before")


def _flat(policy: SitePolicy) -> Iterator[tuple[str, Any]]:
    for table, keys in policy.model_dump(mode="json").items():
        for key, value in keys.items():
            yield f"{table}.{key}", sorted(value) if isinstance(value, list) else value


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
