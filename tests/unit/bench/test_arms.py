"""Arms of the utility benchmark: they cost what they say, and their noise is the product's own."""

import math
from functools import cache

import numpy as np
import pytest

from bench import arms
from bench.arms import SECURE_SUM, Arm, Tuning, epsilon_of, plan_of, train
from bench.patients import Cohorts
from models.weights import STARTING, load_arrays
from protocol.plan import RunPlan
from strategies.securesum.terms import terms_of

pytestmark = pytest.mark.slow

ROUNDS, SITES, PATIENTS = 3, 4, 60


def arm(target: float | None, *, shared: bool) -> Arm:
    return Arm("an arm", target, shared=shared)


@cache
def plan(target: float | None, *, shared: bool) -> RunPlan:
    """Of an arm; looking for the noise that costs `target` takes seconds."""
    return plan_of(arm(target, shared=shared), Tuning(), rounds=40, sites=SITES, patients=PATIENTS)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("target", [2.0, 8.0])
def test_an_arm_costs_what_it_says_and_hardly_less(target: float, shared: bool) -> None:
    made = plan(target, shared=shared)
    assert 0.98 * target < epsilon_of(made) <= target
    assert (made.secure_sum is not None) is shared
    assert made.privacy.expected_batch == 15
    assert made.privacy.clipping_norm == Tuning().bound
    assert (made.slices_per_patient, made.looks) == (2, 1)


def test_more_slices_or_looks_cost_nothing() -> None:
    made = plan(8.0, shared=False)
    seen = plan_of(arm(8.0, shared=False), Tuning(slices=4, looks=3), rounds=40, sites=SITES, patients=PATIENTS)
    assert (seen.slices_per_patient, seen.looks, seen.privacy) == (4, 3, made.privacy)


def test_shared_noise_pays_for_the_rounding_of_the_secure_sum() -> None:
    shared, local = plan(2.0, shared=True), plan(2.0, shared=False)
    assert epsilon_of(shared.model_copy(update={"secure_sum": None})) < epsilon_of(shared)
    assert shared.privacy.noise_multiplier == pytest.approx(local.privacy.noise_multiplier, rel=0.01)


def test_without_privacy_the_bound_is_wider_and_the_noise_is_next_to_nothing() -> None:
    made = plan(None, shared=True)
    assert made.secure_sum is None
    assert made.privacy.noise_multiplier * made.privacy.clipping_norm < 1e-5
    assert made.privacy.clipping_norm >= 3 * plan(8.0, shared=True).privacy.clipping_norm


@pytest.mark.parametrize(
    ("shared", "factor"), [(True, math.sqrt(SITES / terms_of(SITES, SECURE_SUM).honest)), (False, math.sqrt(SITES))]
)
def test_a_round_has_the_noise_that_the_product_would_add(
    monkeypatch: pytest.MonkeyPatch, shared: bool, factor: float
) -> None:
    """Nobody is sampled, so a step is noise alone: σC√4 of four sites by themselves, σC√(4/2) of a sum that stands a dropout and a colluder."""
    monkeypatch.setattr("client.train.noise.Randomness.chosen", lambda *_, **__: [])
    order = arms._order(plan(2.0, shared=shared), 1)
    step = arms._step(load_arrays(STARTING), [[]] * SITES, order)
    privacy = order.plan.privacy
    noise = np.concatenate([array.ravel() for array in step.values()]) * SITES * privacy.expected_batch
    expected = privacy.noise_multiplier * privacy.clipping_norm * order.plan.learning_rate_of(1)
    assert noise.std() / expected == pytest.approx(factor, rel=0.01)


def test_a_run_adds_its_steps_with_the_servers_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    base = load_arrays(STARTING)
    monkeypatch.setattr(arms, "_step", lambda *_: {name: np.ones_like(array) for name, array in base.items()})
    monkeypatch.setattr(Cohorts, "labelled", lambda *_: ((), (), (), ()))
    weights = train(arm(None, shared=False), Cohorts((), (), ()), Tuning(momentum=0.5), rounds=ROUNDS, seed=0)
    assert all(np.allclose(weights[name] - base[name], 1.0 + 1.5 + 1.75, atol=1e-5) for name in base)
