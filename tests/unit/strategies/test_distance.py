"""How far hostile sites can move what comes out: never further from the honest mean than the figure that
`docs/explanation/hostile-sites.md` proves, whatever they send.

n = 10 sites, f = 2 of them hostile. The figure is κ: the squared distance is at most κ times the mean squared distance of the honest updates
from their own mean.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.attacks import ATTACKS, SPREADS
from protocol.plan import StrategyName
from strategies.arrays import Arrays
from strategies.stack import stacked
from strategies.strategy import STRATEGIES, Averaging
from tests.fakes.rounds import a_plan
from tests.fakes.updates import block_of, flat_of, update_of

SITES, HOSTILE = 10, 2
HONEST = SITES - HOSTILE

KRUM = 2 * HONEST / (SITES - 2 * HOSTILE - 2) * (2 * (HONEST - 2) / (HONEST - 1) + 1)
PROVED = {
    StrategyName.TRIMMED_MEAN: HOSTILE / (SITES - 2 * HOSTILE),
    StrategyName.MEDIAN: 2 * HONEST / (SITES - 2 * HOSTILE),
    StrategyName.KRUM: KRUM,
    StrategyName.MULTI_KRUM: KRUM,
}
KEYS = {StrategyName.TRIMMED_MEAN: {"trim": HOSTILE}, StrategyName.KRUM: {"krum_byzantine": HOSTILE},
        StrategyName.MULTI_KRUM: {"krum_byzantine": HOSTILE}}  # fmt: skip

LOUD = "a million times as long"


def combine(name: StrategyName, updates: list[Arrays]) -> NDArray[np.float64]:
    strategy = STRATEGIES[name]
    if isinstance(strategy, Averaging):
        return flat_of(strategy.combine(updates)).astype(np.float64)
    plan = a_plan(strategy=name, quorum=7, **KEYS.get(name, {}))
    return flat_of(strategy.combine(stacked(updates), plan)).astype(np.float64)


def kappa(name: StrategyName, honest: list[Arrays], sent: list[Arrays]) -> float:
    """The squared distance from the honest mean, in mean squared distances of the honest updates from it."""
    block = block_of(honest).astype(np.float64)
    middle = block.mean(axis=0)
    spread = np.square(block - middle).sum(axis=1).mean()
    return float(np.square(combine(name, [*sent, *honest]) - middle).sum() / spread)


def alike(seed: int) -> list[Arrays]:
    rng = np.random.default_rng(seed)
    middle = rng.normal(0, 1, 14)
    return [update_of((middle + rng.normal(0, 0.3, 14)).astype(np.float32)) for _ in range(HONEST)]


def two_kinds(seed: int) -> list[Arrays]:
    """Three of the eight hospitals hold other patients than the rest."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(0, 2, 14)
    return [update_of((shift * (at < 3) + rng.normal(0, 0.3, 14)).astype(np.float32)) for at in rng.permutation(HONEST)]


def one_apart(seed: int) -> list[Arrays]:
    rng = np.random.default_rng(seed)
    return [update_of(rng.normal(0, 10.0 if at == 0 else 0.1, 14).astype(np.float32)) for at in range(HONEST)]


def tight(seed: int) -> list[Arrays]:
    """Two honest sites say the same in every value, and all others something else: where a trimmed mean is worst."""
    high = np.random.default_rng(seed).choice([-1.0, 1.0], 14)
    return [update_of((high if at < HOSTILE else 0 * high).astype(np.float32)) for at in range(HONEST)]


KINDS = {"alike": alike, "two kinds": two_kinds, "one apart": one_apart, "tight": tight}


def forgeries(honest: list[Arrays], seed: int) -> Iterator[tuple[str, list[Arrays]]]:
    """Every attack, by both hostile sites at once; those that stay near, also by each of them towards another side."""
    rng = np.random.default_rng(seed)
    own = honest[0]
    for name, attack in ATTACKS.items():
        yield name, [attack(own, honest, rng) for _ in range(HOSTILE)]
    yield LOUD, [update_of(np.float32(-1e6) * flat_of(own)) for _ in range(HOSTILE)]
    yield "as far as one honest", [update_of(flat_of(honest[int(rng.integers(HONEST))])) for _ in range(HOSTILE)]
    for reach in (0.5, 1.0, 2.0, 4.0):
        block = block_of(honest).astype(np.float64)
        away = rng.choice([-1.0, 1.0], 14) * block.std(axis=0)
        yield f"{reach} spreads", [update_of((block.mean(axis=0) + reach * away).astype(np.float32))] * HOSTILE


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("name", sorted(PROVED))
def test_whatever_two_of_ten_send_the_distance_is_within_the_proved_figure(name: StrategyName, kind: str) -> None:
    for seed in range(20):
        honest = KINDS[kind](seed)
        for attack, sent in forgeries(honest, seed):
            assert kappa(name, honest, sent) <= PROVED[name] * (1 + 1e-5), f"{attack}, seed {seed}"


def test_the_plain_mean_has_no_figure() -> None:
    honest = alike(0)
    sent = dict(forgeries(honest, 0))
    assert kappa(StrategyName.FEDAVG, honest, sent[LOUD]) > 1e9
    assert kappa(StrategyName.FEDAVG, honest, sent["scaling"]) > max(PROVED.values())


@pytest.mark.parametrize("name", sorted({StrategyName.FEDAVG, *PROVED} - {StrategyName.KRUM}))
def test_what_hides_among_the_honest_updates_moves_every_rule_and_none_much(name: StrategyName) -> None:
    """No rule is proof against it: what is promised is how far it gets. The plain mean is moved by f/n of the way that it went."""
    for attack in ("a little is enough", "min-max", "min-sum"):
        for seed in range(5):
            honest = alike(seed)
            moved = kappa(name, honest, dict(forgeries(honest, seed))[attack])
            assert 0.01 < moved < 1.0, f"{attack}, seed {seed}"
            if (name, attack) == (StrategyName.FEDAVG, "a little is enough"):
                assert moved == pytest.approx((SPREADS * HOSTILE / SITES) ** 2, rel=1e-3)


def test_the_figure_of_the_trimmed_mean_is_reached_so_no_smaller_one_holds() -> None:
    honest = tight(0)
    sent = [update_of(flat_of(honest[-1]) - flat_of(honest[0]))] * HOSTILE
    # The two that are alike are trimmed away on their side, and two of the many on the other.
    assert kappa(StrategyName.TRIMMED_MEAN, honest, sent) == pytest.approx(PROVED[StrategyName.TRIMMED_MEAN], rel=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_clipped_mean_is_within_two_lengths_of_the_longest_honest_update_and_that_is_all_it_claims(kind: str) -> None:
    for seed in range(20):
        honest = KINDS[kind](seed)
        block = block_of(honest).astype(np.float64)
        longest = np.linalg.norm(block, axis=1).max()
        for attack, sent in forgeries(honest, seed):
            distance = np.linalg.norm(combine(StrategyName.CLIPPED_MEAN, [*sent, *honest]) - block.mean(axis=0))
            assert distance <= 2 * longest * (1 + 1e-5), f"{attack}, seed {seed}"


@pytest.mark.parametrize("name", sorted(PROVED))
def test_the_page_names_the_figure(name: StrategyName) -> None:
    page = Path(__file__).resolve().parents[3] / "docs/explanation/hostile-sites.md"
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}`")]
    assert any(line.endswith(f"| {PROVED[name]:.2f} |") for line in lines)
