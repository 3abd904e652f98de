"""An order at a site: who says no, in which order things happen, and what a death in between leaves behind."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.gate import gate as gates
from client.gate.gate import Gate
from client.gate.policy import Clearance, SitePolicy, TrainingPolicy
from client.ledger.account import epsilon
from client.ledger.store import Price
from client.store.database import connect
from client.store.records import ZoneLabel
from client.train import agreed, kept, shown
from client.train.agreed import AgreedPlans
from client.train.cohort import Cohort
from client.train.kept import KeptUpdates
from client.train.limits import limit_of, spend_of_evaluation, spends_of_run
from client.train.noise import Randomness
from client.train.private import Patient, train_privately
from client.train.prospect import judge_prospect, prospect_of
from client.train.shown import ShownWeights
from client.train.site import SiteTrainer
from models.net import GgoNet
from models.slabs import PatientSlices
from models.weights import STARTING, load_arrays
from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError, RefusedError, UnavailableError
from protocol.plan import (
    EvaluationPlan,
    PrivacyPlan,
    Purpose,
    RoundOrder,
    RunPlan,
    SecureSumPlan,
    StrategyName,
    UpdateNotice,
)
from protocol.shape import canonical_json
from strategies.arrays import Arrays, arrays_sha256, check_update
from strategies.message import pack_notice
from strategies.norms import norms_of
from tests.fakes.labelled import labelled_study
from tests.fakes.ledgers import open_ledger
from tests.fakes.random_bytes import CountedBytes

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE = load_arrays(STARTING)
RUN = "a" * 32
ALLOWED = TrainingPolicy(
    allowed=True, purposes=(Purpose.SEGMENTATION,), lineages=("ggo",), epsilon_total=8.0, epsilon_per_run=8.0,
    minimum_cohort=2,
)  # fmt: skip


def order(number: int = 1, base: Arrays = BASE, *, rounds: int = 9, **changes: Any) -> RoundOrder:
    privacy = PrivacyPlan(noise_multiplier=1.5, clipping_norm=0.5, sample_rate=0.5, expected_batch=1, steps_per_round=1)
    plan = RunPlan(
        base="ggo@0",
        sites=("northport",),
        rounds=rounds,
        quorum=1,
        learning_rate=0.02,
        slices_per_patient=2,
        privacy=privacy,
    )
    made = RoundOrder(run_id=RUN, round=number, base_sha256=arrays_sha256(base), plan=plan)
    return made.model_copy(update=changes)


def no_network(release: str) -> GgoNet:
    raise AssertionError(f"{release}: masks need no network")


class Site:
    """A trainer with everything real but the clock and the seed."""

    def __init__(self, folder: Path, *, allowed: float = 8.0, price: Price = epsilon) -> None:
        self.folder = folder
        self.price = price
        limits = {"epsilon_total": allowed, "epsilon_per_run": allowed}
        self.policy = SitePolicy(training=ALLOWED.model_copy(update=limits))
        self.cases = [labelled_study(folder / "studies", study, study) for study in (1, 2)]
        self.trainer = self.start()

    def start(self) -> SiteTrainer:
        """Start the runner's trainer anew, as after a death."""
        database = self.folder / "node.db"
        gate = Gate(connect(database, gates.SCHEMA), lambda: self.policy, lambda: NOW, self.folder / "audit.head")
        self.trainer = SiteTrainer(
            site="northport", policy=lambda: self.policy, gate=gate,
            ledger=open_ledger(database, lambda: NOW, price=self.price),
            kept=KeptUpdates(connect(database, kept.SCHEMA), self.folder / "updates"), agreed=AgreedPlans(connect(database, agreed.SCHEMA)),
            shown=ShownWeights(connect(database, shown.SCHEMA)),
            cases=lambda _use: self.cases, cohort=Cohort(self.folder / "prepared", no_network), base=self.shelf, now=lambda: NOW,
            randomness=Randomness(),
        )  # fmt: skip
        return self.trainer

    def shelf(self, name: str) -> Arrays:
        if name != "ggo@0":
            raise RefusedError(Code.POLICY_LINEAGE)
        return BASE

    def refused(self, asked: RoundOrder, base: Arrays = BASE) -> Code:
        with pytest.raises(FederationError) as refusal:
            self.trainer.answer(asked, base)
        return refusal.value.code

    def charges(self) -> list[int]:
        return [entry.spend.round for entry in self.trainer.ledger.history()]

    def shown(self) -> list[tuple[int, str]]:
        rows = self.trainer.shown.connection.execute("SELECT round, weights_sha256 FROM shown_weights").fetchall()
        return [tuple(row) for row in rows]

    def audit(self) -> list[tuple[str, str, str]]:
        return [(row.event, row.subject, row.verdict) for row in self.trainer.gate.audit.rows()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_an_order_is_judged_charged_answered_and_audited(site: Site) -> None:
    notice, update = site.trainer.answer(order(), BASE)
    check_update(update, BASE)
    assert any(np.any(array) for array in update.values())
    assert notice == UpdateNotice(
        run_id=RUN, round=1, site="northport", base_sha256=arrays_sha256(BASE), update_sha256=arrays_sha256(update),
        epsilon=site.trainer.ledger.epsilon(1e-5), delta=1e-5,
    )  # fmt: skip
    assert site.charges() == [1]
    (charge,) = site.trainer.ledger.history()
    assert site.audit() == [
        ("order.judged", f"{RUN}:1", "clear"), ("budget.charged", f"1:{charge.hash}", "clear"), ("update.released", f"{RUN}:1", "clear"),
    ]  # fmt: skip
    released = [row.body for row in site.trainer.gate.audit.rows() if row.event == "update.released"]
    assert json.loads(released[0] or "") == notice.model_dump(mode="json")


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (ALLOWED.model_copy(update={"allowed": False}), Code.POLICY_PURPOSE),
        (ALLOWED.model_copy(update={"lineages": ()}), Code.POLICY_LINEAGE),
        (ALLOWED.model_copy(update={"hours": "20:00-06:00"}), Code.POLICY_HOURS),
        (ALLOWED.model_copy(update={"minimum_cohort": 3}), Code.COHORT_TOO_SMALL),
        (ALLOWED.model_copy(update={"epsilon_total": 0.5}), Code.BUDGET_TOO_SMALL),
        (ALLOWED.model_copy(update={"epsilon_per_run": 0.5}), Code.BUDGET_TOO_SMALL),
        (ALLOWED.model_copy(update={"epsilon_total": 4.0}), Code.BUDGET_TOO_SMALL),
        (ALLOWED.model_copy(update={"epsilon_total": 0.5, "whole_plan": False}), Code.BUDGET_SPENT),
    ],
)
def test_what_the_policy_refuses_is_not_trained_not_charged_and_audited(
    site: Site, policy: TrainingPolicy, code: Code
) -> None:
    site.policy = SitePolicy(training=policy)
    assert site.refused(order()) is code
    assert site.charges() == []
    assert site.audit()[-1] == ("order.judged", f"{RUN}:1", code.value)
    assert not (site.folder / "prepared").exists()
    assert not (site.folder / "updates").exists()


def test_who_withdraws_during_a_round_enters_no_later_step(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = Patient.draw

    def draw_and_withdraw(self: Patient, *asked: Any, **more: Any) -> PatientSlices:
        drawn.append(len(site.cases))
        if len(drawn) == 2:  # both entered the first step
            site.cases = site.cases[:1]
        return draw(self, *asked, **more)

    monkeypatch.setattr(Patient, "draw", draw_and_withdraw)
    privacy = order().plan.privacy.model_copy(
        update={"sample_rate": 1.0, "steps_per_round": 2, "noise_multiplier": 4.0}
    )
    site.trainer.answer(order(plan=order().plan.model_copy(update={"privacy": privacy})), BASE)
    assert drawn == [2, 2, 1]


# The whole run, before its first round. Nine rounds cost ε 6.3, three 3.7.


def test_a_run_that_the_budget_does_not_carry_to_its_end_is_not_begun(site: Site) -> None:
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"epsilon_total": 4.0}))
    assert site.refused(order()) is Code.BUDGET_TOO_SMALL
    site.trainer.answer(order(7), BASE)  # a site that comes for the last three is asked for no more
    assert site.charges() == [7]


def test_a_site_that_wants_parts_of_runs_leaves_when_its_budget_is_spent(site: Site) -> None:
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"epsilon_total": 4.0, "whole_plan": False}))
    for number in (1, 2, 3):
        site.trainer.answer(order(number), BASE)
    assert site.refused(order(4)) is Code.BUDGET_SPENT
    assert site.charges() == [1, 2, 3]


def test_a_limit_that_was_lowered_during_a_run_ends_it_where_it_is_reached(site: Site) -> None:
    site.trainer.answer(order(1), BASE)
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"epsilon_total": 3.3}))
    site.trainer.answer(order(2), BASE)
    assert site.refused(order(3)) is Code.BUDGET_SPENT


@pytest.mark.parametrize(("answered", "code"), [(True, Code.BUDGET_TOO_SMALL), (False, None)])
def test_an_evaluation_belongs_to_the_run_where_the_site_answers_one(
    site: Site, answered: bool, code: Code | None
) -> None:
    plan = order().plan.model_copy(update={"evaluation": EvaluationPlan(noise_multiplier=0.7, minimum_sites=2)})
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"evaluation": answered}))
    if code is None:
        site.trainer.answer(order(plan=plan), BASE)
    else:
        assert site.refused(order(plan=plan)) is code


def test_an_evaluation_that_came_first_does_not_let_a_run_begin_that_the_budget_does_not_carry(site: Site) -> None:
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"epsilon_total": 4.0, "evaluation": True}))
    plan = order().plan.model_copy(update={"evaluation": EvaluationPlan(minimum_sites=2)})
    spend = spend_of_evaluation(RUN, plan.lineage, EvaluationPlan(minimum_sites=2))
    site.trainer.ledger.charge(spend, limit=limit_of(site.policy.training))
    assert site.refused(order(plan=plan)) is Code.BUDGET_TOO_SMALL
    assert site.charges() == [0]


def test_a_round_before_those_that_were_foreseen_is_foreseen_anew(site: Site) -> None:
    """Whoever asks for the last three first has shown the price of three."""
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"epsilon_total": 4.0}))
    site.trainer.answer(order(7), BASE)
    assert site.refused(order(1)) is Code.BUDGET_TOO_SMALL
    site.trainer.answer(order(8), BASE)
    assert site.charges() == [7, 8]


def test_what_is_charged_already_is_not_foreseen_once_more(site: Site) -> None:
    changes = {"rounds": 3, "sites": ("northport", "southbay"), "evaluation": EvaluationPlan(minimum_sites=2)}
    plan = order().plan.model_copy(update=changes)
    spend = spend_of_evaluation(RUN, plan.lineage, EvaluationPlan(minimum_sites=2))
    asked = order(3, plan=plan)
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"evaluation": True}))
    site.trainer.ledger.charge(spend, limit=limit_of(site.policy.training))
    site.trainer.answer(asked, BASE)
    events = [one.event for one in spends_of_run(order(1, plan=plan), values=0, evaluated=True)]
    exactly = {"epsilon_total": epsilon(events, 1e-5), "evaluation": True}
    site.policy = SitePolicy(training=ALLOWED.model_copy(update=exactly))
    foreseen = prospect_of(site.trainer.ledger, order(1, plan=plan), site.policy.training, values=0)
    assert (foreseen.rounds, foreseen.passing, foreseen.whole) == (2, 2, True)
    site.trainer.answer(order(1, plan=plan), BASE)
    site.trainer.answer(order(2, plan=plan), BASE)
    assert site.charges() == [0, 3, 1, 2]
    done = prospect_of(site.trainer.ledger, order(1, plan=plan), site.policy.training, values=0)
    assert (done.rounds, done.passing, done.whole) == (0, 0, True)
    assert judge_prospect(done, site.policy.training.model_copy(update={"whole_plan": False})) == Clearance()


PRIVACY = order().plan.privacy


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": 10},
        {"rounds": 8},
        {"privacy": PRIVACY.model_copy(update={"noise_multiplier": 1.4})},
        {"privacy": PRIVACY.model_copy(update={"clipping_norm": 0.6})},
        {"lineage": "ggo-2"},
        {"learning_rate": 0.03},
        {"strategy": StrategyName.FEDADAM, "server_learning_rate": 1.0},
        {"sites": ("northport", "southbay")},
        {"evaluation": EvaluationPlan()},
    ],
)
def test_a_run_keeps_the_plan_that_it_began_with(site: Site, changes: dict[str, Any]) -> None:
    """Each of these plans is one that the site's policy and budget allow by themselves."""
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"lineages": ("ggo", "ggo-2"), "epsilon_total": 50.0}))
    site.trainer.answer(order(1), BASE)
    other = order(2, plan=order().plan.model_copy(update=changes))
    assert site.refused(other) is Code.PLAN_CHANGED
    site.start()
    assert site.refused(other) is Code.PLAN_CHANGED
    assert site.charges() == [1]
    assert site.audit()[-1] == ("order.judged", f"{RUN}:2", "plan-changed")
    site.trainer.answer(order(2), BASE)
    site.trainer.answer(other.model_copy(update={"run_id": "b" * 32}), BASE)


def test_the_same_plan_is_known_again_whatever_became_of_runner_and_program(site: Site) -> None:
    """A run that is taken up again reads its plan from the disk; a later program may know keys that this one does not."""
    site.trainer.answer(order(1), BASE)
    read = RunPlan.model_validate_json(canonical_json(order().plan))
    site.start().answer(order(2, plan=read), BASE)
    (row,) = site.trainer.agreed.connection.execute("SELECT plan FROM agreed_plan").fetchall()
    before = {key: value for key, value in json.loads(row["plan"]).items() if key != "answer_seconds"}
    site.trainer.agreed.connection.execute("UPDATE agreed_plan SET plan = ?", (json.dumps(before),))
    site.trainer.answer(order(3), BASE)
    site.trainer.agreed.connection.execute("UPDATE agreed_plan SET plan = '{\"gone\": 1}'")
    assert site.refused(order(4)) is Code.PLAN_CHANGED


def test_what_each_charged_round_began_from_is_written_down_once(site: Site) -> None:
    other = {name: array + np.float32(0.5) for name, array in BASE.items()}
    site.trainer.answer(order(1), BASE)
    site.trainer.answer(order(1), BASE)
    site.start().answer(order(2, other), other)
    assert site.refused(order(3, other, run_id="b" * 32), BASE) is Code.SIGNATURE_INVALID
    assert site.shown() == [(1, arrays_sha256(BASE)), (2, arrays_sha256(other))]


@pytest.mark.parametrize("book", ["shown", "agreed"])
def test_what_cannot_be_written_down_is_not_paid_for(site: Site, monkeypatch: pytest.MonkeyPatch, book: str) -> None:
    """The weights that a round began from, and the plan of the run."""

    def full(*_: object) -> None:
        raise UnavailableError(Code.DISK_FULL)

    monkeypatch.setattr(f"client.train.{book}.transaction", full)
    assert site.refused(order()) is Code.DISK_FULL
    assert site.charges() == []


def test_a_run_that_was_refused_was_not_agreed_to(site: Site) -> None:
    dear = order(plan=order().plan.model_copy(update={"rounds": 90}))
    assert site.refused(dear) is Code.BUDGET_TOO_SMALL
    site.trainer.answer(order(), BASE)


def test_an_edited_policy_holds_from_the_next_round_on(site: Site) -> None:
    site.trainer.answer(order(), BASE)
    site.policy = SitePolicy()
    assert site.refused(order(2)) is Code.POLICY_PURPOSE


def test_other_weights_than_the_order_names_are_refused(site: Site) -> None:
    other = {name: array + 1 for name, array in BASE.items()}
    assert site.refused(order(), other) is Code.SIGNATURE_INVALID
    assert site.charges() == []


def test_a_run_starts_from_a_release_that_the_site_holds(site: Site) -> None:
    other = {name: array + np.float32(0.001) for name, array in BASE.items()}
    assert site.refused(order(base=other), other) is Code.POLICY_LINEAGE
    unknown = order().plan.model_copy(update={"base": "ggo@7"})
    assert site.refused(order(plan=unknown)) is Code.POLICY_LINEAGE
    site.trainer.answer(order(2, base=other), other)  # later rounds start from what the sites made together


def test_a_plan_of_sums_gets_no_update_of_this_sites_own(site: Site) -> None:
    plan = order().plan.model_copy(update={"secure_sum": SecureSumPlan(dropouts=0, colluders=1)})
    assert site.refused(order(plan=plan)) is Code.POLICY_SECURE_SUM
    assert site.charges() == []


def test_weights_of_another_network_are_refused_after_the_charge_and_stay_charged(site: Site) -> None:
    odd = {"x": np.zeros(3, np.float32)}
    with pytest.raises(InvalidInputError) as refused:
        site.trainer.answer(order(2, base=odd), odd)
    assert refused.value.code is Code.BAD_SHAPE
    assert site.charges() == [2]


@pytest.mark.parametrize("value", [1001.0, -3e38, float("inf"), float("nan")])
def test_weights_that_no_training_makes_are_refused_before_the_charge(site: Site, value: float) -> None:
    """They would make the network overflow for images of the centre's choice."""
    odd = {name: array.copy() for name, array in BASE.items()}
    odd["head.bias"][0] = value
    assert site.refused(order(2, base=odd), odd) is Code.BAD_WEIGHTS
    assert site.charges() == []
    assert site.audit()[-1] == ("order.judged", f"{RUN}:2", "bad-weights")


def test_a_round_that_failed_is_charged_and_not_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try would tell the centre whether it failed, once more for the same charge; the next round is another matter."""

    def fail(*_: object, **__: object) -> None:
        raise UnavailableError(Code.NODE_FAULT, "A study cannot be read.")

    monkeypatch.setattr("client.train.site.train_privately", fail)
    assert site.refused(order()) is Code.NODE_FAULT
    monkeypatch.undo()
    assert site.refused(order()) is Code.ALREADY_EXISTS
    site.start()
    assert site.refused(order()) is Code.ALREADY_EXISTS
    assert site.charges() == [1]
    site.trainer.answer(order(2), BASE)


def test_a_study_that_cannot_be_read_costs_one_round_and_not_every_one(site: Site) -> None:
    """It is sampled in each of them here, at the rate of one."""
    privacy = order().plan.privacy.model_copy(update={"sample_rate": 1.0, "noise_multiplier": 8.0})
    plan = order().plan.model_copy(update={"privacy": privacy})
    site.cases.append(labelled_study(site.folder / "studies", 3, 3))
    site.cases[2].volume_path.write_bytes(b"no volume")
    assert site.refused(order(1, plan=plan)) is Code.NODE_FAULT
    site.trainer.answer(order(2, plan=plan), BASE)
    labelled_study(site.folder / "again", 3, 3).volume_path.replace(site.cases[2].volume_path)
    assert len(site.trainer.patients(order(3, plan=plan))) == 3, "mended, it is one of them again"


def test_zone_scores_whose_release_was_taken_back_cost_no_round(site: Site) -> None:
    """After a rollback no list names it, and nothing that no list names is loaded."""

    def taken_back(release: str) -> GgoNet:
        raise RefusedError(Code.SIGNATURE_INVALID, f"{release} is on no list.")

    site.trainer = replace(site.trainer, cohort=Cohort(site.folder / "prepared", taken_back))
    site.cases.append(
        replace(labelled_study(site.folder / "studies", 3, 3), label=ZoneLabel(((1, 1, 1), (1, 1, 1)), "ggo@2"))
    )
    privacy = order().plan.privacy.model_copy(update={"sample_rate": 1.0, "noise_multiplier": 8.0})
    site.trainer.answer(order(plan=order().plan.model_copy(update={"privacy": privacy})), BASE)
    assert len(site.trainer.patients(order(2))) == 2


def test_the_same_round_again_gets_the_same_update_and_one_charge(site: Site) -> None:
    notice, update = site.trainer.answer(order(), BASE)
    for trainer in (site.trainer, site.start()):
        again, same = trainer.answer(order(), BASE)
        assert again == notice
        assert all(np.array_equal(same[name], update[name]) for name in update)
    assert site.charges() == [1]


def test_the_same_round_from_other_weights_is_refused(site: Site) -> None:
    site.trainer.answer(order(2), BASE)
    other = {name: array + np.float32(0.001) for name, array in BASE.items()}
    with pytest.raises(ConflictError):
        site.trainer.answer(order(2, base=other), other)
    assert site.charges() == [2]


def test_an_update_that_is_kept_no_more_is_not_made_again(site: Site) -> None:
    for number in (1, 2, 3):
        site.trainer.answer(order(number), BASE)
    assert sorted(path.name for path in (site.folder / "updates" / RUN).iterdir()) == [
        "0002.safetensors",
        "0003.safetensors",
    ]
    assert site.refused(order(1)) is Code.ALREADY_EXISTS


@pytest.mark.parametrize("moment", ["train_privately", "keep", "note_update"])
def test_a_death_after_the_charge_stays_charged_once(site: Site, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    places: dict[str, Callable[[], None]] = {
        "train_privately": lambda: monkeypatch.setattr("client.train.site.train_privately", die),
        "keep": lambda: monkeypatch.setattr(KeptUpdates, "keep", die),
        "note_update": lambda: monkeypatch.setattr(Gate, "note_update", die),
    }
    places[moment]()
    with pytest.raises(Killed):
        site.trainer.answer(order(), BASE)
    assert site.charges() == [1]
    monkeypatch.undo()
    _, update = site.start().answer(order(), BASE)
    assert site.charges() == [1]
    _, same = site.start().answer(order(), BASE)
    assert arrays_sha256(same) == arrays_sha256(update)


def test_two_different_updates_of_one_round_never_leave(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the file and its row: nothing has left, so the next update may differ, but only one ever leaves."""
    made: list[str] = []
    honest = KeptUpdates.keep

    def die_before_the_row(self: KeptUpdates, asked: RoundOrder, update: Arrays, norms: Arrays | None) -> None:
        made.append(arrays_sha256(update))
        monkeypatch.setattr(KeptUpdates, "keep", honest)
        raise UnavailableError(Code.DISK_FULL)

    monkeypatch.setattr(KeptUpdates, "keep", die_before_the_row)
    with pytest.raises(UnavailableError):
        site.trainer.answer(order(), BASE)
    left = {arrays_sha256(site.start().answer(order(), BASE)[1]) for _ in range(2)}
    assert len(left) == 1
    assert left.isdisjoint(made)


# Norms that stay at the site.


def keeping(number: int = 1, lineage: str = "ggo") -> RoundOrder:
    plan = order().plan.model_copy(update={"keep_norms": True, "lineage": lineage})
    return order(number, plan=plan)


def test_norms_that_stay_are_not_in_the_update_and_are_kept(site: Site) -> None:
    notice, update = site.trainer.answer(keeping(), BASE)
    assert not norms_of(update)
    check_update(update, {name: array for name, array in BASE.items() if name in update})
    assert notice.update_sha256 == arrays_sha256(update)
    own = site.start().kept.norms("ggo")
    assert own is not None
    assert own.keys() == norms_of(BASE).keys()
    assert {*update, *own} == {*BASE}


def test_norms_that_stay_are_noised_too_and_cost_what_they_always_cost(site: Site, tmp_path: Path) -> None:
    kept, _ = site.trainer.answer(keeping(), BASE)
    own = site.trainer.kept.norms("ggo") or {}
    assert all(np.all(array != BASE[name]) for name, array in own.items()), "noise leaves no value where it was"
    sent, _ = Site(tmp_path / "other").trainer.answer(order(), BASE)
    assert kept.epsilon == sent.epsilon


def test_the_next_round_begins_from_the_sites_own_norms(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.trainer.answer(keeping(1), BASE)
    own = site.trainer.kept.norms("ggo") or {}
    begun: list[Arrays] = []

    def look(base: Arrays, *rest: Any, **more: Any) -> dict[str, np.ndarray]:
        begun.append(base)
        return train_privately(base, *rest, **more)

    monkeypatch.setattr("client.train.site.train_privately", look)
    site.start().answer(keeping(2), BASE)
    assert all(np.array_equal(begun[0][name], own[name]) for name in own)
    assert all(np.array_equal(begun[0][name], BASE[name]) for name in BASE if name not in own)
    after = site.trainer.kept.norms("ggo") or {}
    assert any(not np.array_equal(after[name], own[name]) for name in own)
    site.trainer.answer(order(3, run_id="b" * 32), BASE)  # a plan that averages everything begins from what it was sent
    assert all(np.array_equal(begun[1][name], BASE[name]) for name in BASE)
    assert arrays_sha256(site.trainer.kept.norms("ggo") or {}) == arrays_sha256(after)


def test_a_round_that_is_asked_for_again_does_not_move_the_norms(site: Site) -> None:
    _, update = site.trainer.answer(keeping(), BASE)
    own = arrays_sha256(site.trainer.kept.norms("ggo") or {})
    _, same = site.start().answer(keeping(), BASE)
    assert arrays_sha256(same) == arrays_sha256(update)
    assert arrays_sha256(site.trainer.kept.norms("ggo") or {}) == own


def test_norms_and_the_row_of_their_update_are_written_together_or_not_at_all(site: Site) -> None:
    site.trainer.answer(keeping(1), BASE)
    before = arrays_sha256(site.trainer.kept.norms("ggo") or {})
    connection = site.trainer.kept.connection
    connection.execute("CREATE TRIGGER full BEFORE INSERT ON site_norms BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(sqlite3.IntegrityError):
        site.trainer.answer(keeping(2), BASE)
    connection.execute("DROP TRIGGER full")
    assert site.trainer.kept.find(keeping(2)) is None
    assert arrays_sha256(site.trainer.kept.norms("ggo") or {}) == before
    site.start().answer(keeping(2), BASE)
    assert arrays_sha256(site.trainer.kept.norms("ggo") or {}) != before
    assert site.charges() == [1, 2]


def test_norms_belong_to_a_lineage_and_damaged_ones_are_said_so(site: Site) -> None:
    site.trainer.answer(keeping(), BASE)
    assert site.trainer.kept.norms("other") is None
    site.trainer.kept.connection.execute("UPDATE site_norms SET norms = x'00'")
    assert site.refused(keeping(2)) is Code.NODE_FAULT


def test_an_old_copy_of_the_database_put_back_stops_training(site: Site) -> None:
    site.trainer.answer(order(1), BASE)
    copy = (site.folder / "node.db").read_bytes()
    connect(site.folder / "node.db").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = (site.folder / "node.db").read_bytes()
    site.trainer.answer(order(2), BASE)
    connect(site.folder / "node.db").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for rest in site.folder.glob("node.db-*"):
        rest.unlink()
    (site.folder / "node.db").write_bytes(copy)
    site.start()
    assert site.refused(order(2)) is Code.AUDIT_BROKEN


def test_charges_that_were_cut_off_stop_training_though_ledger_and_audit_are_chains_without_a_gap(site: Site) -> None:
    for number in (1, 2):
        site.trainer.answer(order(number), BASE)
    connect(site.folder / "node.db").executescript("DROP TRIGGER spend_is_kept; DELETE FROM spend WHERE number = 2;")
    site.start().gate.audit.verify()
    assert site.refused(order(3)) is Code.AUDIT_BROKEN
    assert site.audit()[-1][:2] == ("update.released", f"{RUN}:2")


def test_nothing_about_the_number_of_patients_is_in_the_notice(site: Site) -> None:
    few, _ = site.trainer.answer(order(1), BASE)
    site.cases = [*site.cases, labelled_study(site.folder / "studies", 3, 3)]
    more, _ = site.trainer.answer(order(2), BASE)
    assert set(few.model_dump()) == {"run_id", "round", "site", "base_sha256", "update_sha256", "epsilon", "delta"}
    assert more.epsilon > few.epsilon


def test_one_patient_more_changes_no_number_and_no_size(tmp_path: Path) -> None:
    few, more = Site(tmp_path / "few"), Site(tmp_path / "more")
    more.cases = [*more.cases, labelled_study(more.folder / "studies", 3, 3)]
    said, sizes, charged = [], [], []
    for site in (few, more):
        notice, update = site.trainer.answer(order(), BASE)
        said.append(notice.model_dump(exclude={"update_sha256"}))
        records = pack_notice(notice, update).config_records
        sizes.append({name: {key: len(one) for key, one in record.items()} for name, record in records.items()})  # type: ignore[arg-type]
        charged.append([entry.spend for entry in site.trainer.ledger.history()])
    assert said[0] == said[1]
    assert sizes[0] == sizes[1]
    assert charged[0] == charged[1]


def test_training_can_be_repeated_with_the_same_bytes_in_tests_only(site: Site) -> None:
    updates = []
    for number in (1, 2):
        trainer = replace(site.trainer, randomness=Randomness(CountedBytes(5)))
        updates.append(arrays_sha256(trainer.answer(order(number), BASE)[1]))
    assert updates[0] == updates[1]
    assert arrays_sha256(site.trainer.answer(order(3), BASE)[1]) != updates[0]
