"""Fifty rounds in which nodes, runners, SuperNodes, the ServerApp and the SuperLink are killed at random, by a seed: no round without an account.

Every round counts with its quorum or is skipped with a reason for each site; every update that left was charged, once; and the model is
what an undisturbed run gives, within the noise of the sites.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from protocol.codes import Code
from protocol.errors import FederationError, RefusedError, UnavailableError
from protocol.plan import RoundOrder, RunPlan, UpdateNotice
from protocol.release import Scores, SignedManifest
from server.family import family
from server.home import Plot, make_home
from server.rounds import run_rounds
from server.run import RoundRecord, RunFolder
from server.runtime import open_catalogue, open_trainer
from server.settings import load_settings
from server.tally import Said
from server.training import Trainer
from strategies.arrays import Arrays, arrays_sha256
from tests.fakes.federation import ROOT, CentreUnderTest, until
from tests.fakes.rough_price import rough_price
from tests.fakes.soak_site import BASE, LINEAGE, NOISE, PULL, TARGET, open_gate, open_kept, open_ledger, pulled, start

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.timeout(900)]

SEED = 20261126
ROUNDS, QUORUM = 50, 2
SITES = ("northport", "southbay", "westhill")
KILLS = (("runner", 4), ("supernode", 2), ("node", 2), ("serverapp", 3), ("superlink", 2))
FIRST_KILL, LAST_KILL = 2, 44
"""Rounds. The last few are left alone, so that the run has an end to come to."""

DEATHS = {Code.NODE_ABSENT, Code.ROUND_LATE, Code.RUN_FAILED, Code.NODE_FAULT}
"""What a round may say of a site that was killed in it, or was not back yet."""


@dataclass
class Hospital:
    """A site and its two processes."""

    home: Path
    name: str
    port: int
    environment: dict[str, str]
    children: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, part: str) -> None:
        self.children[part] = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.soak_site", str(self.home), self.name, str(self.port), part],
            env=self.environment, cwd=ROOT, stdout=(self.home / f"{part}.log").open("ab"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def kill(self, part: str) -> None:
        """Kill a process with all that it started, and do not start it again."""
        child = self.children[part]
        kill_all(family(child.pid))
        child.wait(10)

    def require_alive(self) -> None:
        """What ended by itself would be away for good, and every round late for another reason than a kill."""
        for part, child in self.children.items():
            assert child.poll() is None, (
                f"{self.name}'s {part} ended by itself: {(self.home / f'{part}.log').read_text()[-2000:]}"
            )

    def end_supernode(self, number: signal.Signals) -> None:
        """End the SuperNode alone; whoever keeps it starts it again."""
        outside = self.children["outside"].pid
        kill_all(family(outside) - {outside}, number)

    def end(self) -> None:
        for part in list(self.children):
            self.kill(part)


def kill_all(processes: set[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in processes:
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it ended by itself
            continue


@dataclass
class World:
    """The centre, its hospitals, and what is about to happen to them."""

    centre: CentreUnderTest
    hospitals: dict[str, Hospital]

    def trainer(self) -> Trainer:
        return replace(open_trainer(load_settings(self.centre.home)), measure=unmeasured, say=lambda _: None)

    def named(self, word: str) -> set[int]:
        return {pid for pid in self.centre.processes() if word in command_of(pid)}


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def unmeasured(_: Arrays) -> Scores:
    """Nothing here segments anything."""
    return Scores(cases=1, dice=0.5, ggo_error_points=0.0, false_opacity_points=0.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("soak")
    centre = CentreUnderTest(folder / "centre")
    make_home(centre.home, Plot(base_port=centre.port), now=datetime.now(UTC))
    settings = load_settings(centre.home)
    open_catalogue(settings).add(
        save(start()), lineage=LINEAGE, parent=None, architecture=LINEAGE, run_id=None, rounds=0, sites=0,
        epsilon_max=None, scores=None,
    )  # fmt: skip
    made = World(centre, {})
    try:
        centre.start()
        for number, name in enumerate(SITES):
            centre.enrol(folder / name, name)
            hospital = Hospital(folder / name, name, centre.port + 4 + 2 * number, centre.environment)
            made.hospitals[name] = hospital
            for part in ("outside", "runner"):
                hospital.start(part)
        yield made
    finally:
        for hospital in made.hospitals.values():
            hospital.end()
        if centre.child is not None and centre.child.poll() is None:
            centre.stop()


def a_plan() -> RunPlan:
    return RunPlan.model_validate(
        {
            "lineage": LINEAGE, "base": BASE, "sites": SITES, "rounds": ROUNDS, "quorum": QUORUM, "round_seconds": 10,
            "learning_rate": 0.1,
            "privacy": {
                "noise_multiplier": 1.0, "clipping_norm": 1.0, "sample_rate": 0.1, "expected_batch": 4, "steps_per_round": 1,
            },
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """At which round, so many seconds into it, what is killed."""

    round: int
    delay: float
    what: str
    site: str
    away: float


def drawn_kills(seed: int) -> list[Kill]:
    chance = random.Random(seed)
    kinds = [kind for kind, times in KILLS for _ in range(times)]
    chance.shuffle(kinds)
    rounds = sorted(chance.sample(range(FIRST_KILL, LAST_KILL), len(kinds)))
    return [
        Kill(number, chance.uniform(0, 1), kind, chance.choice(SITES), chance.uniform(0, 3))
        for number, kind in zip(rounds, kinds, strict=True)
    ]


class Reaper(threading.Thread):
    """Kills as drawn, while the run goes on."""

    def __init__(self, world: World, folder: RunFolder, kills: list[Kill]) -> None:
        super().__init__(name="reaper", daemon=True)
        self.done: list[Kill] = []
        self.failed: BaseException | None = None
        self.over = threading.Event()
        self._world, self._folder, self._kills = world, folder, kills

    def run(self) -> None:
        try:
            for kill in self._kills:
                while len(self._folder.records()) + 1 < kill.round:
                    if self.over.wait(0.05):
                        return
                time.sleep(kill.delay)
                self._kill(kill)
                self.done.append(kill)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failed = error

    def _kill(self, kill: Kill) -> None:
        for one in self._world.hospitals.values():
            one.require_alive()
        hospital = self._world.hospitals[kill.site]
        if kill.what == "supernode":
            hospital.end_supernode(signal.SIGKILL)
        elif kill.what in {"runner", "node"}:
            parts = ["runner"] if kill.what == "runner" else ["runner", "outside"]
            for part in parts:
                hospital.kill(part)
            if kill.what == "runner":
                hospital.end_supernode(signal.SIGTERM)  # as the node's supervisor does
            self.over.wait(kill.away)
            for part in reversed(parts):
                hospital.start(part)
        else:
            word = "flwr-serverapp" if kill.what == "serverapp" else "strategies.flower.superlink"
            until(lambda: bool(self._world.named(word)), seconds=90, what=f"there is a {kill.what}")
            kill_all(self._world.named(word))


def carried_to_its_end(world: World, folder: RunFolder, *, seconds: float) -> SignedManifest:
    """Do what a coordinator does: take the run up again after every death, until there is a release."""
    deadline = time.monotonic() + seconds
    trainer = world.trainer()
    while True:
        assert time.monotonic() < deadline, f"{len(folder.records())} rounds after {seconds} s"
        try:
            return trainer.run(folder)
        except (UnavailableError, RefusedError):
            folder = taken_up(trainer, folder.run_id, deadline)


def taken_up(trainer: Trainer, run_id: str, deadline: float) -> RunFolder:
    while True:
        try:
            return trainer.take_up(run_id)
        except FederationError:
            assert time.monotonic() < deadline
            time.sleep(1)


def begun(world: World) -> RunFolder:
    """Begin as soon as every hospital is connected."""
    trainer, found = world.trainer(), list[RunFolder]()

    def ready() -> bool:
        try:
            if {node.name for node in trainer.fleet.nodes() if node.online} < set(SITES):
                return False
            found.append(trainer.begin(a_plan()))
        except FederationError:
            return False
        return True

    until(ready, seconds=240, what="the hospitals are connected")
    trainer.fleet.close()
    return found[0]


def undisturbed(folder: RunFolder) -> Arrays:
    """The same rounds of the same sites with nothing in between."""

    def ask(order: RoundOrder, base: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
        for site in sites:
            update = pulled(site, order, base)
            notice = UpdateNotice(
                run_id=order.run_id, round=order.round, site=site, base_sha256=order.base_sha256,
                update_sha256=arrays_sha256(update), epsilon=0.1, delta=1e-5,
            )  # fmt: skip
            yield site, (notice, update)

    folder.start(a_plan(), dict.fromkeys(SITES, 1), save(start()))
    run_rounds(folder, ask, clock=time.monotonic)
    return folder.latest()[1]


@dataclass(frozen=True)
class Story:
    """What came of it."""

    folder: RunFolder
    release: SignedManifest
    kills: list[Kill]
    world: World

    @property
    def records(self) -> list[RoundRecord]:
        return self.folder.records()

    def charged(self, site: str) -> list[int]:
        """The rounds in a site's ledger, in their order. Reading it verifies its chain."""
        history = open_ledger(self.world.hospitals[site].home).history()
        assert {entry.spend.run_id for entry in history} == {self.folder.run_id}
        return [entry.spend.round for entry in history]


@pytest.fixture(scope="module")
def story(world: World) -> Story:
    folder = begun(world)
    reaper = Reaper(world, folder, drawn_kills(SEED))
    reaper.start()
    try:
        release = carried_to_its_end(world, folder, seconds=600)
    finally:
        reaper.over.set()
        reaper.join(120)
        if reaper.failed is not None:
            raise reaper.failed
    return Story(folder, release, reaper.done, world)


def test_everything_was_killed_as_often_as_was_drawn(story: Story) -> None:
    assert Counter(kill.what for kill in story.kills) == dict(KILLS)


def test_every_round_counts_with_its_quorum_or_is_skipped_with_a_reason(story: Story) -> None:
    assert [record.round for record in story.records] == list(range(1, ROUNDS + 1))
    for record in story.records:
        assert record.skipped is (len(record.sites) < QUORUM)
        assert {*record.sites, *record.refused} == set(SITES), f"round {record.round} is silent of a site"
        assert set(record.refused.values()) <= DEATHS
    assert sum(not record.skipped for record in story.records) >= ROUNDS // 2
    assert any(record.refused for record in story.records), "nobody felt anything"


@pytest.mark.parametrize("site", SITES)
def test_no_charge_is_lost_or_doubled(story: Story, site: str) -> None:
    charged = story.charged(site)
    assert len(charged) == len(set(charged)), "charged twice for one round"
    told = {record.round: record.epsilon[site] for record in story.records if site in record.epsilon}
    assert set(told) <= set(charged), "an update left that was not charged"
    unheard = set(charged) - set(told)
    assert all(story.records[number - 1].refused.get(site) in DEATHS for number in unheard)
    events = [entry.spend.event for entry in open_ledger(story.world.hospitals[site].home).history()]
    for number, epsilon in told.items():
        assert epsilon == pytest.approx(rough_price(events[: charged.index(number) + 1], 1e-5))


@pytest.mark.parametrize("site", SITES)
def test_what_left_stands_in_an_audit_that_verifies(story: Story, site: str) -> None:
    home = story.world.hospitals[site].home
    audit = open_gate(home).audit
    audit.verify()
    released = {row.subject for row in audit.rows() if row.event == "update.released"}
    run_id, charged = story.folder.run_id, set(story.charged(site))
    told = {f"{run_id}:{record.round}" for record in story.records if site in record.epsilon}
    assert told <= released <= {f"{run_id}:{number}" for number in charged}
    rows = open_kept(home).connection.execute("SELECT run_id, round FROM released_update")
    assert {f"{row['run_id']}:{row['round']}" for row in rows} >= released


def test_the_model_is_that_of_an_undisturbed_run_within_noise(story: Story, tmp_path: Path) -> None:
    """The weights settle about the target with the variance of a first-order autoregression, s^2 / n / (1 - (1 - p)^2)."""
    catalogue = open_catalogue(load_settings(story.world.centre.home))
    found = load(catalogue.weights(story.release.manifest.name))
    calm = undisturbed(RunFolder(tmp_path / ("a" * 32)))
    spread = sum(NOISE**2 / sites / (1 - (1 - PULL) ** 2) for sites in (QUORUM, len(SITES))) ** 0.5
    for name, array in found.items():
        assert float(np.sqrt(np.mean((array - calm[name]) ** 2))) < 1.5 * spread
        assert abs(float(array.mean()) - TARGET) < spread
    assert story.folder.latest()[1].keys() == found.keys()
