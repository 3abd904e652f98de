"""Answers an order to train: look at it, judge it, charge it, train, keep the update, write it down, and only then let it go.

Whatever dies in between leaves the site on the safe side: charged without an update, or with an update that is sent again as it is.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from client.gate.gate import Gate
from client.gate.policy import Clearance, Refusal, SitePolicy, Verdict, judge_order, labels_for
from client.ledger.store import BudgetLedger, Charged, Refused
from client.store.records import TrainingCase
from client.train.agreed import AgreedPlans
from client.train.cohort import Cohort
from client.train.kept import KeptUpdates
from client.train.limits import EVALUATION_ROUND, limit_of, spend_of
from client.train.noise import Randomness
from client.train.private import Patient, train_privately
from client.train.prospect import judge_prospect, prospect_of
from client.train.shown import ShownWeights
from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import LabelUse, RoundOrder, UpdateNotice
from strategies.arrays import Arrays, added, arrays_sha256, check_update, within_reach
from strategies.norms import norms_of, sent_part, with_norms
from strategies.securesum.step import values_of

Update = dict[str, NDArray[np.float32]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTrainer:
    """Everything that training needs of its site.

    Attributes:
        site: Its name in the network.
        policy: Reads the site's policy; asked for every order, so that an edit takes effect at once.
        gate: Writes verdicts and updates into the audit.
        ledger: The privacy ledger.
        kept: Updates that have left.
        agreed: The plans of the runs that it takes part in.
        shown: The weights that it was shown in them.
        cases: Returns the labelled studies that are not held out, by the labels that may be used.
        cohort: Prepares them.
        base: Returns the weights of a release on the site's shelf, or raises `policy-lineage`.
        now: Local time.
        device: A torch device.
        randomness: The operating system's, outside tests.
    """

    site: str
    policy: Callable[[], SitePolicy]
    gate: Gate
    ledger: BudgetLedger
    kept: KeptUpdates
    agreed: AgreedPlans
    shown: ShownWeights
    cases: Callable[[LabelUse], list[TrainingCase]]
    cohort: Cohort
    base: Callable[[str], Arrays]
    now: Callable[[], datetime]
    device: str = "cpu"
    randomness: Randomness = field(default_factory=Randomness)

    def answer(self, order: RoundOrder, base: Arrays) -> tuple[UpdateNotice, Update]:
        """Return the update of one round with its notice; both may leave.

        Args:
            order: What the centre asks.
            base: The weights it sent with it.

        Raises:
            RefusedError: `signature-invalid` for other weights than the order names, `bad-weights` for such as no training makes;
                `policy-...`, `cohort-too-small`, `budget-too-small`, `plan-changed`, `budget-spent`; `audit-broken` if ledger or audit do not verify.
            ConflictError: `already-exists` if the round was answered before and cannot be answered alike again, or failed before.
            InvalidInputError: `bad-shape` if the weights are of another architecture.
            UnavailableError: `disk-full`, `node-fault`; nothing leaves then.
        """
        if order.plan.secure_sum is not None:  # an update of its own is not what the plan says
            self.gate.note_order(order.run_id, order.round, Refusal(code=Code.POLICY_SECURE_SUM))
            raise RefusedError(Code.POLICY_SECURE_SUM)
        training = self.policy().training
        patients = self.patients(order)
        self.judge(order, patients, base)
        update = self.kept.find(order)
        charged = self.charge(order, base)
        if update is None:
            update, norms = self._trained_once(order, base, patients)
            self.kept.keep(order, update, norms)
        notice = UpdateNotice(
            run_id=order.run_id, round=order.round, site=self.site, base_sha256=order.base_sha256,
            update_sha256=arrays_sha256(update), epsilon=charged.epsilon, delta=training.delta,
        )  # fmt: skip
        self.gate.note_update(notice)
        return notice, update

    def patients(self, order: RoundOrder) -> list[Patient]:
        """Return the patients on whom an order may be trained, prepared.

        Raises:
            RefusedError: `audit-broken`.
        """
        self.gate.audit.verify()  # an old copy of the database, put back, would forget what was spent
        return self._present_patients(order)

    def _present_patients(self, order: RoundOrder) -> list[Patient]:
        return self.cohort.patients(self.cohort.readable(self.cases(labels_for(order, self.policy()))))

    def judge(self, order: RoundOrder, patients: list[Patient], base: Arrays | None) -> None:
        """Compare the order with policy, weights, before the first round the budget, and what was agreed of the run; the verdict is audited.

        Args:
            order: What the centre asks.
            patients: On whom it would be trained.
            base: The weights that came with it; `None` where they come later (`client.train.secure`).

        Raises:
            RefusedError: The site does not take part.
        """
        verdict = judge_order(order, self.policy(), cohort=len(patients), now=self.now())
        if isinstance(verdict, Clearance):
            verdict = self._judge_base(order, base)
        if isinstance(verdict, Clearance):
            verdict = self._judge_run(order)
        if isinstance(verdict, Clearance):
            verdict = self.agreed.judge(order.run_id, order.plan)
        self.gate.note_order(order.run_id, order.round, verdict)
        if isinstance(verdict, Refusal):
            raise RefusedError(verdict.code)

    def _judge_base(self, order: RoundOrder, base: Arrays | None) -> Verdict:
        """The weights must be those that the order names, of a size that training makes; a first round starts from a release of the site's."""
        if base is not None and arrays_sha256(base) != order.base_sha256:
            return Refusal(code=Code.SIGNATURE_INVALID)
        if base is not None and not within_reach(base):
            return Refusal(code=Code.BAD_WEIGHTS)
        try:
            known = self.base(order.plan.base)
        except RefusedError as error:
            return Refusal(code=error.code)
        if order.round == 1 and arrays_sha256(known) != order.base_sha256:
            return Refusal(code=Code.POLICY_LINEAGE)
        return Clearance()

    def _judge_run(self, order: RoundOrder) -> Verdict:
        """Before this round or an earlier one was charged, the budget is compared with all that is to come of the run.

        A later round, or the evaluation, that was asked for first has shown no more than its own price.
        """
        if any(EVALUATION_ROUND < number <= order.round for number in self.ledger.rounds_of(order.run_id)):
            return Clearance()
        training = self.policy().training
        prospect = prospect_of(self.ledger, order, training, values=values_of(self.base(order.plan.base)))
        verdict = judge_prospect(prospect, training)
        log.info(
            "run.foreseen run=%s rounds=%d passing=%d epsilon=%.2f",
            order.run_id, prospect.rounds, prospect.passing, prospect.epsilon_whole,
        )  # fmt: skip
        return verdict

    def charge(self, order: RoundOrder, base: Arrays) -> Charged:
        """Charge the round before anything is computed from a patient, and before that write down from which weights it is.

        Raises:
            RefusedError: `budget-spent`; nothing is charged then.
        """
        self.shown.note(order)
        spend = spend_of(order, values=values_of(base))
        outcome = self.ledger.charge(spend, limit=limit_of(self.policy().training))
        if isinstance(outcome, Refused):
            self.gate.note_order(order.run_id, order.round, Refusal(code=outcome.code))
            raise RefusedError(outcome.code)
        return outcome

    def _trained_once(self, order: RoundOrder, base: Arrays, patients: list[Patient]) -> tuple[Update, Update | None]:
        """Train; a round that fails is not tried again, or one charge would pay for as many failures as the centre likes to cause."""
        try:
            return self._train(order, base, patients)
        except Exception:
            self.kept.spoil(order)
            raise

    def _train(self, order: RoundOrder, base: Arrays, patients: list[Patient]) -> tuple[Update, Update | None]:
        """Return the update as it may leave, and the norms that stay where the plan wants that.

        `patients` is read anew after each step. Norms that stay are clipped and noised like everything else: what is sent in the next round depends on them.
        """

        def progress(step: int) -> None:
            log.info("round.step run=%s round=%d step=%d", order.run_id, order.round, step)
            patients[:] = self._present_patients(order)  # who withdrew meanwhile enters no later step

        plan = order.plan
        start = with_norms(base, self.kept.norms(plan.lineage)) if plan.keep_norms else base
        change = train_privately(
            start, patients, order, randomness=self.randomness, device=self.device, after_step=progress
        )
        check_update(change, start)
        return sent_part(plan, change), norms_of(added(start, change)) if plan.keep_norms else None
