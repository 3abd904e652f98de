"""What holds for every strategy: order does not show, equal updates stay what they are, hostile ones are held within the honest range."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from protocol.plan import RunPlan, StrategyName
from server.spool import spooling
from strategies import stack as stacks
from strategies.arrays import Arrays, layout_of
from strategies.stack import stacked
from strategies.strategy import STRATEGIES, Averaging
from tests.fakes.rounds import a_plan
from tests.fakes.updates import around, block_of, flat_of, same, update_of

FINITE = st.floats(-1e6, 1e6, width=32)
LARGE = float(np.float32(1e30))
KEYS = {
    StrategyName.FEDPROX: {"prox_mu": 0.1}, StrategyName.FEDADAM: {"server_learning_rate": 0.01},
    StrategyName.TRIMMED_MEAN: {"trim": 2}, StrategyName.KRUM: {"krum_byzantine": 2}, StrategyName.MULTI_KRUM: {"krum_byzantine": 2},
}  # fmt: skip
EVERY = sorted(StrategyName)
COMPARING = [name for name in EVERY if not isinstance(STRATEGIES[name], Averaging)]


def plan_of(name: StrategyName) -> RunPlan:
    return a_plan(strategy=name, quorum=7, **KEYS.get(name, {}))


def combine(name: StrategyName, updates: list[Arrays]) -> Arrays:
    strategy = STRATEGIES[name]
    if isinstance(strategy, Averaging):
        return strategy.combine(updates)
    return strategy.combine(stacked(updates), plan_of(name))


@st.composite
def some_updates(draw: st.DrawFn, sites: int = 7) -> list[Arrays]:
    return [update_of(draw(arrays_of.arrays(np.float32, 14, elements=FINITE))) for _ in range(sites)]


def test_every_name_of_a_plan_has_a_strategy() -> None:
    assert set(STRATEGIES) == set(StrategyName)


@pytest.mark.parametrize("name", EVERY)
@settings(deadline=None, max_examples=30)
@given(value=arrays_of.arrays(np.float32, 14, elements=st.floats(-LARGE, LARGE, width=32)), sites=st.integers(7, 12))
def test_a_combination_of_equal_updates_is_that_update(name: StrategyName, value: np.ndarray, sites: int) -> None:
    update = update_of(value)
    assert np.array_equal(flat_of(combine(name, [update] * sites)), flat_of(update))


@pytest.mark.parametrize("name", EVERY)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(8)))
def test_the_order_of_the_updates_does_not_show(name: StrategyName, seed: int, order: list[int]) -> None:
    updates = around(0.5, 8, seed=seed, spread=2.0)
    one, other = combine(name, updates), combine(name, [updates[at] for at in order])
    assert np.allclose(flat_of(one), flat_of(other), rtol=2e-7, atol=0 if name is StrategyName.MEDIAN else 1e-12)


@pytest.mark.parametrize("name", [StrategyName.KRUM, StrategyName.MEDIAN])
def test_what_only_picks_values_picks_the_same_bits_in_every_order(name: StrategyName) -> None:
    updates = around(0.5, 7, spread=2.0)
    results = [combine(name, list(order)) for order in itertools.islice(itertools.permutations(updates), 0, 5040, 97)]
    assert all(same(result, results[0]) for result in results)


@pytest.mark.parametrize("name", [StrategyName.TRIMMED_MEAN, StrategyName.MEDIAN])
@settings(deadline=None)
@given(updates=some_updates(5), hostile=some_updates(2), size=st.sampled_from([1.0, 1e3, 1e30]))
def test_two_hostile_updates_of_seven_stay_within_the_honest_range(
    name: StrategyName, updates: list[Arrays], hostile: list[Arrays], size: float
) -> None:
    loud = [update_of(flat_of(one) * np.float32(size)) for one in hostile]
    result, honest = flat_of(combine(name, [*updates, *loud])), block_of(updates)
    assert (honest.min(axis=0) <= result).all()
    assert (result <= honest.max(axis=0)).all()


@settings(deadline=None)
@given(updates=some_updates())
def test_krum_picks_one_of_the_updates(updates: list[Arrays]) -> None:
    picked = combine(StrategyName.KRUM, updates)
    assert any(np.array_equal(flat_of(picked), flat_of(update)) for update in updates)


@pytest.mark.parametrize("name", [StrategyName.KRUM, StrategyName.MULTI_KRUM])
@pytest.mark.parametrize("loud", [3.0, 1e4, 1e30])
def test_krum_takes_nothing_of_two_hostile_updates_that_agree(name: StrategyName, loud: float) -> None:
    honest = around(1.0, 5)
    hostile = [update_of(np.full(14, -loud, np.float32))] * 2
    result = flat_of(combine(name, [*hostile, *honest]))
    assert (block_of(honest).min(axis=0) <= result).all()
    assert (result <= block_of(honest).max(axis=0)).all()


@settings(deadline=None)
@given(updates=some_updates(5), hostile=some_updates(2))
def test_a_clipped_mean_is_no_longer_than_the_longest_honest_update(
    updates: list[Arrays], hostile: list[Arrays]
) -> None:
    loud = [update_of(flat_of(one) * np.float32(1e20)) for one in hostile]
    longest = np.linalg.norm(block_of(updates).astype(np.float64), axis=1).max()
    length = np.linalg.norm(flat_of(combine(StrategyName.CLIPPED_MEAN, [*updates, *loud])).astype(np.float64))
    assert length <= longest * (1 + 1e-6)


@pytest.mark.parametrize("name", COMPARING)
def test_the_plain_mean_is_moved_by_what_the_robust_rules_withstand(name: StrategyName) -> None:
    updates = [*around(1.0, 6), *[update_of(np.full(14, -1e6, np.float32))] * 2]
    assert (flat_of(combine(StrategyName.FEDAVG, updates)) < -1e5).all()
    assert (np.abs(flat_of(combine(name, updates)) - 1.0) < 1.0).all()


@pytest.mark.parametrize("name", COMPARING)
def test_updates_on_the_disk_give_the_same_bits_as_updates_in_memory(
    name: StrategyName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "BLOCK", 5)  # several blocks, the last one shorter
    updates, strategy = around(0.5, 7, spread=3.0), STRATEGIES[name]
    assert not isinstance(strategy, Averaging)
    with spooling(tmp_path / "spool", layout_of(updates[0])) as spool:
        for number, update in enumerate(updates):
            spool.add(f"site-{number}", update)
        assert same(strategy.combine(spool.stack(), plan_of(name)), combine(name, updates))


@pytest.mark.parametrize("name", EVERY)
def test_no_update_gives_no_step(name: StrategyName) -> None:
    strategy, empty = STRATEGIES[name], stacked(around(0, 1)).only([])
    with pytest.raises(ValueError):
        strategy.combine([]) if isinstance(strategy, Averaging) else strategy.combine(empty, plan_of(name))
