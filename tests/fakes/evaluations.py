"""A plan with an evaluation, a site's answer to it, and what may follow, with nothing behind them."""

from typing import Any

from protocol.codes import Code
from protocol.evaluation import Evaluation, EvaluationNotice, EvaluationOrder, Group, GroupSum, GroupVerdict, Outcome
from protocol.plan import EvaluationPlan, RunPlan
from strategies.arrays import arrays_sha256
from tests.fakes.rounds import RUN, a_plan, weights


def an_evaluated_plan(**changes: Any) -> RunPlan:
    return a_plan(evaluation=EvaluationPlan(noise_multiplier=1.0), **changes)


def an_evaluation_order(**changes: Any) -> EvaluationOrder:
    content = {
        "run_id": RUN, "candidate_sha256": arrays_sha256(weights(3.0)), "present": "ggo@0",
        "present_sha256": arrays_sha256(weights()), "plan": an_evaluated_plan(),
    }  # fmt: skip
    return EvaluationOrder.model_validate(content | changes)


def evaluated_by(
    order: EvaluationOrder, site: str, /, gain: int = 0, cases: int = 100, **changes: Any
) -> EvaluationNotice:
    """A site's honest answer; `changes` make it less honest."""
    content = {
        "run_id": order.run_id, "site": site, "candidate_sha256": order.candidate_sha256, "present_sha256": order.present_sha256,
        "sums": (GroupSum(group=Group.ALL, gain=gain, cases=cases),), "epsilon": 1.0, "delta": 1e-5,
    }  # fmt: skip
    return EvaluationNotice.model_validate(content | changes)


def an_evaluation(reason: Code | None = None, present: str = "ggo@0") -> Evaluation:
    outcome = Outcome.HOLDS if reason is None else Outcome.WORSE
    overall = GroupVerdict(group=Group.ALL, sites=3, cases=300, change=0.0, error=0.001, outcome=outcome)
    return Evaluation(present=present, sites=3, margin=0.02, groups=(overall,), reason=reason)
