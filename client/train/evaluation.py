"""Answers an order to compare a candidate with the present release: judge it, charge it, compare, add noise, write it down, let it go.

The order of steps is that of training (`client.train.site`). Nothing is computed from a patient before the charge, and what has left once
is said again word for word.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from client.gate.gate import Gate
from client.gate.policy import Clearance, Refusal, SitePolicy, judge_evaluation
from client.ledger.store import BudgetLedger, Charged, Refused
from client.store.records import HeldOutCase
from client.train.agreed import AgreedPlans
from client.train.answers import KeptAnswers
from client.train.cohort import Cohort
from client.train.heldout import HeldOutPatient, differences, held_out_patients, noised_sums
from client.train.limits import EVALUATION_ROUND, limit_of, spend_of_evaluation
from client.train.noise import Randomness
from client.train.shown import ShownWeights
from models.weights import from_arrays
from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.evaluation import EvaluationNotice, EvaluationOrder, GroupSum
from protocol.plan import EvaluationPlan
from strategies.arrays import Arrays, arrays_sha256, within_reach

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteEvaluator:
    """Everything that an evaluation needs of its site.

    Attributes:
        site: Its name in the network.
        policy: Reads the site's policy; asked for every order.
        gate: Writes verdicts and answers into the audit.
        ledger: The privacy ledger.
        kept: Answers that have left.
        agreed: The plans of the runs that the site takes part in.
        shown: The weights that it was shown in them.
        cases: Returns the studies with a mask of patients who are held out and never trained on.
        cohort: Prepares them.
        release: Returns the weights of a release on the site's shelf, or raises `policy-lineage`.
        now: Local time.
        device: A torch device.
        randomness: The operating system's, outside tests.
    """

    site: str
    policy: Callable[[], SitePolicy]
    gate: Gate
    ledger: BudgetLedger
    kept: KeptAnswers
    agreed: AgreedPlans
    shown: ShownWeights
    cases: Callable[[], list[HeldOutCase]]
    cohort: Cohort
    release: Callable[[str], Arrays]
    now: Callable[[], datetime]
    device: str = "cpu"
    randomness: Randomness = field(default_factory=Randomness)

    def answer(self, order: EvaluationOrder, candidate: Arrays) -> EvaluationNotice:
        """Return what may leave of the comparison.

        Args:
            order: What the centre asks.
            candidate: The weights it sent with it.

        Raises:
            RefusedError: `policy-...`, `cohort-too-small`, `plan-changed`, `signature-invalid` for other weights than the order names,
                `bad-weights` for such as no training makes, `budget-spent`;
                `audit-broken` if ledger or audit do not verify.
            ConflictError: `already-exists` if another evaluation of the run was answered before.
            InvalidInputError: `bad-shape` if the weights are of another architecture.
            UnavailableError: `disk-full`, `node-fault`; nothing leaves then.
        """
        self.gate.audit.verify()  # an old copy of the database, put back, would forget what was spent
        patients = held_out_patients(self.cases(), self.cohort.patients)
        present = self._judged(order, patients, candidate)
        notice = self.kept.find(order)
        if notice is None:
            charged = self._charge(order)
            notice = self._notice(order, self._compared(order, patients, candidate, present), charged)
            self.kept.keep(order, notice)
        self.gate.note_evaluation(notice)
        log.info("evaluation.answered run=%s", order.run_id)
        return notice

    def _judged(self, order: EvaluationOrder, patients: list[HeldOutPatient], candidate: Arrays) -> Arrays:
        """Compare the order with policy, weights and the plan of before; the verdict is audited. Return the weights of the present release."""
        verdict = judge_evaluation(order, self.policy(), held_out=len(patients), now=self.now())
        present: Arrays = {}
        if isinstance(verdict, Clearance):
            verdict, present = self._weights_judged(order, candidate)
        if isinstance(verdict, Clearance):
            verdict = self.agreed.judge(order.run_id, order.plan)
        self.gate.note_order(order.run_id, EVALUATION_ROUND, verdict)
        if isinstance(verdict, Refusal):
            raise RefusedError(verdict.code)
        return present

    def _weights_judged(self, order: EvaluationOrder, candidate: Arrays) -> tuple[Clearance | Refusal, Arrays]:
        """The candidate must be the one that the order names, and the present release one that the site holds."""
        if arrays_sha256(candidate) != order.candidate_sha256:
            return Refusal(code=Code.SIGNATURE_INVALID), {}
        if not within_reach(candidate):
            return Refusal(code=Code.BAD_WEIGHTS), {}
        try:
            present = self.release(order.present)
        except RefusedError as error:
            return Refusal(code=error.code), {}
        if arrays_sha256(present) != order.present_sha256:
            return Refusal(code=Code.POLICY_LINEAGE), {}
        return Clearance(), present

    def _charge(self, order: EvaluationOrder) -> Charged:
        """Charge the comparison before anything is computed from a patient, and before that write down of which weights it is.

        Raises:
            RefusedError: `budget-spent`; nothing is charged then.
        """
        self.shown.note_candidate(order)
        spend = spend_of_evaluation(order.run_id, order.plan.lineage, planned(order))
        outcome = self.ledger.charge(spend, limit=limit_of(self.policy().training))
        if isinstance(outcome, Refused):
            self.gate.note_order(order.run_id, EVALUATION_ROUND, Refusal(code=outcome.code))
            raise RefusedError(outcome.code)
        return outcome

    def _compared(
        self, order: EvaluationOrder, patients: list[HeldOutPatient], candidate: Arrays, present: Arrays
    ) -> tuple[GroupSum, ...]:
        found = differences(patients, from_arrays(candidate), from_arrays(present), device=self.device)
        left = {one.case.subject_key for one in self.cases()}  # anew: who withdrew meanwhile is not spoken of
        said = [one for one, of in zip(found, patients, strict=True) if of.subject_key in left]
        return noised_sums(said, planned(order), self.randomness)

    def _notice(self, order: EvaluationOrder, sums: tuple[GroupSum, ...], charged: Charged) -> EvaluationNotice:
        return EvaluationNotice(
            run_id=order.run_id, site=self.site, candidate_sha256=order.candidate_sha256, present_sha256=order.present_sha256,
            sums=sums, epsilon=charged.epsilon, delta=self.policy().training.delta,
        )  # fmt: skip


def planned(order: EvaluationOrder) -> EvaluationPlan:
    """Return the order's evaluation; the shape promises that there is one.

    Raises:
        RefusedError: `policy-evaluation` if it was made without validation.
    """
    if order.plan.evaluation is None:
        raise RefusedError(Code.POLICY_EVALUATION)
    return order.plan.evaluation
