"""From the last round to the catalogue in one process: real sites compare a candidate, the centre concludes, a release is refused or not."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context, Message, RecordDict
from safetensors.numpy import save

from client.app import app_of_site
from client.gate import gate as gates
from client.gate.gate import Gate
from client.gate.policy import SitePolicy, TrainingPolicy
from client.store.database import connect
from client.store.records import HeldOutCase
from client.train import agreed, answers, shown
from client.train.agreed import AgreedPlans
from client.train.answers import KeptAnswers
from client.train.cohort import Cohort
from client.train.evaluation import SiteEvaluator
from client.train.shown import ShownWeights
from models.net import GgoNet
from models.weights import STARTING, load_arrays
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError
from protocol.evaluation import EvaluationNotice, EvaluationOrder, Group, Outcome
from protocol.plan import EvaluationPlan, Purpose, RoundOrder, RunPlan
from protocol.release import Scores
from server.catalogue import Catalogue
from server.evaluation import evaluation_of, note_of_present
from server.rounds import run_rounds
from server.run import COMPLETED, RunFolder
from server.tally import Said
from strategies.arrays import Arrays
from strategies.message import pack_evaluation, unpack_evaluated
from tests.fakes.labelled import labelled_study
from tests.fakes.ledgers import open_ledger
from tests.fakes.rough_price import rough_price
from tests.fakes.rounds import RUN, SITES, a_plan, answer_to
from tests.fakes.superlink import within_a_task

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRESENT = load_arrays(STARTING)
CONTEXT = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
ALLOWED = TrainingPolicy(
    allowed=True, purposes=(Purpose.SEGMENTATION,), lineages=("ggo",), epsilon_total=1e3, epsilon_per_run=1e3,
    evaluation=True, minimum_held_out=2,
)  # fmt: skip
SCORES = Scores(cases=1, dice=0.5, ggo_error_points=1.0, false_opacity_points=0.1)
QUIET = EvaluationPlan(noise_multiplier=0.01, minimum_group=2)
"""Hardly any noise, so that two patients a site decide; what noise does is the unit tests' to say."""


class Nobody:
    """Trains nothing."""

    def answer(self, order: RoundOrder, base: Arrays):  # type: ignore[no-untyped-def]
        raise AssertionError("asked to train")


def no_network(release: str) -> GgoNet:
    raise AssertionError(f"{release}: nothing is trained here")


class Hospital:
    """A site's own app with a real gate, ledger and cohort; two patients held out."""

    def __init__(self, folder: Path, name: str, maker: str) -> None:
        self.policy = SitePolicy(training=ALLOWED)
        database = folder / f"{name}.db"
        gate = Gate(connect(database, gates.SCHEMA), lambda: self.policy, lambda: NOW, folder / f"{name}.head")
        self.ledger = open_ledger(database, lambda: NOW, price=rough_price, head=folder / f"{name}.head")
        cases = [HeldOutCase(labelled_study(folder / "studies", at, at), "female", "50-59", maker) for at in (1, 2)]
        self.evaluator = SiteEvaluator(
            site=name, policy=lambda: self.policy, gate=gate, ledger=self.ledger, cases=lambda: cases,
            kept=KeptAnswers(connect(database, answers.SCHEMA)), cohort=Cohort(folder / "prepared", no_network),
            release=lambda _: PRESENT, agreed=AgreedPlans(connect(database, agreed.SCHEMA)), shown=ShownWeights(connect(database, shown.SCHEMA)), now=lambda: NOW,
        )  # fmt: skip

    def asked(self, order: EvaluationOrder, candidate: Arrays) -> EvaluationNotice | Code:
        message = Message(pack_evaluation(order, candidate), dst_node_id=2, message_type="evaluate")
        try:
            reply = app_of_site(Nobody(), evaluator=self.evaluator)(message, CONTEXT)
        except FederationError as error:  # as the runner does
            return error.code
        return unpack_evaluated(reply.content)


class Network:
    """Three hospitals and a centre; `drift` is what every round adds to the weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        makers = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips")
        self.sites = {name: Hospital(folder, name, maker) for name, maker in zip(SITES, makers, strict=True)}
        shelf = folder / "catalogue"
        shelf.mkdir()
        self.catalogue = Catalogue(shelf, Ed25519PrivateKey.generate(), lambda: NOW)
        self.add(PRESENT, run_id=None)

    def add(self, weights: Arrays, **provenance: object) -> str:
        said = {
            "parent": None, "architecture": "net-1", "run_id": RUN, "rounds": 1, "sites": 3, "epsilon_max": 1.0,
            "scores": SCORES, "base_scores": SCORES,
        }  # fmt: skip
        content = save({name: np.array(array) for name, array in weights.items()})
        return self.catalogue.add(content, lineage="ggo", **(said | provenance)).manifest.name

    def run(self, factor: float, **changes: object) -> RunFolder:
        """Train one round in which every site scales every weight by `factor`, and compare the result."""
        folder = RunFolder(self.folder / "runs" / RUN)
        plan: RunPlan = a_plan(rounds=1, evaluation=QUIET, **changes)
        base = save({name: np.array(array) for name, array in PRESENT.items()})
        folder.start(plan, dict.fromkeys(SITES, 1), base, note_of_present("ggo@0", PRESENT))

        def ask(order: RoundOrder, base: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
            update = {name: array * np.float32(factor - 1.0) for name, array in base.items()}
            yield from ((site, answer_to(order, site, update=update)) for site in sites)

        def compare(
            order: EvaluationOrder, candidate: Arrays, sites: tuple[str, ...]
        ) -> Iterator[tuple[str, EvaluationNotice | Code]]:
            yield from ((site, self.sites[site].asked(order, candidate)) for site in sites)

        run_rounds(folder, ask, clock=lambda: 0.0, compare=compare)
        assert folder.outcome() == COMPLETED
        return folder

    def signed(self, folder: RunFolder) -> str:
        record = evaluation_of(folder)
        assert record is not None
        return self.add(folder.latest()[1], evaluation=record.verdict)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    within_a_task(monkeypatch)
    return Network(tmp_path)


def reason(network: Network, name: str) -> Code | None:
    try:
        network.catalogue.check_promotable(name)
    except FederationError as error:
        return error.code
    return None


def test_a_candidate_that_is_as_good_is_promoted(network: Network) -> None:
    folder = network.run(1.0)
    record = evaluation_of(folder)
    assert record is not None
    outcomes = {one.group: (one.outcome, one.cases) for one in record.verdict.groups if one.sites}
    assert outcomes[Group.ALL] == (Outcome.HOLDS, 6)
    assert outcomes[Group.FEMALE] == (Outcome.HOLDS, 6)
    assert outcomes[Group.GE] == (Outcome.HOLDS, 2)
    assert reason(network, network.signed(folder)) is None
    assert all(len(site.ledger.history()) == 1 for site in network.sites.values())


def test_a_candidate_that_lost_what_it_knew_is_refused_and_the_release_says_why(network: Network) -> None:
    name = network.signed(network.run(0.0))
    assert reason(network, name) is Code.WORSE_THAN_PRESENT
    evaluation = network.catalogue.signed(name).manifest.evaluation
    assert evaluation is not None
    assert (evaluation.reason, evaluation.present) == (Code.WORSE_THAN_PRESENT, "ggo@0")
    assert {one.outcome for one in evaluation.groups if one.sites} == {Outcome.WORSE}


def test_sites_that_keep_their_held_out_patients_to_themselves_promote_nothing(network: Network) -> None:
    for name in SITES[:2]:
        network.sites[name].policy = SitePolicy(training=ALLOWED.model_copy(update={"evaluation": False}))
    folder = network.run(1.0)
    record = evaluation_of(folder)
    assert record is not None
    assert record.refused == dict.fromkeys(SITES[:2], Code.POLICY_EVALUATION)
    assert reason(network, network.signed(folder)) is Code.EVALUATION_MISSED
    assert network.sites[SITES[0]].ledger.history() == []


def test_something_else_than_an_order_to_compare_never_reaches_the_evaluator(network: Network) -> None:
    site = network.sites[SITES[0]]
    message = Message(RecordDict(), dst_node_id=2, message_type="evaluate")
    with pytest.raises(InvalidInputError):
        app_of_site(Nobody(), evaluator=site.evaluator)(message, CONTEXT)
    assert site.ledger.history() == []
