"""What `train` does around the rounds: who must be connected, what is measured, what is signed, what is said when it fails."""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load, save

from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, RefusedError, UnavailableError
from protocol.evaluation import EvaluationNotice, EvaluationOrder
from protocol.plan import RoundOrder, SecureSumPlan
from protocol.release import Scores
from server.bundle import Bundle
from server.catalogue import Catalogue
from server.evaluation import AskEvaluation, nobody_evaluates
from server.provenance import weights_of_rounds
from server.rounds import run_rounds
from server.run import RunFolder
from server.tally import Said
from server.training import PATIENCE_SECONDS, Trainer, check_plan, phantom_measure, read_plan, summary
from strategies.arrays import Arrays, arrays_sha256
from strategies.flower.fleet import ConnectedNode, RunState
from tests.fakes.evaluations import an_evaluated_plan, evaluated_by
from tests.fakes.outcomes import code_of
from tests.fakes.rounds import SITES, a_plan, answer_to, weights

NORTH, SOUTH, WEST = SITES
BUNDLE = Bundle(b"the bundle", "c" * 64)


@dataclass
class MemoryFleet:
    """A SuperLink whose ServerApp plays one round each time it is asked how the run goes, or all of them `at_once`.

    `rounds_before_death` ends it early; `silent` makes it unreachable from that moment on.
    """

    online: tuple[str, ...] = SITES
    offline: tuple[str, ...] = ()
    codes: dict[str, Code] = field(default_factory=dict)
    rounds_before_death: int | None = None
    at_once: bool = False
    silent: bool = False
    compare: AskEvaluation = nobody_evaluates
    started: list[tuple[bytes, str, dict[str, str]]] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    state: dict[int, str] = field(default_factory=dict)

    def nodes(self) -> list[ConnectedNode]:
        self._answer()
        known = [(site, True) for site in self.online] + [(site, False) for site in self.offline]
        return [ConnectedNode(number, site, online, b"") for number, (site, online) in enumerate(known, start=11)]

    def start_run(self, bundle: bytes, sha256: str, config: dict[str, str]) -> int:
        self._answer()
        self.started.append((bundle, sha256, config))
        number = 100 + len(self.started)
        self.state[number] = ""
        return number

    def run_state(self, number: int) -> RunState:
        self._answer()
        if self.state[number] == "" and number > 100:
            self.state[number] = self._work(RunFolder(Path(self.started[number - 101][2]["run-dir"])))
        return RunState(self.state[number], "")

    def stop_run(self, number: int) -> None:
        self._answer()
        self.stopped.append(number)
        self.state[number] = "stopped"

    def _work(self, folder: RunFolder) -> str:
        done = len(folder.records())
        if done == self.rounds_before_death:
            return "failed"

        def ask(order: RoundOrder, _: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
            if order.round > done + 1 and not self.at_once:
                raise InterruptedError
            yield from ((site, self.codes.get(site) or answer_to(order, site)) for site in sites)

        with suppress(InterruptedError):
            run_rounds(folder, ask, clock=itertools.count().__next__, compare=self.compare)
        return "completed" if folder.outcome() else ""

    def _answer(self) -> None:
        if self.silent:
            raise UnavailableError(Code.PEER_UNREACHABLE, "Flower does not answer.")


def scored(arrays: Arrays) -> Scores:
    """Better the larger the weights."""
    return Scores(cases=1, dice=min(1.0, float(arrays["bias"][0]) / 10), ggo_error_points=1.0, false_opacity_points=0.5)


class Desk:
    """A trainer with everything around it in memory and on a small disk."""

    def __init__(self, folder: Path, shelf: Catalogue) -> None:
        self.fleet = MemoryFleet()
        self.said: list[str] = []
        self.paused: list[float] = []
        self.catalogue = shelf
        self.base = shelf.add(
            save(weights()), lineage="ggo", parent=None, architecture="net-1", run_id=None, rounds=0, sites=0, epsilon_max=None, scores=None,
        ).manifest.name  # fmt: skip
        self.trainer = Trainer(
            catalogue=shelf, fleet=self.fleet, bundle=BUNDLE, runs=folder / "runs", measure=scored, say=self.said.append, pause=self.paused.append,
        )  # fmt: skip

    def train(self, **plan: Any) -> tuple[RunFolder, str]:
        run = self.trainer.begin(a_plan(**plan))
        return run, self.trainer.run(run).manifest.name


@pytest.fixture
def desk(tmp_path: Path, catalogue: Catalogue) -> Desk:
    return Desk(tmp_path, catalogue)


# A run that goes well.


def test_a_run_becomes_a_signed_release(desk: Desk) -> None:
    run, name = desk.train()
    manifest = desk.catalogue.signed(name).manifest
    assert (name, manifest.parent, manifest.architecture, manifest.run_id) == ("ggo@1", "ggo@0", "net-1", run.run_id)
    assert (manifest.rounds, manifest.sites, manifest.epsilon_max) == (3, 3, 0.5)
    assert manifest.scores is not None
    assert manifest.scores.dice == 0.3
    assert load(desk.catalogue.weights(name))["bias"].tolist() == [3, 3, 3]
    assert desk.fleet.started == [(BUNDLE.content, BUNDLE.sha256, {"run-dir": str(run.path)})]
    assert desk.fleet.stopped == []
    assert run.flower_run() == 101


def test_a_release_says_how_it_came_about(desk: Desk) -> None:
    run, name = desk.train()
    made = desk.catalogue.signed(name).manifest.provenance
    assert made is not None
    plan = json.loads(made.plan)
    assert plan == run.plan().model_dump(mode="json") | {"sites": 3}
    assert made.bundles == (BUNDLE.sha256,)
    assert {one.name: one.version for one in made.software}["flwr"] == version("flwr")


def test_a_release_says_what_each_round_began_from(desk: Desk) -> None:
    """Also a round that was skipped, which leaves the weights as they were."""
    run, name = desk.train()
    made = desk.catalogue.signed(name).manifest.provenance
    assert made is not None
    assert made.weights == tuple(arrays_sha256(weights(step)) for step in (0, 1, 2))
    skipped = replace(run.records()[0], round=4, weights_sha256=arrays_sha256(weights(3)), skipped=True)
    run.checkpoint(skipped, weights(3))
    run.checkpoint(replace(skipped, round=5), weights(3))
    assert weights_of_rounds(run)[3:] == (arrays_sha256(weights(3)),) * 2


def test_a_run_that_another_version_took_up_names_both_bundles(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan())
    desk.fleet.rounds_before_death = 1
    assert code_of(lambda: desk.trainer.run(run)) is Code.RUN_FAILED
    assert code_of(lambda: desk.trainer.run(run)) is Code.RUN_FAILED
    desk.fleet.rounds_before_death = None
    newer = replace(desk.trainer, bundle=Bundle(b"newer", "f" * 64))
    made = newer.run(newer.take_up(run.run_id)).manifest.provenance
    assert made is not None
    assert made.bundles == (BUNDLE.sha256, "f" * 64)


def test_what_the_sites_said_of_the_result_is_signed_with_it(desk: Desk) -> None:
    run = desk.trainer.begin(an_evaluated_plan())
    name = desk.trainer.run(run).manifest.name
    evaluation = desk.catalogue.signed(name).manifest.evaluation
    assert evaluation is not None
    assert (evaluation.present, evaluation.reason) == (
        "ggo@0",
        Code.EVALUATION_MISSED,
    )  # nobody there compares anything
    assert summary(run, name)["evaluation"]["reason"] == "evaluation-missed"
    assert desk.said[-1].startswith("evaluation: 0 sites compared")


def test_what_a_release_cost_holds_what_comparing_it_cost(desk: Desk) -> None:
    """The card calls it the most that was ever spent on a patient; sites say 0.5 after training here, and 1.0 after the comparison."""

    def compare(order: EvaluationOrder, _: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, EvaluationNotice]]:
        yield from ((site, evaluated_by(order, site)) for site in sites)

    desk.fleet.compare = compare
    manifest = desk.trainer.run(desk.trainer.begin(an_evaluated_plan())).manifest
    assert manifest.epsilon_max == 1.0


def test_a_release_without_an_evaluation_in_its_plan_has_none(desk: Desk) -> None:
    run, name = desk.train()
    assert desk.catalogue.signed(name).manifest.evaluation is None
    assert summary(run, name)["evaluation"] is None


def test_a_planned_evaluation_that_is_gone_gives_no_release(desk: Desk) -> None:
    run = desk.trainer.begin(an_evaluated_plan())
    (run.path / "present.json").unlink()
    with pytest.raises(InvalidInputError, match="lacks the evaluation"):
        desk.trainer.run(run)
    assert desk.catalogue.names() == ["ggo@0"]


def test_every_checkpoint_is_measured_and_told_once(desk: Desk) -> None:
    run, _ = desk.train()
    assert {number: scores.dice for number, scores in run.scores().items()} == {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3}
    assert len(desk.said) == 4
    assert desk.said[0].startswith("start: Dice 0.000")
    assert desk.said[3].startswith("round 3/3: 3 sites, ε ≤ 0.50; Dice 0.300")


def test_refusals_are_told_and_summed_up(desk: Desk) -> None:
    desk.fleet.codes = {WEST: Code.BUDGET_SPENT}
    run, name = desk.train()
    assert "2 sites, westhill refused (budget-spent)" in desk.said[1]
    document = summary(run, name)
    assert (document["ok"], document["release"], document["run_id"]) == (True, "ggo@1", run.run_id)
    assert document["start"] == {"dice": 0.0, "ggo_error_points": 1.0}
    assert [entry["refused"] for entry in document["rounds"]] == [{WEST: "budget-spent"}] * 3
    assert [entry["dice"] for entry in document["rounds"]] == [0.1, 0.2, 0.3]
    assert [entry["sites"] for entry in document["rounds"]] == [[NORTH, SOUTH]] * 3


def test_the_run_knows_its_sites_by_the_numbers_of_their_supernodes(desk: Desk) -> None:
    desk.fleet.online, desk.fleet.offline = (NORTH, SOUTH, "elsewhere"), (WEST,)
    assert desk.trainer.begin(a_plan()).nodes() == {NORTH: 11, SOUTH: 12, WEST: 14}


def test_of_two_supernodes_of_one_site_the_connected_one_counts(desk: Desk) -> None:
    desk.fleet.online, desk.fleet.offline = SITES, (NORTH, SOUTH)
    assert desk.trainer.begin(a_plan()).nodes() == {NORTH: 11, SOUTH: 12, WEST: 13}


# A run that does not begin.


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sites": (NORTH, NORTH)}, "names a site twice"),
        ({"quorum": 4}, "quorum of 4 is more than its 3 sites"),
        ({"base": "nodule@0"}, "not of the lineage ggo"),
        ({"secure_sum": SecureSumPlan(dropouts=0, colluders=1)}, "steps_per_round"),
    ],
)
def test_a_plan_that_no_run_could_fulfil_is_refused(desk: Desk, changes: dict[str, Any], says: str) -> None:
    check_plan(a_plan())
    with pytest.raises(InvalidInputError, match=says):
        desk.train(**changes)
    assert not desk.trainer.runs.exists()


def test_an_unknown_base_is_not_found(desk: Desk) -> None:
    assert code_of(lambda: desk.train(base="ggo@9")) is Code.NOT_FOUND


@pytest.mark.parametrize("online", [(), (NORTH,), (NORTH, "elsewhere")])
def test_without_its_quorum_a_run_does_not_begin(desk: Desk, online: tuple[str, ...]) -> None:
    desk.fleet.online = online
    with pytest.raises(RefusedError, match=f"not connected: .*{WEST}") as caught:
        desk.train()
    assert caught.value.code is Code.QUORUM_MISSED
    assert desk.fleet.started == []
    assert not desk.trainer.runs.exists()


def test_without_the_superlink_a_run_does_not_begin(desk: Desk) -> None:
    desk.fleet.silent = True
    assert code_of(desk.train) is Code.PEER_UNREACHABLE


# A run that ends early.


def test_a_run_whose_serverapp_died_says_how_to_go_on_and_goes_on(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan())
    desk.fleet.rounds_before_death = 1
    with pytest.raises(UnavailableError, match=f"after 1 rounds.*--resume {run.run_id}") as caught:
        desk.trainer.run(run)
    assert caught.value.code is Code.RUN_FAILED
    assert desk.catalogue.names() == ["ggo@0"]
    desk.fleet.rounds_before_death = None
    said = len(desk.said)
    again = desk.trainer.take_up(run.run_id)
    assert desk.trainer.run(again).manifest.rounds == 3
    assert [record.round for record in again.records()] == [1, 2, 3]
    assert len(desk.said) - said == 2, "what was measured is not measured again"


def test_a_serverapp_that_was_killed_is_noticed_by_the_lock_that_it_left(desk: Desk) -> None:
    """The SuperLink goes on to say that the run is under way, until it misses some heartbeats."""
    run = desk.trainer.begin(a_plan())
    desk.fleet.run_state = lambda number: RunState("stopped" if number in desk.fleet.stopped else "", "")  # type: ignore[method-assign]
    serverapp = ExitStack()
    serverapp.enter_context(run.held(101))
    with pytest.raises(UnavailableError, match=rf"the ServerApp died.*--resume {run.run_id}"):
        replace(desk.trainer, pause=lambda _: serverapp.close()).run(run)
    assert desk.fleet.stopped == [101]


def test_an_earlier_serverapp_that_lets_go_is_not_taken_for_ours(desk: Desk) -> None:
    """After the death of a SuperLink its ServerApp goes on for some seconds and holds the run that long."""
    run = desk.trainer.begin(a_plan())
    earlier = ExitStack()
    earlier.enter_context(run.held(55))
    looks = iter(range(100))

    def state(number: int) -> RunState:
        return RunState("", "") if next(looks) < 5 else MemoryFleet.run_state(desk.fleet, number)

    desk.fleet.run_state = state  # type: ignore[method-assign]
    trainer = replace(desk.trainer, pause=lambda _: earlier.close())
    assert trainer.run(run).manifest.rounds == 3


def test_a_superlink_that_stays_away_is_a_run_that_can_be_taken_up(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan())

    def fall_silent(line: str) -> None:
        desk.fleet.silent = line.startswith("round 1")

    with pytest.raises(UnavailableError, match=f"after 1 rounds.*--resume {run.run_id}") as caught:
        replace(desk.trainer, say=fall_silent).run(run)
    assert caught.value.code is Code.RUN_FAILED
    assert sum(desk.paused) == pytest.approx(PATIENCE_SECONDS)
    desk.fleet.silent, desk.fleet.state[101] = False, "failed"
    assert desk.trainer.run(desk.trainer.take_up(run.run_id)).manifest.name == "ggo@1"


def test_a_superlink_that_comes_back_is_waited_for(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan())
    pauses: list[float] = []

    def fall_silent(line: str) -> None:
        desk.fleet.silent = line.startswith("round 1")

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        desk.fleet.silent = desk.fleet.silent and sum(pauses) < PATIENCE_SECONDS / 2

    assert replace(desk.trainer, say=fall_silent, pause=wait).run(run).manifest.rounds == 3
    assert sum(pauses) >= PATIENCE_SECONDS / 2
    assert [record.round for record in run.records()] == [1, 2, 3]


def test_too_few_sites_end_a_run_and_it_can_go_on_with_more(desk: Desk) -> None:
    desk.fleet.codes, desk.fleet.at_once = {SOUTH: Code.NODE_ABSENT, WEST: Code.NODE_ABSENT}, True
    run = desk.trainer.begin(a_plan(rounds=5))
    with pytest.raises(RefusedError, match=f"after 3 rounds.*--resume {run.run_id}` goes on") as caught:
        desk.trainer.run(run)
    assert caught.value.code is Code.QUORUM_MISSED
    assert desk.fleet.stopped == [], "what has ended is not stopped"
    desk.fleet.codes = {}
    assert desk.trainer.run(desk.trainer.take_up(run.run_id)).manifest.rounds == 2


def test_a_run_that_used_up_its_rounds_is_not_to_be_taken_up(desk: Desk) -> None:
    desk.fleet.codes = {SOUTH: Code.NODE_ABSENT, WEST: Code.NODE_ABSENT}
    with pytest.raises(RefusedError, match="Start a new run"):
        desk.train(rounds=2)
    assert desk.catalogue.names() == ["ggo@0"]


class Interrupt(BaseException):
    """Ctrl-C."""


def test_who_interrupts_train_stops_the_serverapp(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan(rounds=5))

    def interrupt(line: str) -> None:
        if line.startswith("round 2"):
            raise Interrupt

    with pytest.raises(Interrupt):
        replace(desk.trainer, say=interrupt).run(run)
    assert desk.fleet.stopped == [101]
    assert desk.trainer.run(desk.trainer.take_up(run.run_id)).manifest.rounds == 5


def test_a_disk_that_is_full_for_the_scores_stops_the_serverapp_and_the_run_can_go_on(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan(rounds=5))

    def full(arrays: Arrays) -> Scores:
        if arrays["bias"][0]:
            raise UnavailableError(Code.DISK_FULL)
        return scored(arrays)

    assert code_of(lambda: replace(desk.trainer, measure=full).run(run)) is Code.DISK_FULL
    assert desk.fleet.stopped == [101]
    assert run.records()
    assert desk.trainer.run(desk.trainer.take_up(run.run_id)).manifest.rounds == 5


# Taking up.


def test_a_serverapp_that_was_left_behind_is_stopped_first(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan())
    run.note_flower_run(55)
    desk.fleet.state[55] = ""
    desk.trainer.take_up(run.run_id)
    assert desk.fleet.stopped == [55]


@pytest.mark.parametrize("way", ["begin", "take up"])
def test_a_run_whose_train_was_killed_is_stopped_before_another_one(desk: Desk, way: str) -> None:
    """Two secure summations at once end each other's rounds at every site, after the site was charged."""
    left, gone, other = (desk.trainer.begin(a_plan()) for _ in range(3))
    left.note_flower_run(55)
    gone.note_flower_run(56)
    desk.fleet.state |= {55: "", 56: "failed"}
    if way == "begin":
        desk.trainer.begin(a_plan())
    else:
        desk.trainer.take_up(other.run_id)
    assert desk.fleet.stopped == [55]
    assert [line for line in desk.said if "left behind" in line] == [
        f"run {left.run_id} was left behind and is stopped; `train --resume {left.run_id}` takes it up."
    ]
    desk.trainer.take_up(left.run_id)
    assert desk.fleet.stopped == [55]


def test_a_run_that_has_ended_or_is_damaged_keeps_no_other_from_its_beginning(desk: Desk) -> None:
    ended, _ = desk.train()
    damaged = desk.trainer.begin(a_plan())
    (damaged.path / "flower.json").write_bytes(b"no number")
    desk.trainer.begin(a_plan())
    assert (desk.fleet.stopped, ended.outcome()) == ([], "completed")


def test_a_run_that_gave_a_release_is_not_taken_up_again(desk: Desk) -> None:
    run, _ = desk.train()
    with pytest.raises(FederationError, match=r"gave the release ggo@1 already") as caught:
        desk.trainer.take_up(run.run_id)
    assert caught.value.code is Code.ALREADY_EXISTS


def test_a_run_that_was_completed_and_not_signed_is_signed_when_taken_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = desk.trainer.begin(a_plan())

    def full(*_: object, **__: object) -> None:
        raise UnavailableError(Code.DISK_FULL)

    monkeypatch.setattr(Catalogue, "add", full)
    assert code_of(lambda: desk.trainer.run(run)) is Code.DISK_FULL
    monkeypatch.undo()
    assert desk.trainer.run(desk.trainer.take_up(run.run_id)).manifest.rounds == 3


def test_the_numbers_of_the_supernodes_are_taken_anew(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan())
    desk.fleet.online = (WEST, SOUTH, NORTH)
    assert desk.trainer.take_up(run.run_id).nodes() == {WEST: 11, SOUTH: 12, NORTH: 13}


def test_an_unknown_run_is_not_found(desk: Desk) -> None:
    assert code_of(lambda: desk.trainer.take_up("f" * 32)) is Code.NOT_FOUND


def test_a_run_whose_first_weights_are_not_those_of_its_base_asks_nobody(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan())
    (run.path / "weights-0000.safetensors").write_bytes(save(weights(1)))
    assert code_of(lambda: desk.trainer.run(desk.trainer.take_up(run.run_id))) is Code.BAD_SHAPE
    assert desk.fleet.started == []


def test_weights_that_were_exchanged_after_the_last_round_are_not_signed(desk: Desk) -> None:
    run = desk.trainer.begin(a_plan())

    def exchange(line: str) -> None:
        if line.startswith("round 3"):
            (run.path / "weights-0003.safetensors").write_bytes(save(weights(9)))

    assert code_of(lambda: replace(desk.trainer, say=exchange).run(run)) is Code.BAD_SHAPE
    assert desk.catalogue.names() == ["ggo@0"]


# Plans as people write them.


PLAN = """
base = "ggo@0"
sites = ["northport", "southbay"]
rounds = 3
quorum = 2
learning_rate = 0.1
[privacy]
noise_multiplier = 1.0
clipping_norm = 0.5
sample_rate = 0.25
expected_batch = 8
steps_per_round = 2
"""


def test_a_plan_is_read(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    plan = read_plan(tmp_path / "plan.toml")
    assert (plan.sites, plan.rounds, plan.privacy.clipping_norm, plan.round_seconds) == (
        ("northport", "southbay"),
        3,
        0.5,
        600,
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("rounds = 3", "rounds = 0"), "rounds"),
        (("rounds = 3", "rounds = 3\nepsilon = 8"), "epsilon"),
        (("noise_multiplier = 1.0", "noise_multiplier = 0"), "privacy.noise_multiplier"),
        (("noise_multiplier = 1.0", "noise_multiplier = inf"), "privacy.noise_multiplier"),
        (("noise_multiplier = 1.0", "noise_multiplier = nan"), "privacy.noise_multiplier"),
        (('"southbay"', '"South Bay"'), "sites.1"),
        (('base = "ggo@0"', 'base = "ggo"'), "base"),
        (('base = "ggo@0"', ""), "base"),
        (("[privacy]", "[privacy"), "cannot be read as TOML"),
        (("learning_rate = 0.1", "learning_rate = 0.1\nstrategy = 'best'"), "strategy"),
        (("learning_rate = 0.1", "learning_rate = 0.1\nstrategy = 'krum'"), r"plan\.toml: krum_byzantine, at least 1"),
    ],
)
def test_a_wrong_plan_is_one_sentence_with_its_place(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace(*change))
    with pytest.raises(InvalidInputError, match=says) as caught:
        read_plan(tmp_path / "plan.toml")
    assert caught.value.code is Code.BAD_SETTING
    assert str(tmp_path / "plan.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("what", "code"), [("none", Code.NOT_FOUND), ("folder", Code.BAD_SETTING), ("bytes", Code.BAD_SETTING)]
)
def test_a_plan_that_cannot_be_read_is_said_so(tmp_path: Path, what: str, code: Code) -> None:
    path = tmp_path / "plan.toml"
    make: dict[str, Callable[[], object]] = {
        "none": lambda: None, "folder": path.mkdir, "bytes": lambda: path.write_bytes(b"\xff\xfe"),
    }  # fmt: skip
    make[what]()
    assert code_of(lambda: read_plan(path)) is code


def test_the_shipped_weights_can_be_measured_on_the_public_phantoms() -> None:
    from models.weights import STARTING

    scores = phantom_measure(1)(load(STARTING.read_bytes()))
    assert scores.cases == 1
