"""Can this run be had? Said before anything is charged or computed, with what it would cost."""

from dataclasses import dataclass

from client.gate.policy import Clearance, Refusal, TrainingPolicy, Verdict
from client.ledger.store import BudgetLedger
from client.train.limits import EVALUATION_ROUND, limit_of, spends_of_run
from protocol.codes import Code
from protocol.plan import RoundOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What a run would come to at a site, from one of its rounds on, if nothing else were charged meanwhile.

    Attributes:
        rounds: How many are to be played and were not charged yet.
        passing: How many of them the caps allow, one after the other.
        whole: Whether all do, and the evaluation after them where the site answers one.
        epsilon: Of everything ever charged, after those that pass.
        epsilon_run: Of the run alone, after those that pass.
        epsilon_whole: Of everything ever charged, if all were.
    """

    rounds: int
    passing: int
    whole: bool
    epsilon: float
    epsilon_run: float
    epsilon_whole: float


def prospect_of(ledger: BudgetLedger, order: RoundOrder, training: TrainingPolicy, *, values: int) -> Prospect:
    """Return what the run of `order` would come to, from that round on.

    Args:
        ledger: The site's.
        order: A round of the run.
        training: The site's caps, and whether it answers evaluations.
        values: How many parameters the network has.

    Raises:
        InvalidInputError: `bad-setting` if the plan's secure summation is not sound.
        RefusedError: `audit-broken`, `too-few-sites`.
    """
    charged = ledger.rounds_of(order.run_id)
    asked = spends_of_run(order, values=values, evaluated=training.evaluation)
    spends = [spend for spend in asked if spend.round not in charged]
    found = ledger.forecast(spends, limit=limit_of(training))
    rounds = sum(spend.round != EVALUATION_ROUND for spend in spends)
    return Prospect(
        rounds=rounds, passing=min(found.passing, rounds), whole=found.passing == len(spends), epsilon=found.epsilon,
        epsilon_run=found.epsilon_run, epsilon_whole=found.epsilon_whole,
    )  # fmt: skip


def judge_prospect(prospect: Prospect, training: TrainingPolicy) -> Verdict:
    """Say whether the site begins such a run: only one that it can take part in to the end, unless its policy says `whole_plan = false`."""
    if training.whole_plan and not prospect.whole:
        return Refusal(code=Code.BUDGET_TOO_SMALL)
    return Clearance() if prospect.passing or prospect.whole else Refusal(code=Code.BUDGET_SPENT)
