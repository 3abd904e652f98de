"""What a round costs by its plan, and what the site's policy allows, in the ledger's words. Pure."""

from dataclasses import replace

from client.gate.policy import TrainingPolicy
from client.ledger.account import Event
from client.ledger.store import Kind, Limit, Spend
from protocol.evaluation import SENSITIVITY
from protocol.plan import EvaluationPlan, RoundOrder
from strategies.securesum.grid import charged, grid_of

EVALUATION_ROUND = 0
"""Under this number of its run an evaluation stands in ledger and audit; rounds of training begin at 1."""


def spend_of(order: RoundOrder, *, values: int) -> Spend:
    """Return what a round costs, by the plan's public numbers.

    Args:
        order: The round.
        values: How many parameters the network has. Under secure summation they are rounded, which costs.

    Raises:
        InvalidInputError: `bad-setting` if the plan's secure summation is not sound.
        RefusedError: `too-few-sites`.
    """
    privacy, kind = order.plan.privacy, Kind.UPDATE
    if order.plan.secure_sum is not None:
        kind = Kind.SUMMAND
        privacy = charged(privacy, grid_of(order.plan), values=values)
    event = Event(
        noise_multiplier=privacy.noise_multiplier, sample_rate=privacy.sample_rate, steps=privacy.steps_per_round,
        clipping_norm=privacy.clipping_norm,
    )  # fmt: skip
    return Spend(run_id=order.run_id, round=order.round, kind=kind, lineage=order.plan.lineage, event=event)


def spends_of_run(order: RoundOrder, *, values: int, evaluated: bool) -> list[Spend]:
    """Return what a run costs from one of its rounds on, one after the other.

    Args:
        order: The round.
        values: How many parameters the network has.
        evaluated: Whether the site answers the plan's evaluation, where it has one.

    Raises:
        InvalidInputError: `bad-setting` if the plan's secure summation is not sound.
        RefusedError: `too-few-sites`.
    """
    plan, spend = order.plan, spend_of(order, values=values)
    spends = [replace(spend, round=number) for number in range(order.round, plan.rounds + 1)]
    if plan.evaluation is not None and evaluated:
        spends.append(spend_of_evaluation(order.run_id, plan.lineage, plan.evaluation))
    return spends


def spend_of_evaluation(run_id: str, lineage: str, plan: EvaluationPlan) -> Spend:
    """Return what comparing a candidate with the present release costs: one Gaussian mechanism over every held-out patient."""
    event = Event(noise_multiplier=plan.noise_multiplier, sample_rate=1.0, steps=1, clipping_norm=SENSITIVITY)
    return Spend(run_id=run_id, round=EVALUATION_ROUND, kind=Kind.EVALUATION, lineage=lineage, event=event)


def limit_of(training: TrainingPolicy) -> Limit:
    """Return the caps that the site's policy sets."""
    return Limit(
        epsilon_total=training.epsilon_total, epsilon_per_run=training.epsilon_per_run, delta=training.delta,
        epsilon_per_period=training.epsilon_per_period, period_days=training.period_days,
    )  # fmt: skip
