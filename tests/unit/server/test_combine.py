"""From updates to a step: when they go to the disk, who is screened, and how much memory it takes."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from protocol.plan import RunPlan, StrategyName
from server import combine as combine_module
from server.combine import combined
from strategies.arrays import Arrays
from strategies.fedavg import federated_average
from tests.fakes.rounds import a_plan
from tests.fakes.updates import around, same, update_of

SCREENED = a_plan(quorum=3, screening={"norm_factor": 3.0, "min_cosine": 0.0})


def named(updates: list[dict[str, np.ndarray]]) -> Iterator[tuple[str, Arrays]]:
    yield from ((f"site-{number}", update) for number, update in enumerate(updates))


def test_a_plain_mean_never_touches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("the disk was used")

    monkeypatch.setattr(combine_module, "spooling", refused)
    step, screened = combined(a_plan(), named(around(1.0, 3)), tmp_path / "spool")
    assert step is not None
    assert same(step, federated_average(around(1.0, 3)))
    assert screened == ()


def test_screened_updates_are_named_and_left_out_of_the_mean(tmp_path: Path) -> None:
    honest = around(1.0, 5)
    hostile = update_of(np.full(14, -40, np.float32))
    step, screened = combined(SCREENED, named([*honest[:2], hostile, *honest[2:]]), tmp_path / "spool")
    assert screened == ("site-2",)
    assert step is not None
    assert same(step, federated_average(honest))
    assert not (tmp_path / "spool").exists()


def test_with_too_few_left_there_is_no_step(tmp_path: Path) -> None:
    hostile = update_of(np.full(14, -40, np.float32))
    assert combined(SCREENED, named([*around(1.0, 2), hostile]), tmp_path / "spool") == (None, ("site-2",))
    assert combined(SCREENED, named([]), tmp_path / "spool") == (None, ())
    krum = a_plan(strategy=StrategyName.KRUM, krum_byzantine=1, quorum=5)
    assert combined(krum, named(around(1.0, 4)), tmp_path / "spool") == (None, ())


@pytest.mark.parametrize("name", [StrategyName.MEDIAN, StrategyName.CLIPPED_MEAN])
def test_the_order_of_arrival_does_not_change_one_bit(tmp_path: Path, name: StrategyName) -> None:
    plan = a_plan(strategy=name, quorum=3)
    pairs = list(named(around(1.0, 6, spread=3.0)))
    one, _ = combined(plan, iter(pairs), tmp_path / "spool")
    other, _ = combined(plan, iter(pairs[::-1]), tmp_path / "spool")
    assert one is not None
    assert other is not None
    assert same(one, other)


SIZE = 1_000_000
"""Values of an update: 4 MB."""


def large(sites: int) -> Iterator[tuple[str, Arrays]]:
    for number in range(sites):
        yield f"site-{number:02}", {"w": np.random.default_rng(number).standard_normal(SIZE, dtype=np.float32)}


def peak_mb(plan: RunPlan, sites: int, folder: Path) -> float:
    tracemalloc.start()
    try:
        combined(plan, large(sites), folder)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


PLANS = {
    "fedavg": a_plan(),
    "trimmed-mean": a_plan(strategy="trimmed-mean", trim=1, quorum=3),
    "krum": a_plan(strategy="krum", krum_byzantine=1, quorum=5),
    "clipped-mean": a_plan(strategy="clipped-mean", quorum=3),
    "screened-mean": SCREENED,
}


@pytest.mark.parametrize("name", sorted(PLANS))
def test_memory_does_not_grow_with_the_sites(tmp_path: Path, name: str) -> None:
    few, many = (peak_mb(PLANS[name], sites, tmp_path / "spool") for sites in (5, 20))
    blocks = 15 * 16_384 * 4 / 2**20 * 6  # of each further site some copies of a block, in float32 and float64
    assert many - few < blocks
    assert many < 25, "all updates together are 80 MB"
