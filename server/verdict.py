"""Whether a candidate may take the present release's place, from what the sites say of their held-out patients. Pure."""

import math
from collections.abc import Collection

from protocol.codes import Code
from protocol.evaluation import (
    CLIP,
    COUNT_WEIGHT,
    SENSITIVITY,
    Evaluation,
    EvaluationNotice,
    Group,
    GroupSum,
    GroupVerdict,
    Outcome,
)
from protocol.plan import EvaluationPlan

_NOISE_AT_MOST = 6.0
"""Standard deviations. An honest sum is further than so much beyond its patients once in 500 million."""

_PLACES = 4


def concluded(plan: EvaluationPlan, present: str, notices: Collection[EvaluationNotice]) -> Evaluation:
    """Return what the answers come to.

    A worse answer never helps a candidate: with the same patients, a smaller gain of any site and group turns no refusal into a promotion.

    Args:
        plan: The numbers that were agreed.
        present: The release that the candidate was compared with.
        notices: One for each site that answered.
    """
    groups = tuple(_judged(plan, group, notices) for group in Group)
    return Evaluation(
        present=present, sites=len(notices), margin=plan.margin, groups=groups, reason=_reason(plan, len(notices), groups),
    )  # fmt: skip


def _reason(plan: EvaluationPlan, sites: int, groups: tuple[GroupVerdict, ...]) -> Code | None:
    """Uncertain about all patients together is a refusal; uncertain about a group is not, for most have few patients."""
    overall = next(one for one in groups if one.group is Group.ALL)
    if sites < plan.minimum_sites or overall.outcome is Outcome.UNSURE:
        return Code.EVALUATION_MISSED
    return Code.WORSE_THAN_PRESENT if any(one.outcome is Outcome.WORSE for one in groups) else None


def _judged(plan: EvaluationPlan, group: Group, notices: Collection[EvaluationNotice]) -> GroupVerdict:
    """Judge one group where the noise is at most half the margin."""
    said = [
        _bounded(one, plan)
        for notice in notices
        for one in notice.sums
        if one.group is group and _is_spoken_of(one, plan)
    ]
    gain, cases = sum(gain for gain, _ in said), sum(cases for _, cases in said)
    noise = _noise(plan) * math.sqrt(len(said))
    if cases < 1 or noise / cases > plan.margin / 2:
        outcome = Outcome.UNSURE
    else:
        outcome = Outcome.WORSE if CLIP * gain / cases < -plan.margin else Outcome.HOLDS
    return GroupVerdict(
        group=group, sites=len(said), cases=max(0, round(cases)), outcome=outcome,
        change=_within(CLIP * gain / cases, 1.0) if cases >= 1 else 0.0, error=_within(noise / cases, 1.0) if cases >= 1 else 1.0,
    )  # fmt: skip


def _noise(plan: EvaluationPlan) -> float:
    """Return what the noise of one site comes to in a mean at the margin, times the patients.

    The count is noisy too, which blurs a mean in proportion to it. Taken at the margin, where it matters, and not at the mean itself:
    else a worse mean would count as less sure, and a loss could hide behind its size.
    """
    blur = plan.margin / (CLIP * COUNT_WEIGHT)
    return CLIP * plan.noise_multiplier * SENSITIVITY * math.hypot(1.0, blur)


def _is_spoken_of(said: GroupSum, plan: EvaluationPlan) -> bool:
    """Say whether a site may speak of the group at all: who does so below the plan's minimum is no honest site."""
    return said.group is Group.ALL or said.cases >= plan.minimum_group


def _bounded(said: GroupSum, plan: EvaluationPlan) -> tuple[float, float]:
    """Return gain and cases of a site, held to what so many patients and the noise can come to, and to the site's share at most.

    So a hostile site moves the mean by no more than honest patients of its number would, and takes nobody else's patients out of it: a count
    far below zero would leave none to judge by.
    """
    noise = _NOISE_AT_MOST * plan.noise_multiplier * SENSITIVITY
    most, cases = max(said.cases, 0) + noise, max(-noise / COUNT_WEIGHT, float(said.cases))
    gain = max(-most, min(most, float(said.gain)))
    share = min(1.0, plan.most_cases / cases) if cases > 0 else 1.0
    return gain * share, cases * share


def _within(value: float, most: float) -> float:
    return round(max(-most, min(most, value)), _PLACES)
