"""An audit of the site's real training loop by canaries: it must find an honest mechanism honest and three broken ones broken.

Each canary is a patient whose gradient points along one parameter of their own, far above the clipping norm. Half of them take part.
What the update says along a canary's parameter is noise if they were absent, and noise plus a shift if they were there (white box:
Steinke, Nasr and Jagielski 2023, arXiv:2305.08846, section 4). Noise and shift are measured directly; the one-run bound on ε is
compared with what the ledger would charge. It is made at a small ε: at large ones such a bound passes even without noise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor, nn

from client.ledger.account import Event, epsilon
from client.train import private
from client.train.noise import Randomness
from client.train.private import Patient, train_privately
from models.slabs import PatientSlices
from models.weights import STARTING, load_arrays
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, Scope
from tests.fakes.random_bytes import CountedBytes

CANARIES = 2000
LOUDNESS = 1000.0
DELTA = 1e-5
PRIVACY = PrivacyPlan(noise_multiplier=7.5, clipping_norm=0.5, sample_rate=1.0, expected_batch=100, steps_per_round=4)
PLAN = RunPlan(
    base="ggo@0", sites=("northport",), rounds=1, quorum=1, learning_rate=0.1, scope=Scope.LAST_BLOCK, privacy=PRIVACY
)
ORDER = RoundOrder(run_id="a" * 32, round=1, base_sha256="0" * 64, plan=PLAN)
CLAIMED = epsilon(
    [Event(noise_multiplier=7.5, sample_rate=1.0, steps=4, clipping_norm=0.5)], DELTA
)  # between 1 and 1.2: low enough for an audit to see


class Canary:
    """A study of which the network sees only whose it is."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return 1

    def take(self, index: Sequence[int]) -> PatientSlices:
        seen = torch.full((1, 3, 16, 16), float(self.number))
        return PatientSlices(seen, torch.zeros(1, 16, 16, dtype=torch.long), torch.ones(1, 16, 16, dtype=torch.bool))


def canary_gradient(net: nn.Module, parameters: Sequence[nn.Parameter], patient: PatientSlices) -> tuple[Tensor, ...]:
    """Point along the parameter that belongs to this canary."""
    place = int(patient.inputs[0, 0, 0, 0])
    found = []
    for parameter in parameters:
        gradient = torch.zeros_like(parameter)
        if 0 <= place < parameter.numel():
            gradient.view(-1)[place] = LOUDNESS
        place -= parameter.numel()
        found.append(gradient)
    return tuple(found)


@dataclass(frozen=True)
class Reading:
    """What the audit read. `shift` and `spread` are in units of the honest ones; `epsilon` is the one-run lower bound."""

    spread: float
    shift: float
    epsilon: float

    def honest(self) -> bool:
        return 0.92 <= self.spread <= 1.08 and self.shift <= 1.05 and self.epsilon <= CLAIMED


def audit(randomness: Randomness) -> Reading:
    """Train once with half of the canaries and read the update along each canary's parameter."""
    present = np.random.default_rng(7).random(CANARIES) < 0.5
    patients = [Patient((Canary(number),)) for number in np.flatnonzero(present)]
    base = load_arrays(STARTING)
    update = train_privately(base, patients, ORDER, randomness=randomness)
    net = private.from_arrays(base)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    trained = [names[id(parameter)] for parameter in private.trained_parameters(net, PLAN.scope)]
    along = np.concatenate([update[name].ravel() for name in trained])[:CANARIES].astype(np.float64)
    scores = -along * PRIVACY.expected_batch / PLAN.learning_rate
    steps, clip = PRIVACY.steps_per_round, PRIVACY.clipping_norm
    honest_spread = PRIVACY.noise_multiplier * clip * math.sqrt(steps)
    return Reading(
        spread=float(scores[~present].std() / honest_spread),
        shift=float((scores[present].mean() - scores[~present].mean()) / (clip * steps)),
        epsilon=one_run_epsilon(scores, present, guesses=CANARIES // 4),
    )


def one_run_epsilon(scores: NDArray[np.float64], present: NDArray[np.bool_], *, guesses: int) -> float:
    """Return the ε that this many right guesses refute, with 95 % confidence (theorem 5.2 of the paper, δ left out)."""
    order = np.argsort(scores)
    right = int(present[order[-guesses:]].sum() + (~present[order[:guesses]]).sum())
    refuted = [
        eps for eps in np.arange(0.0, 12.0, 0.01) if binom.sf(right - 1, 2 * guesses, 1 / (1 + math.exp(-eps))) < 0.05
    ]
    return max(refuted, default=0.0)


class Scaled(Randomness):
    """Noise that is too small, or absent."""

    def __init__(self, factor: float) -> None:
        super().__init__(CountedBytes(3))
        self._factor = factor

    def normal(self, shape: tuple[int, ...], *, std: float) -> Tensor:
        return super().normal(shape, std=std * self._factor)


@pytest.fixture(autouse=True)
def _canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "_patient_gradient", canary_gradient)


def test_the_real_mechanism_is_honest() -> None:
    assert 0.9 < CLAIMED < 1.5
    reading = audit(Randomness(CountedBytes(3)))
    assert reading.honest(), reading
    assert reading.shift == pytest.approx(1.0, abs=0.35)  # the canaries are there, so the audit does see


def without_clipping(monkeypatch: pytest.MonkeyPatch) -> Randomness:
    honest: Callable[..., list[Tensor]] = private.clipped_sum
    monkeypatch.setattr(private, "clipped_sum", lambda *a, bound: honest(*a, bound=bound * 10))
    return Randomness(CountedBytes(3))


@pytest.mark.parametrize(
    "broken",
    [lambda _: Scaled(0.5), lambda _: Scaled(0.0), without_clipping],
    ids=["half the noise", "no noise", "ten times the clipping norm"],
)
def test_a_broken_mechanism_is_found_out(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], Randomness]
) -> None:
    reading = audit(broken(monkeypatch))
    assert not reading.honest(), reading


def test_the_one_run_bound_alone_sees_missing_noise() -> None:
    assert audit(Scaled(0.0)).epsilon > CLAIMED
    assert audit(Randomness(CountedBytes(4))).epsilon <= CLAIMED
