"""One arm of `bench.utility`: a whole federated training by the sites' own code and the centre's own arithmetic, and a test of what came out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from bench.patients import Case, Cohorts, real_scans
from client.ledger.account import Event, course, epsilon
from client.train.limits import spend_of
from client.train.noise import Randomness
from client.train.private import Patient, train_privately
from client.train.summand import private_summand
from models.evaluate import evaluate, evaluation_phantoms
from models.measure import measure
from models.net import GgoNet
from models.phantom import Phantom
from models.slabs import PreparedSlabs
from models.weights import STARTING, from_arrays, load_net, to_arrays
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, Schedule, Scope, SecureSumPlan
from protocol.release import Scores
from strategies.arrays import Arrays, added
from strategies.fedavg import federated_average
from strategies.securesum.step import step_of, values_of
from strategies.securesum.terms import terms_of

DELTA, RATE, SLICES = 1e-5, 0.25, 2

SECURE_SUM = SecureSumPlan(dropouts=1, colluders=1)
"""What docs/how-to/coordinate.md advises: of four sites one may be lost and one may collude, so two must bear all of the noise."""

_NO_NOISE = 1e-9


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was chosen on other data: learning rates and clipping norms without and with privacy, momentum, what is seen of a patient."""

    rate: float = 0.1
    plain_bound: float = 1.0
    """Without any, one patient in the first rounds can throw the training off for good: of two seeds one ended at a Dice of 0.42."""
    private_rate: float = 0.3
    bound: float = 0.3
    momentum: float = 0.5
    scope: Scope = Scope.ALL
    slices: int = SLICES
    looks: int = 1


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train: `target` is ε, or None without privacy; `shared` noise or each site's own; `pooled` at one site."""

    name: str
    target: float | None = None
    shared: bool = False
    pooled: bool = False
    pretrained: bool = True
    labels: str = "all"
    """`all` have masks, `few` do and the others stay out, or `weak`: few do and of the others zone scores are known."""


class Outcome(BaseModel):
    """What weights are worth: mean Dice by group of held-out cases, the centre's public scores, most opacity in real scans without disease, %."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dice: dict[str, float]
    public: Scores
    false_opacity: float | None

    @property
    def mean(self) -> float:
        """Mean Dice over the groups."""
        return float(np.mean(list(self.dice.values())))


# Training.


def train(arm: Arm, cohorts: Cohorts, tuning: Tuning, *, rounds: int, seed: int) -> Arrays:
    """Return the weights after a whole run of one arm."""
    torch.manual_seed(1000 + seed)
    weights: Arrays = to_arrays(load_net(STARTING) if arm.pretrained else GgoNet())
    sites = cohorts.labelled(arm.labels)
    sites = (tuple(patient for site in sites for patient in site),) if arm.pooled else sites
    plan = plan_of(arm, tuning, rounds=rounds, sites=len(sites), patients=max(map(len, sites)))
    velocity: Arrays = {}
    for number in range(1, rounds + 1):
        step = _step(weights, sites, _order(plan, number))
        if velocity:
            step = {name: step[name] + np.float32(plan.server_momentum) * velocity[name] for name in step}
        weights, velocity = added(weights, step), step
    return weights


def _step(weights: Arrays, sites: Sequence[Sequence[Patient]], order: RoundOrder) -> Arrays:
    """Return what one round adds: the mean of the sites' updates, or what a secure summation opens. The pads cancel, so there are none."""
    secure = order.plan.secure_sum
    if secure is None:
        return federated_average(train_privately(weights, site, order, randomness=Randomness()) for site in sites)
    terms, total = terms_of(len(sites), secure), np.zeros(values_of(weights), np.uint32)
    for site in sites:
        total += private_summand(weights, site, order, terms=terms, randomness=Randomness())
    return step_of(total, order, weights, sites=len(sites))


@cache
def plan_of(arm: Arm, tuning: Tuning, *, rounds: int, sites: int, patients: int) -> RunPlan:
    """Return the plan of an arm with the least noise that keeps its ε. Without privacy the noise is next to nothing."""
    private = arm.target is not None

    def with_noise(sigma: float) -> RunPlan:
        privacy = PrivacyPlan(
            noise_multiplier=sigma, clipping_norm=tuning.bound if private else tuning.plain_bound, sample_rate=RATE,
            expected_batch=max(1, round(RATE * patients)), steps_per_round=1,
        )  # fmt: skip
        return RunPlan(
            base="ggo@0", sites=tuple(f"site-{number}" for number in range(sites)), rounds=rounds, quorum=1, scope=tuning.scope,
            learning_rate=tuning.private_rate if private else tuning.rate, schedule=Schedule.COSINE,
            server_momentum=tuning.momentum, slices_per_patient=tuning.slices, looks=tuning.looks, privacy=privacy,
            secure_sum=SECURE_SUM if private and arm.shared else None,
        )  # fmt: skip

    if arm.target is None:
        return with_noise(_NO_NOISE)
    plan = with_noise(_least(lambda sigma: _rdp_of(with_noise(sigma)), arm.target))
    if epsilon_of(plan) > arm.target:
        raise ValueError(f"PRV's ε is above Rényi's for {arm}: look for its noise by both")
    return plan


def epsilon_of(plan: RunPlan) -> float:
    """Return what a whole run costs a patient at δ = 1e-5, as a site's ledger charges it."""
    return epsilon([_run_of(plan)], DELTA)


def _rdp_of(plan: RunPlan) -> float:
    """The same by Rényi DP alone: PRV takes a hundred times as long, and has the smaller ε here."""
    return course([_run_of(plan)], DELTA)[-1]


def _run_of(plan: RunPlan) -> Event:
    event = spend_of(_order(plan, 1), values=_values()).event
    return replace(event, steps=event.steps * plan.rounds)


def _least(cost: Callable[[float], float], most: float) -> float:
    """Return the least noise multiplier that costs at most `most`, by bisection."""
    low, high = 0.3, 64.0
    while high / low > 1.002:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if cost(middle) <= most else (middle, high)
    return high


def _order(plan: RunPlan, number: int) -> RoundOrder:
    return RoundOrder(run_id="0" * 32, round=number, base_sha256="0" * 64, plan=plan)


@cache
def _values() -> int:
    return values_of(to_arrays(GgoNet()))


# Testing.


def outcome_of(weights: Arrays, held_out: Sequence[Case], real: Sequence[str]) -> Outcome:
    """Return what weights are worth on cases held out and on the real scans `real`."""
    net = from_arrays(weights)
    return Outcome(
        dice=dice_of(weights, held_out), public=evaluate(net, _public()), false_opacity=false_opacity_of(net, real)
    )


def dice_of(weights: Arrays, cases: Sequence[Case]) -> dict[str, float]:
    """Return the mean Dice of opacity by group of cases, in the true lungs."""
    net = from_arrays(weights)
    found: dict[str, list[float]] = {}
    for case in cases:
        found.setdefault(case.group, []).append(_dice(net, case.slabs))
    return {group: float(np.mean(values)) for group, values in found.items()}


def _dice(net: GgoNet, slabs: PreparedSlabs) -> float:
    both = wanted = called = 0.0
    with torch.inference_mode():
        for first in range(0, len(slabs), 4):
            part = slabs.take(range(first, min(first + 4, len(slabs))))
            opacity = (1.0 - net(part.inputs).softmax(dim=1)[:, 0] >= 0.5) & part.valid
            truth = (part.target > 0) & part.valid
            both, wanted, called = (
                both + float((opacity & truth).sum()),
                wanted + float(truth.sum()),
                called + float(opacity.sum()),
            )
    return 2.0 * both / max(1.0, wanted + called)


def false_opacity_of(net: GgoNet, real: Sequence[str]) -> float | None:
    """Return the most opacity found in a real scan without disease, percent of lung; None where there is none."""
    found = [100.0 * measure(scan.volume, net).numbers.whole.opacity_fraction for scan in real_scans(tuple(real))]
    return max(found, default=None)


@cache
def _public() -> list[Phantom]:
    return evaluation_phantoms()
