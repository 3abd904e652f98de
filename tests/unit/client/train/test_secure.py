"""A site's rules around a secure summation: what is judged, charged and written down before what, and what a death in between leaves."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.gate import gate as gates
from client.gate.gate import Gate
from client.gate.policy import SecureSumUse, SitePolicy, TrainingPolicy
from client.ledger.store import Kind
from client.store.database import connect
from client.train import agreed, begun, kept, shown
from client.train.agreed import AgreedPlans
from client.train.begun import BegunRounds
from client.train.cohort import Cohort
from client.train.kept import KeptUpdates
from client.train.noise import Randomness
from client.train.private import Patient
from client.train.secure import SecureTrainer
from client.train.shown import ShownWeights
from client.train.site import SiteTrainer
from models.weights import STARTING, load_arrays
from protocol.codes import Code
from protocol.errors import FederationError
from protocol.plan import Purpose, RoundOrder
from protocol.secure_sum import Agreement, Boxes, Circle, SecureQuestion, View
from protocol.shape import Shape
from server.secure_round import play_secure_round
from server.secure_sum import Reply
from strategies.arrays import Arrays, arrays_sha256
from strategies.securesum.grid import charged, grid_of
from strategies.securesum.pads import Words
from strategies.securesum.step import values_of
from tests.fakes.circle import RUN, names, peers, secure_plan, signer
from tests.fakes.labelled import labelled_study
from tests.fakes.ledgers import open_ledger
from tests.fakes.rough_price import rough_price

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE = load_arrays(STARTING)
SITES = names(3)
ALLOWED = TrainingPolicy(
    allowed=True, purposes=(Purpose.SEGMENTATION,), lineages=("ggo",), epsilon_total=1000.0, epsilon_per_run=1000.0,
    minimum_cohort=1, secure_sum=SecureSumUse.ALLOWED, secure_sum_colluders=0,
)  # fmt: skip


def order(number: int = 1, **changes: Any) -> RoundOrder:
    plan = secure_plan(3, dropouts=1, colluders=0, slices_per_patient=2)
    made = RoundOrder(run_id=RUN, round=number, base_sha256=arrays_sha256(BASE), plan=plan)
    return made.model_copy(update=changes)


def no_network(release: str) -> Any:
    raise AssertionError(f"{release}: masks need no network")


class Site:
    """One site with everything real but clock, price and (by default) the training itself."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder / name, name
        self.policy = SitePolicy(training=ALLOWED)
        self.cases = [labelled_study(folder / "studies", 1, 1)]
        self.secure = self.start()

    def start(self) -> SecureTrainer:
        """Start the runner anew, as after a death."""
        database = self.folder / "node.db"
        trainer = SiteTrainer(
            site=self.name, policy=lambda: self.policy,
            gate=Gate(connect(database, gates.SCHEMA), lambda: self.policy, lambda: NOW, self.folder / "audit.head"),
            ledger=open_ledger(database, lambda: NOW, price=rough_price),
            kept=KeptUpdates(connect(database, kept.SCHEMA), self.folder / "updates"), agreed=AgreedPlans(connect(database, agreed.SCHEMA)),
            shown=ShownWeights(connect(database, shown.SCHEMA)),
            cases=lambda _use: self.cases, cohort=Cohort(self.folder / "prepared", no_network), base=lambda _: BASE, now=lambda: NOW,
            randomness=Randomness(),
        )  # fmt: skip
        self.secure = SecureTrainer(
            trainer=trainer,
            begun=BegunRounds(connect(database, begun.SCHEMA)),
            signer=lambda: signer(self.name),
            peers=peers,
        )
        return self.secure

    def charges(self) -> list[Any]:
        return [entry.spend for entry in self.secure.trainer.ledger.history()]

    def audit(self) -> list[tuple[str, str]]:
        return [(row.event, row.verdict) for row in self.secure.trainer.gate.audit.rows()]


@dataclass
class Network:
    """The way to the sites. `before` is called before a site is asked, with the kind of question."""

    sites: dict[str, Site]
    before: Callable[[str, type[Shape] | None], None] = lambda _site, _kind: None
    refusals: dict[str, Code] = field(default_factory=dict)
    questions: dict[type[Shape] | None, SecureQuestion] = field(default_factory=dict)
    weights: Arrays = field(default_factory=lambda: BASE)

    def __call__(
        self, questions: Mapping[str, SecureQuestion], base: Arrays, _seconds: float
    ) -> Iterator[tuple[str, Reply | Code]]:
        for site, question in questions.items():
            kind = type(question.asked) if question.asked else None
            self.questions[kind] = question
            self.before(site, kind)
            try:
                reply, words = self.sites[site].secure.answer(question, self.weights if base else {})
            except FederationError as error:
                self.refusals[site] = error.code
                yield site, error.code
            else:
                yield site, (reply.said, words)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network({name: Site(tmp_path, name) for name in SITES})


@pytest.fixture
def summands(monkeypatch: pytest.MonkeyPatch) -> list[Words]:
    """Stand-ins for training: each summand is a hundred times larger than the one before."""
    made: list[Words] = []

    def next_summand(base: Arrays, *_: Any, **__: Any) -> Words:
        made.append(np.full(values_of(base), 100 ** (len(made) % 3), np.uint32))
        return made[-1]

    monkeypatch.setattr("client.train.secure.private_summand", next_summand)
    return made


def play(network: Network, asked: RoundOrder | None = None) -> Any:
    return play_secure_round(asked or order(), BASE, network, lasting={})


def test_three_sites_train_one_step_together(network: Network) -> None:
    """With real training: the step is finite, about as large as its noise, and every site was charged once."""
    tally, made = play(network)
    assert tally.sites == list(SITES)
    step = np.concatenate([made[name].ravel() for name in BASE])
    noise = 4.0 * np.sqrt(3 / 2) * 0.1 / (3 * 8)
    assert step.std() == pytest.approx(noise, rel=0.05)
    assert [len(site.charges()) for site in network.sites.values()] == [1, 1, 1]


def test_the_order_of_things_at_a_site(network: Network, summands: list[Words]) -> None:
    tally, made = play(network)
    assert len(summands) == 3
    scale = -0.1 / (3 * 8) * grid_of(order().plan).step * (1 + 100 + 10_000)
    name = next(iter(BASE))
    assert np.allclose(made[name], scale, rtol=1e-5, atol=0)
    assert tally.epsilon.keys() == set(SITES)
    for site in network.sites.values():
        assert site.audit() == [
            ("order.judged", "clear"), ("order.judged", "clear"), ("budget.charged", "clear"), ("summand.released", "clear"),
            ("sum.opened", "clear"),
        ]  # fmt: skip
        rows = site.secure.trainer.shown.connection.execute("SELECT * FROM shown_weights").fetchall()
        assert [tuple(row) for row in rows] == [(order().run_id, 1, order().base_sha256)]


@pytest.mark.usefixtures("summands")
def test_the_charge_covers_rounding(network: Network) -> None:
    play(network)
    (spend,) = network.sites[SITES[0]].charges()
    privacy = order().plan.privacy
    assert spend.event.clipping_norm > privacy.clipping_norm
    assert spend.event.noise_multiplier < privacy.noise_multiplier
    assert spend.event.noise_multiplier * spend.event.clipping_norm == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"secure_sum": SecureSumUse.FORBIDDEN}, Code.POLICY_SECURE_SUM),
        ({"secure_sum_colluders": 1}, Code.POLICY_SECURE_SUM),
        ({"allowed": False}, Code.POLICY_PURPOSE),
        ({"minimum_cohort": 2}, Code.COHORT_TOO_SMALL),
    ],
)
def test_what_the_policy_refuses_is_not_begun(network: Network, changes: dict[str, Any], code: Code) -> None:
    site = network.sites[SITES[0]]
    site.policy = SitePolicy(training=ALLOWED.model_copy(update=changes))
    play(network)
    assert network.refusals[SITES[0]] is code
    assert site.charges() == []
    assert site.audit() == [("order.judged", code.value)]
    site.policy = SitePolicy(training=ALLOWED)
    assert site.secure.answer(SecureQuestion(order=order()), {})[0].said, "the round was not begun, so it still can be"


@pytest.mark.usefixtures("summands")
@pytest.mark.parametrize("kind", [Circle, View])
def test_a_circle_or_a_sum_of_too_few_for_the_policy_ends_the_round_here(network: Network, kind: type[Shape]) -> None:
    """The plan names three sites and a quorum of two; the policy is tightened in the midst of the round."""
    site = network.sites[SITES[0]]

    def tighten(asked: str, about: type[Shape] | None) -> None:
        if (asked, about) == (SITES[0], kind):
            site.policy = SitePolicy(training=ALLOWED.model_copy(update={"minimum_peers": 3}))

    network.before = tighten
    play(network)
    assert network.refusals[SITES[0]] is Code.TOO_FEW_SITES
    assert len(site.charges()) == (0 if kind is Circle else 1)
    assert ("sum.opened", "clear") not in site.audit()


def test_a_site_that_wants_sums_only_sends_no_update_of_its_own(network: Network) -> None:
    site = network.sites[SITES[0]]
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"secure_sum": SecureSumUse.REQUIRED}))
    plain = order().plan.model_copy(update={"secure_sum": None})
    with pytest.raises(FederationError) as refused:
        site.secure.trainer.answer(order(plan=plain), BASE)
    assert refused.value.code is Code.POLICY_SECURE_SUM
    play(network)
    assert SITES[0] not in network.refusals


def test_a_run_beyond_the_budget_is_not_begun(network: Network) -> None:
    site = network.sites[SITES[0]]
    site.policy = SitePolicy(training=ALLOWED.model_copy(update={"epsilon_total": 1e-6}))
    with pytest.raises(FederationError) as refused:
        site.secure.answer(SecureQuestion(order=order()), {})
    assert refused.value.code is Code.BUDGET_TOO_SMALL
    assert site.audit() == [("order.judged", "budget-too-small")]
    assert site.secure.begun.connection.execute("SELECT * FROM secure_round").fetchall() == []


def test_a_budget_that_shrank_after_the_keys_is_found_before_training(network: Network, summands: list[Words]) -> None:
    site = network.sites[SITES[0]]
    less = SitePolicy(training=ALLOWED.model_copy(update={"epsilon_total": 1e-6, "whole_plan": False}))

    def lower(name: str, kind: type[Shape] | None) -> None:
        if (name, kind) == (SITES[0], Boxes):
            site.policy = less

    network.before = lower
    tally, _ = play(network)
    assert tally.refused == {SITES[0]: Code.BUDGET_SPENT}
    assert tally.sites == list(SITES[1:])
    assert len(summands) == 2
    assert site.audit()[-1] == ("order.judged", "budget-spent")


def test_other_weights_than_the_order_names_are_refused_and_not_charged(
    network: Network, summands: list[Words]
) -> None:
    network.weights = {name: array + 1 for name, array in BASE.items()}
    play(network)
    assert network.refusals == dict.fromkeys(SITES, Code.SIGNATURE_INVALID)
    assert summands == []
    assert [site.charges() for site in network.sites.values()] == [[], [], []]


def test_who_withdraws_between_keys_and_summand_is_not_sampled(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, sampled_from = network.sites[SITES[0]], []
    site.cases = [labelled_study(site.folder / "studies", study, study) for study in (1, 2)]

    def withdraw(name: str, kind: type[Shape] | None) -> None:
        if (name, kind) == (SITES[0], Boxes):
            site.cases = site.cases[:1]

    def count(base: Arrays, patients: list[Patient], *_: Any, **__: Any) -> Words:
        sampled_from.append(len(patients))
        return np.zeros(values_of(base), np.uint32)

    network.before = withdraw
    monkeypatch.setattr("client.train.secure.private_summand", count)
    play(network)
    assert sampled_from == [1, 1, 1]


def test_a_lie_about_shares_is_not_paid_for(network: Network, summands: list[Words]) -> None:
    site = network.sites[SITES[0]]
    play(network)
    fresh = site.start()
    fresh.answer(SecureQuestion(order=order(2)), {})
    with pytest.raises(FederationError):
        fresh.answer(SecureQuestion(order=order(2), asked=network.questions[Boxes].asked), BASE)
    assert len(site.charges()) == 1
    assert len(summands) == 3


@pytest.mark.usefixtures("summands")
@pytest.mark.parametrize("kind", [Circle, Boxes, View, Agreement], ids=lambda kind: kind.__name__)
def test_a_node_that_died_in_a_round_is_lost_to_it_and_never_pads_anew(network: Network, kind: type[Shape]) -> None:
    site = network.sites[SITES[1]]

    def die(name: str, asked: type[Shape] | None) -> None:
        if (name, asked) == (SITES[1], kind):
            site.start()

    network.before = die
    tally, _ = play(network)
    assert network.refusals == {SITES[1]: Code.ILLEGAL_TRANSITION}
    assert (SITES[1] in tally.sites) == (kind in (View, Agreement))
    with pytest.raises(FederationError) as refused:
        site.secure.answer(SecureQuestion(order=order()), {})
    assert refused.value.code is Code.ALREADY_EXISTS
    network.before = lambda _site, _kind: None
    assert play(network, order(2))[0].sites == list(SITES)
    assert len(site.charges()) == 1 + (kind in (View, Agreement))


@pytest.mark.usefixtures("summands")
def test_a_round_is_played_once_even_when_all_went_well(network: Network) -> None:
    play(network)
    tally, made = play(network)
    assert tally.sites == []
    assert set(network.refusals.values()) == {Code.ALREADY_EXISTS}
    assert made is None


@pytest.mark.usefixtures("summands")
def test_questions_of_another_round_are_refused(network: Network) -> None:
    site = network.sites[SITES[0]]
    site.secure.answer(SecureQuestion(order=order()), {})
    with pytest.raises(FederationError) as refused:
        site.secure.answer(SecureQuestion(order=order(2), asked=_any_view()), {})
    assert refused.value.code is Code.ILLEGAL_TRANSITION


def _any_view() -> View:
    return View(circle_sha256="0" * 64, sharers=SITES, survivors=SITES)


def plain_at_the_same_price(number: int = 1) -> RoundOrder:
    """An order for an update whose σ and C are those that the ledger is charged for the sum."""
    plan = order().plan
    privacy = charged(plan.privacy, grid_of(plan), values=values_of(BASE))
    return order(number, plan=plan.model_copy(update={"secure_sum": None, "privacy": privacy}))


def forget_the_plan(site: Site) -> None:
    """As in a node that was brought up to date in the midst of a run: what is charged must hold without it."""
    site.secure.trainer.agreed.connection.execute("DELETE FROM agreed_plan")


@pytest.mark.usefixtures("summands")
def test_a_run_of_sums_stays_one(network: Network) -> None:
    play(network)
    site = network.sites[SITES[0]]
    with pytest.raises(FederationError) as refused:
        site.secure.trainer.answer(plain_at_the_same_price(2), BASE)
    assert refused.value.code is Code.PLAN_CHANGED
    plan = order().plan
    with pytest.raises(FederationError) as refused:
        site.start().answer(
            SecureQuestion(order=order(2, plan=plan.model_copy(update={"rounds": plan.rounds + 1}))), {}
        )
    assert refused.value.code is Code.PLAN_CHANGED
    assert [spend.round for spend in site.charges()] == [1]
    play(network, order(2))
    assert SITES[0] not in network.refusals


@pytest.mark.usefixtures("summands")
def test_the_same_round_cannot_be_had_with_an_update_too(network: Network) -> None:
    play(network)
    trainer = network.sites[SITES[0]].secure.trainer
    forget_the_plan(network.sites[SITES[0]])
    with pytest.raises(FederationError) as refused:
        trainer.answer(plain_at_the_same_price(), BASE)
    assert refused.value.code is Code.ALREADY_EXISTS
    assert trainer.kept.find(plain_at_the_same_price()) is None


def test_a_round_that_was_answered_with_an_update_has_no_sum(network: Network, summands: list[Words]) -> None:
    site = network.sites[SITES[0]]
    site.secure.trainer.answer(plain_at_the_same_price(), BASE)
    forget_the_plan(site)
    play(network)
    assert network.refusals[SITES[0]] is Code.ALREADY_EXISTS
    assert summands == [], "two sites without it are too few"
    assert [spend.kind for spend in site.charges()] == [Kind.UPDATE]


def test_an_update_that_is_asked_for_between_keys_and_summand_is_all_that_leaves(
    network: Network, summands: list[Words]
) -> None:
    site = network.sites[SITES[0]]

    def ask_for_an_update(name: str, kind: type[Shape] | None) -> None:
        if (name, kind) == (SITES[0], Boxes):
            forget_the_plan(site)
            site.secure.trainer.answer(plain_at_the_same_price(), BASE)
            forget_the_plan(site)

    network.before = ask_for_an_update
    play(network)
    assert network.refusals[SITES[0]] is Code.ALREADY_EXISTS
    assert len(summands) == 2
    assert [spend.kind for spend in site.charges()] == [Kind.UPDATE]
