"""An audit of the site's real mechanisms, updates and summands, by canaries: it must find honest ones honest and broken ones broken.

Each canary is a patient whose gradient points along one parameter of their own, far above the clipping norm. Half of them take part.
What the update says along a canary's parameter is noise if they were absent, and noise plus a shift if they were there (white box:
Steinke, Nasr and Jagielski 2023, arXiv:2305.08846, section 4). Noise and shift are measured directly; the one-run bound on ε is
compared with what the ledger would charge. It is made at a small ε: at large ones such a bound passes even without noise.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor, nn

from client.ledger.account import Event, epsilon
from client.train import private, summand
from client.train.noise import Randomness
from client.train.private import Patient, train_privately
from client.train.summand import private_summand
from models.slabs import PatientSlices
from models.weights import STARTING, load_arrays
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, Scope, SecureSumPlan
from strategies.arrays import Arrays
from strategies.securesum.grid import grid_of
from strategies.securesum.terms import Terms
from tests.fakes.random_bytes import CountedBytes

CANARIES = 2000
LOUDNESS = 1000.0
DELTA = 1e-5
CLIP = 0.5


@dataclass(frozen=True)
class Mechanism:
    """One way in which a site adds its patients up: by an update of its own, or, with `secure`, by a summand that bears all of the noise."""

    noise_multiplier: float
    sample_rate: float = 1.0
    steps: int = 1
    scope: Scope = Scope.LAST_BLOCK
    secure: bool = False

    @property
    def order(self) -> RoundOrder:
        privacy = PrivacyPlan(
            noise_multiplier=self.noise_multiplier, clipping_norm=CLIP, sample_rate=self.sample_rate, expected_batch=100,
            steps_per_round=self.steps,
        )  # fmt: skip
        plan = RunPlan(
            base="ggo@0", sites=("aa", "bb", "cc"), rounds=1, quorum=1, learning_rate=0.1, scope=self.scope, privacy=privacy,
            secure_sum=SecureSumPlan(dropouts=1, colluders=0) if self.secure else None,
        )  # fmt: skip
        return RoundOrder(run_id="a" * 32, round=1, base_sha256="0" * 64, plan=plan)

    @property
    def claimed(self) -> float:
        """What the ledger would charge: low enough for an audit to see."""
        event = Event(
            noise_multiplier=self.noise_multiplier, sample_rate=self.sample_rate, steps=self.steps, clipping_norm=CLIP
        )
        return epsilon([event], DELTA)

    def said(self, base: Arrays, patients: Sequence[Patient], randomness: Randomness) -> Mapping[str, NDArray[Any]]:
        """Return the noised sum of clipped gradients, by parameter."""
        order = self.order
        if not self.secure:
            update = train_privately(base, patients, order, randomness=randomness)
            factor = -order.plan.privacy.expected_batch / order.plan.learning_rate
            return {name: factor * array.astype(np.float64) for name, array in update.items()}
        words = private_summand(base, patients, order, terms=ALL_OF_THE_NOISE, randomness=randomness)
        sizes = np.cumsum([base[name].size for name in sorted(base)])
        return dict(zip(sorted(base), np.split(grid_of(order.plan).value(words), sizes[:-1]), strict=True))


ALL_OF_THE_NOISE = Terms(sites=2, dropouts=1, colluders=0)
MECHANISMS = {
    "four steps over everybody": Mechanism(7.5, steps=4),
    "all parameters": Mechanism(3.75, scope=Scope.ALL),
    "half of the patients": Mechanism(2.5, sample_rate=0.5),
    "a summand of everybody": Mechanism(3.75, secure=True),
    "a summand of half of the patients": Mechanism(2.5, sample_rate=0.5, secure=True),
}
EACH = [
    pytest.param(mechanism, id=name, marks=pytest.mark.slow if mechanism.sample_rate == 1 else ())
    for name, mechanism in MECHANISMS.items()
]


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
    shift_error: float
    epsilon: float
    claimed: float

    def honest(self) -> bool:
        return 0.92 <= self.spread <= 1.08 and self.shift <= 1.0 + 3 * self.shift_error and self.epsilon <= self.claimed


def audit(mechanism: Mechanism, randomness: Randomness) -> Reading:
    """Train once with half of the canaries and read what is said along each canary's parameter."""
    present = np.random.default_rng(7).random(CANARIES) < 0.5
    patients = [Patient((Canary(number),)) for number in np.flatnonzero(present)]
    base = load_arrays(STARTING)
    said = mechanism.said(base, patients, randomness)
    net = private.from_arrays(base)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    trained = [names[id(parameter)] for parameter in private.trained_parameters(net, mechanism.scope)]
    scores = np.concatenate([said[name].ravel() for name in trained])[:CANARIES]
    spread = mechanism.noise_multiplier * CLIP * math.sqrt(mechanism.steps)
    expected = CLIP * mechanism.steps * mechanism.sample_rate
    return Reading(
        spread=float(scores[~present].std() / spread),
        shift=float((scores[present].mean() - scores[~present].mean()) / expected),
        shift_error=float(
            np.hypot(*(scores[who].std() / np.sqrt(who.sum()) for who in (present, ~present))) / expected
        ),
        epsilon=one_run_epsilon(scores, present, guesses=CANARIES // 4),
        claimed=mechanism.claimed,
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

    def normal64(self, shape: tuple[int, ...], *, std: float) -> Tensor:
        return super().normal64(shape, std=std * self._factor)


class Everybody(Randomness):
    """Takes every patient into every step, whatever the rate that was paid for."""

    def chosen(self, items: int, *, rate: float) -> list[int]:
        return list(range(items))


@pytest.fixture(autouse=True)
def _canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "_patient_gradient", canary_gradient)


@pytest.mark.parametrize("mechanism", EACH)
def test_the_real_mechanism_is_honest(mechanism: Mechanism) -> None:
    reading = audit(mechanism, Randomness(CountedBytes(3)))
    assert 0.9 < reading.claimed < 1.8
    assert reading.honest(), reading
    assert reading.shift > 3 * reading.shift_error  # the canaries are there, so the audit does see


def clipped_to(times: float) -> Callable[[pytest.MonkeyPatch], Randomness]:
    """Clip to so many times the norm that was paid for."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> Randomness:
        honest: Callable[..., list[Tensor]] = private.clipped_sum
        for module in (private, summand):
            monkeypatch.setattr(module, "clipped_sum", lambda *a, bound: honest(*a, bound=bound * times))
        return Randomness(CountedBytes(3))

    return plant


BROKEN = {
    "half the noise": lambda _: Scaled(0.5),
    "no noise": lambda _: Scaled(0.0),
    "twice the clipping norm": clipped_to(2.0),
    "no clipping": clipped_to(math.inf),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("mechanism", EACH)
def test_a_broken_mechanism_is_found_out(
    monkeypatch: pytest.MonkeyPatch, mechanism: Mechanism, broken: Callable[[pytest.MonkeyPatch], Randomness]
) -> None:
    reading = audit(mechanism, broken(monkeypatch))
    assert not reading.honest(), reading


@pytest.mark.parametrize("secure", [False, True], ids=["update", "summand"])
def test_a_sample_that_is_the_whole_cohort_is_found_out(secure: bool) -> None:
    """Half of the patients were paid for: all of them move the sum twice as far."""
    reading = audit(Mechanism(2.5, sample_rate=0.5, secure=secure), Everybody(CountedBytes(3)))
    assert not reading.honest(), reading


@pytest.mark.slow
def test_the_one_run_bound_alone_sees_missing_noise() -> None:
    mechanism = MECHANISMS["four steps over everybody"]
    assert audit(mechanism, Scaled(0.0)).epsilon > mechanism.claimed
    assert audit(mechanism, Randomness(CountedBytes(4))).epsilon <= mechanism.claimed
