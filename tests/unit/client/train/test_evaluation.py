"""A comparison at a site: who says no, what is charged and when, and that a second question gets the first answer."""

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.gate import gate as gates
from client.gate.gate import Gate
from client.gate.policy import Clearance, SitePolicy, TrainingPolicy
from client.store.database import connect
from client.store.records import HeldOutCase
from client.train import agreed, answers, heldout, shown
from client.train import evaluation as evaluation_module
from client.train.agreed import AgreedPlans
from client.train.answers import KeptAnswers
from client.train.cohort import Cohort, PreparedStudy
from client.train.evaluation import SiteEvaluator
from client.train.limits import EVALUATION_ROUND
from client.train.noise import Randomness
from client.train.shown import ShownWeights
from models.net import GgoNet
from models.weights import STARTING, load_arrays
from protocol.codes import Code
from protocol.errors import FederationError, RefusedError
from protocol.evaluation import EvaluationOrder, Group
from protocol.plan import EvaluationPlan, PrivacyPlan, Purpose, RunPlan
from strategies.arrays import Arrays, arrays_sha256
from tests.fakes.labelled import labelled_study
from tests.fakes.ledgers import open_ledger
from tests.fakes.rough_price import rough_price

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRESENT = load_arrays(STARTING)
CANDIDATE = {name: array * np.float32(0.99) for name, array in PRESENT.items()}
RUN = "a" * 32
ALLOWED = TrainingPolicy(
    allowed=True, purposes=(Purpose.SEGMENTATION,), lineages=("ggo",), epsilon_total=8.0, epsilon_per_run=8.0,
    evaluation=True, minimum_held_out=2,
)  # fmt: skip


def order(candidate: Arrays = CANDIDATE, **changes: Any) -> EvaluationOrder:
    privacy = PrivacyPlan(noise_multiplier=1.5, clipping_norm=0.5, sample_rate=0.5, expected_batch=1, steps_per_round=1)
    plan = RunPlan(
        base="ggo@0", sites=("northport", "southbay"), rounds=1, quorum=1, learning_rate=0.02, privacy=privacy,
        evaluation=EvaluationPlan(),
    )  # fmt: skip
    made = EvaluationOrder(
        run_id=RUN, candidate_sha256=arrays_sha256(candidate), present="ggo@0", present_sha256=arrays_sha256(PRESENT), plan=plan
    )  # fmt: skip
    return made.model_copy(update=changes)


class Silent(Randomness):
    """No noise: what is added up shows."""

    def normal64(self, shape: tuple[int, ...], *, std: float) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float64)


class Site:
    """An evaluator with everything real but the clock and the price."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policy = SitePolicy(training=ALLOWED)
        studies = [labelled_study(folder / "studies", study, study) for study in (1, 2)]
        self.cases = [HeldOutCase(case, "female", "50-59", "SIEMENS") for case in studies]
        self.evaluator = self.start()

    def start(self) -> SiteEvaluator:
        """Start the runner's evaluator anew, as after a death."""
        database = self.folder / "node.db"
        gate = Gate(connect(database, gates.SCHEMA), lambda: self.policy, lambda: NOW, self.folder / "audit.head")
        self.evaluator = SiteEvaluator(
            site="northport", policy=lambda: self.policy, gate=gate,
            ledger=open_ledger(database, lambda: NOW, price=rough_price),
            kept=KeptAnswers(connect(database, answers.SCHEMA)), agreed=AgreedPlans(connect(database, agreed.SCHEMA)), shown=ShownWeights(connect(database, shown.SCHEMA)), cases=lambda: self.cases,
            cohort=Cohort(self.folder / "prepared", None), release=self.shelf, now=lambda: NOW,
        )  # type: ignore[arg-type] # fmt: skip
        return self.evaluator

    def shelf(self, name: str) -> Arrays:
        if name != "ggo@0":
            raise RefusedError(Code.POLICY_LINEAGE)
        return PRESENT

    def allow(self, **changes: Any) -> None:
        self.policy = SitePolicy(training=ALLOWED.model_copy(update=changes))

    def refused(self, asked: EvaluationOrder, candidate: Arrays = CANDIDATE) -> Code:
        with pytest.raises(FederationError) as refusal:
            self.evaluator.answer(asked, candidate)
        return refusal.value.code

    def charges(self) -> list[tuple[int, float]]:
        entries = self.evaluator.ledger.history()
        return [(entry.spend.round, entry.spend.event.noise_multiplier) for entry in entries]

    def audit(self) -> list[tuple[str, str, str]]:
        return [(row.event, row.subject, row.verdict) for row in self.evaluator.gate.audit.rows()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_an_order_is_judged_charged_answered_and_audited(site: Site) -> None:
    notice = site.evaluator.answer(order(), CANDIDATE)
    assert (notice.run_id, notice.site) == (RUN, "northport")
    assert (notice.candidate_sha256, notice.present_sha256) == (arrays_sha256(CANDIDATE), arrays_sha256(PRESENT))
    assert Group.ALL in {one.group for one in notice.sums}
    assert site.charges() == [(EVALUATION_ROUND, 4.0)]
    shown_to_it = site.evaluator.shown.connection.execute("SELECT * FROM shown_weights").fetchall()
    assert [tuple(row) for row in shown_to_it] == [(RUN, 0, arrays_sha256(CANDIDATE))]
    (charge,) = site.evaluator.ledger.history()
    assert site.audit() == [
        ("order.judged", f"{RUN}:0", "clear"), ("budget.charged", f"1:{charge.hash}", "clear"), ("evaluation.released", RUN, "clear"),
    ]  # fmt: skip


def test_a_comparison_belongs_to_the_plan_of_its_run(site: Site) -> None:
    """Less noise than the run was begun with would cost more than was foreseen."""
    plan = order().plan
    assert isinstance(site.evaluator.agreed.judge(RUN, plan), Clearance)
    louder = plan.model_copy(update={"evaluation": EvaluationPlan(noise_multiplier=1.0)})
    assert site.refused(order(plan=louder)) is Code.PLAN_CHANGED
    assert site.charges() == []
    assert site.audit() == [("order.judged", f"{RUN}:0", "plan-changed")]
    site.evaluator.answer(order(), CANDIDATE)


def test_what_left_stands_in_the_audit_word_for_word(site: Site) -> None:
    notice = site.evaluator.answer(order(), CANDIDATE)
    bodies = [row.body for row in site.evaluator.gate.audit.rows() if row.event == "evaluation.released"]
    assert bodies == [notice.model_dump_json()]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"allowed": False}, Code.POLICY_PURPOSE),
        ({"purposes": ()}, Code.POLICY_PURPOSE),
        ({"lineages": ()}, Code.POLICY_LINEAGE),
        ({"hours": "20:00-06:00"}, Code.POLICY_HOURS),
        ({"evaluation": False}, Code.POLICY_EVALUATION),
        ({"minimum_held_out": 3}, Code.COHORT_TOO_SMALL),
        ({"most_patients": 1}, Code.COHORT_TOO_LARGE),
        ({"epsilon_total": 0.001}, Code.BUDGET_SPENT),
        ({"epsilon_per_run": 0.001}, Code.BUDGET_SPENT),
    ],
    ids=str,
)
def test_what_the_policy_refuses_is_not_computed_not_charged_and_audited(
    site: Site, changes: dict[str, Any], code: Code
) -> None:
    site.allow(**changes)
    assert site.refused(order()) is code
    assert site.charges() == []
    assert site.audit()[-1] == ("order.judged", f"{RUN}:0", code.value)
    assert not (site.folder / "prepared").exists()


def test_a_policy_says_nothing_of_held_out_patients_unless_a_person_wants_it() -> None:
    assert not SitePolicy().training.evaluation


def test_weights_that_no_training_makes_are_refused_before_the_charge(site: Site) -> None:
    odd = {name: array.copy() for name, array in CANDIDATE.items()}
    odd["head.bias"][0] = 1e30
    assert site.refused(order(odd), odd) is Code.BAD_WEIGHTS
    assert site.charges() == []


def test_other_weights_than_the_order_names_are_refused(site: Site) -> None:
    assert site.refused(order(), PRESENT) is Code.SIGNATURE_INVALID
    assert site.charges() == []


def test_a_release_that_the_site_does_not_hold_is_no_measure(site: Site) -> None:
    assert site.refused(order(present="ggo@7")) is Code.POLICY_LINEAGE
    assert site.refused(order(present_sha256="0" * 64)) is Code.POLICY_LINEAGE
    assert site.charges() == []


def test_asked_again_a_site_says_the_same_numbers_and_pays_once(site: Site) -> None:
    first = site.evaluator.answer(order(), CANDIDATE)
    assert site.evaluator.answer(order(), CANDIDATE) == first
    assert site.start().answer(order(), CANDIDATE) == first
    assert len(site.charges()) == 1


def test_a_run_is_evaluated_once(site: Site) -> None:
    site.evaluator.answer(order(), CANDIDATE)
    assert site.refused(order(PRESENT), PRESENT) is Code.ALREADY_EXISTS
    assert len(site.charges()) == 1


def test_who_withdraws_during_a_comparison_is_not_spoken_of(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks over every slice of everybody take long, and the answer is about those who are held out when it leaves."""
    looked: list[str] = []
    dice = heldout.smoothed_dice

    def withdraw_and_look(net: GgoNet, study: PreparedStudy, *, device: str) -> float:
        looked.append(study._case.study_key)
        if len(looked) == 3:  # the first patient is done, the second has begun
            site.cases = site.cases[:0]
        return dice(net, study, device=device)

    monkeypatch.setattr(heldout, "smoothed_dice", withdraw_and_look)
    site.evaluator = replace(site.evaluator, randomness=Silent())
    notice = site.evaluator.answer(order(), CANDIDATE)
    assert [(one.group, one.gain, one.cases) for one in notice.sums] == [(Group.ALL, 0, 0)]


@pytest.mark.parametrize("moment", ["differences", "noised_sums"])
def test_a_death_after_the_charge_stays_charged_once(site: Site, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluation_module, moment, die)
        with pytest.raises(KeyboardInterrupt):
            site.evaluator.answer(order(), CANDIDATE)
    assert len(site.charges()) == 1
    site.start().answer(order(), CANDIDATE)
    assert len(site.charges()) == 1


def test_an_answer_that_cannot_be_kept_does_not_leave(site: Site) -> None:
    class Full(KeptAnswers):
        def keep(self, *_args: object) -> None:
            raise sqlite3.OperationalError("disk full")

    evaluator = replace(site.evaluator, kept=Full(site.evaluator.kept.connection))
    with pytest.raises(sqlite3.OperationalError):
        evaluator.answer(order(), CANDIDATE)
    assert "evaluation.released" not in {event for event, _, _ in site.audit()}


def test_a_database_put_back_answers_nothing(site: Site) -> None:
    site.evaluator.answer(order(), CANDIDATE)
    (site.folder / "audit.head").write_text("9 " + "0" * 64)
    assert site.refused(order()) is Code.AUDIT_BROKEN


def test_a_worse_candidate_shows_under_little_noise(site: Site) -> None:
    """Two patients all of whose lung is called opacity, where the shipped network is good: each counts for one clip against it."""
    blind = {name: np.zeros_like(array) for name, array in PRESENT.items()}
    asked = order(blind)
    quiet = asked.plan.model_copy(update={"evaluation": EvaluationPlan(noise_multiplier=0.01)})
    site.allow(epsilon_total=1000.0, epsilon_per_run=1000.0)
    site.evaluator = replace(
        site.evaluator, ledger=open_ledger(site.folder / "node.db", lambda: NOW, price=lambda *_: 1.0)
    )
    notice = site.evaluator.answer(asked.model_copy(update={"plan": quiet}), blind)
    overall = next(one for one in notice.sums if one.group is Group.ALL)
    assert (overall.gain, overall.cases) == (-2, 2)
