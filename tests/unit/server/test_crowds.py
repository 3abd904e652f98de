"""A thousand sites in one round: every update counts once, whoever is silent is late, and memory does not grow with their number."""

import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from protocol.codes import Code
from protocol.secure_sum import Boxes, SealedShares, SecureQuestion
from server.app import way_to_secrets, way_to_sites
from server.rounds import run_rounds
from server.run import COMPLETED, RunFolder
from strategies.flower import questions
from strategies.flower.questions import POLLING, Waiting
from tests.fakes.crowd import Crowd, Update
from tests.fakes.rounds import RUN, a_plan, an_order
from tests.fakes.superlink import MemorySuperLink, within_a_task


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    within_a_task(monkeypatch)
    monkeypatch.setattr(questions, "LOOK_SECONDS", 0)


def constant(value: float, parameters: int) -> dict[str, np.ndarray]:
    return {"w": np.full(parameters, value, np.float32)}


def carried(
    folder: Path, said: dict[int, Update], *, sites: int, parameters: int, waiting: Waiting = POLLING
) -> RunFolder:
    """A run of one round over `sites` sites, of whom those in `said` answer."""
    names = {number: f"site-{number:04d}" for number in range(sites)}
    plan = a_plan(sites=tuple(names.values()), rounds=1, quorum=1, round_seconds=600)
    run = RunFolder(folder / RUN)
    run.start(plan, {name: number for number, name in names.items()}, save(constant(0.0, parameters)))
    run_rounds(run, way_to_sites(Crowd(names, said), run.nodes(), waiting), clock=time.monotonic)
    return run


def updates(values: Iterable[float], parameters: int) -> dict[int, Update]:
    return {number: Update(constant(value, parameters)) for number, value in enumerate(values)}


def test_the_mean_of_a_thousand_sites_is_exact(tmp_path: Path) -> None:
    """Site n answers n everywhere; one that was lost or counted twice would move the mean."""
    run = carried(tmp_path, updates(range(1000), 3), sites=1000, parameters=3)
    assert run.outcome() == COMPLETED
    assert len(run.records()[0].sites) == 1000
    assert run.weights(1)["w"].tolist() == [499.5] * 3


def test_who_is_silent_is_late_and_the_others_count(tmp_path: Path) -> None:
    ticks = iter(range(1_000_000))
    waiting = Waiting(rest=lambda _: None, clock=lambda: float(next(ticks)))
    run = carried(tmp_path, updates([1.0] * 90, 3), sites=100, parameters=3, waiting=waiting)
    (record,) = run.records()
    assert len(record.sites) == 90
    assert record.refused == {f"site-{number:04d}": Code.ROUND_LATE for number in range(90, 100)}


def peak(folder: Path, sites: int, parameters: int) -> int:
    """The most memory that a round over so many sites takes beyond what was there before, in bytes."""
    folder.mkdir()
    update = Update(constant(1.0, parameters))
    tracemalloc.start()
    try:
        carried(folder, dict.fromkeys(range(sites), update), sites=sites, parameters=parameters)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Mute(MemorySuperLink):
    """Nobody answers; what was asked waits, as at a centre in the midst of a round."""


def peak_of_secrets(sites: int, base: dict[str, np.ndarray]) -> int:
    """The most memory that the questions of a secure summation take, with the weights in them, in bytes."""
    names = {f"site-{number:04d}": number for number in range(sites)}
    order, ticks = an_order(), iter(range(10_000))
    asked = {site: SecureQuestion(order=order, asked=Boxes(boxes=(a_box(site),))) for site in names}
    waiting = Waiting(rest=lambda _: None, clock=lambda: float(next(ticks)))
    tracemalloc.start()
    try:
        answers = dict(way_to_secrets(Mute(), names, waiting)(asked, base, 10.0))
        assert set(answers.values()) == {Code.ROUND_LATE}
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def a_box(receiver: str) -> SealedShares:
    return SealedShares(sender="northport", receiver=receiver, box="A" * 198)


def test_the_weights_of_a_secure_summation_are_held_once_whoever_is_asked() -> None:
    base = constant(1.0, 3_000_000)
    few, many = (peak_of_secrets(sites, base) for sites in (4, 20))
    assert many - few < 4 * 3_000_000, "less than the weights once, for sixteen sites more"


def test_memory_does_not_grow_with_the_number_of_sites(tmp_path: Path) -> None:
    parameters = 500_000
    few, many = peak(tmp_path / "few", 4, parameters), peak(tmp_path / "many", 60, parameters)
    assert many - few < 4 * parameters, "more than one update beyond what four sites need"
