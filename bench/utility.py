"""What privacy costs in accuracy: federated training of the shipped network at four sites, with patient-level privacy and without.

Four sites that differ in scanner, extent and kind of disease, 60 patients each. All of it is the sites' own code
(`client.train.private.train_privately`) and the centre's own average; one aggregated private step per round, 40 rounds, a quarter of the
patients in each, two pieces of 96 x 96 pixels of each. Disease is fainter and more ragged than what the starting weights learnt from, so that
there is something to learn. Two ways to noise: `local`, every site adds the whole noise; `shared`, every site adds its part, as secure summation allows.

`pooled` is the same training as if all patients were at one site. Held out: other phantoms of the four sites, phantoms of two
scanners that no site has, and disease of the sites' kind inserted into real scans (COVID-CT-MD and Lung-PET-CT-Dx, CC BY 4.0) where
they lie beside the checkout. Dice of opacity in the true lungs, mean over cases with disease; intervals are Student's t over seeds, 95 %.
ε is at δ = 1e-5 for 240 patients, by the ledger's accountants. Rate and clipping norm were chosen with `--tune`: other seeds, other phantoms.

Weak labels: a fifth of the patients have masks; of the others a reader's zone scores are known (from the true masks), and
`models.weak` turns them into masks with the starting weights.

Goals: `fl_vs_pooled` ≥ 0.99; of the gap between the starting weights and training without privacy, `gap_recovered_eps8` ≥ 0.75 and
`gap_recovered_eps2` ≥ 0.55 with shared noise. `false_opacity_real`: most opacity found in real scans without disease, in percent of lung,
by the network trained at ε = 8 (≤ 2).

All of it takes hours. Every arm that is done is kept in var/bench/utility.jsonl under the hash of what it rests on, and a run that is started again
goes on from there; `--seed N` computes one seed only and writes no page, so that several can run side by side.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from bench.patients import PATIENTS, SITES, Case, Cohorts, draw_cohorts, real_scans
from bench.table import Goal, Table, main
from client.ledger.account import Event, epsilon
from client.train.noise import Randomness
from client.train.private import train_privately
from models.measure import measure as measure_scan
from models.net import GgoNet
from models.slabs import PreparedSlabs
from models.weights import STARTING, from_arrays, load_net, to_arrays
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, Schedule, Scope
from strategies.arrays import Arrays, added
from strategies.fedavg import federated_average

DELTA = 1e-5
ROUNDS, RATE, SLICES = 40, 0.25, 2
EPSILONS = (1.0, 2.0, 4.0, 8.0)
SEEDS, TUNING_SEED = (0, 1, 2, 3, 4), 70
ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "var" / "bench" / "utility.jsonl"
FALSE_OPACITY = "most opacity in a real scan without disease, %"
_CODE = (
    "bench/utility.py",
    "bench/patients.py",
    "client/train/private.py",
    "client/train/noise.py",
    "models/lesion.py",
)
GOALS = {
    "fl_vs_pooled": Goal(0.99, at_most=False),
    "gap_recovered_eps8": Goal(0.75, at_most=False),
    "gap_recovered_eps2": Goal(0.55, at_most=False),
    "false_opacity_real": Goal(2.0),
}


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was chosen on other data: learning rates without and with privacy, clipping norm, server momentum."""

    rate: float = 0.3
    private_rate: float = 1.0
    bound: float = 0.3
    momentum: float = 0.5
    scope: Scope = Scope.ALL


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


ARMS = (
    Arm("pooled", pooled=True),
    Arm("federated"),
    *(Arm(f"ε = {target:g}, {'shared' if shared else 'local'} noise", target, shared) for target in EPSILONS for shared in (True, False)),
    Arm("from scratch, federated", pretrained=False),
    Arm("from scratch, ε = 8, shared noise", 8.0, shared=True, pretrained=False),
    *(Arm(f"{words}{', ε = 8, shared noise' if target else ''}", target, shared=True, labels=labels)
      for target in (None, 8.0)
      for labels, words in (("few", "masks of a fifth"), ("weak", "masks of a fifth, zone scores of the others"))),
)  # fmt: skip


def measure(quick: bool) -> Table:
    """Train and test every arm over the seeds."""
    torch.set_num_threads(1)
    seeds, tuning = SEEDS[: 1 if quick else None], Tuning()
    rounds, patients, arms = (4, 8, [ARMS[0], ARMS[1], ARMS[8]]) if quick else (ROUNDS, PATIENTS, list(ARMS))
    dice: dict[str, list[float]] = {}
    groups: dict[tuple[str, str], list[float]] = {}
    false_opacity: list[float] = []
    kept = Kept(KEPT, f"{tuning} {rounds} {patients}")
    for seed in seeds:
        for name, tested in run_seed(seed, arms, tuning, rounds=rounds, patients=patients, kept=kept).items():
            found = tested.pop(FALSE_OPACITY, None)
            false_opacity += [found] if found is not None else []
            _note(name, tested, dice, groups)
    table = _as_table(dice, groups, rounds)
    if false_opacity:
        table.ratios["false_opacity_real"] = max(false_opacity)
    return table


def run_seed(
    seed: int, arms: Sequence[Arm], tuning: Tuning, *, rounds: int, patients: int, kept: "Kept"
) -> dict[str, dict[str, float]]:
    """Return what every arm of one seed scores, by group of cases."""

    @cache
    def cohorts() -> Cohorts:
        return draw_cohorts(seed, patients=patients)

    def start() -> dict[str, float]:
        return test(to_arrays(load_net(STARTING)), cohorts().held_out)

    def trained(arm: Arm) -> dict[str, float]:
        weights = train(arm, cohorts(), tuning, rounds=rounds, seed=seed)
        tested = test(weights, cohorts().held_out)
        found = false_opacity_real(weights) if arm.name == "ε = 8, shared noise" else None
        return tested if found is None else {**tested, FALSE_OPACITY: found}

    scored = {"starting weights": kept.get(seed, "starting weights", start)}
    for arm in arms:
        scored[arm.name] = kept.get(seed, arm.name, lambda arm=arm: trained(arm))  # type: ignore[misc] # mypy cannot infer a lambda's default
        print(f"seed {seed}: {arm.name}: {scored[arm.name]}", file=sys.stderr, flush=True)
    return scored


class Kept:
    """What is done already, one line each, so that hours of work survive whatever ends them. Several processes may write.

    Args:
        path: The file.
        settings: What the results rest on beside the weights and the code.
    """

    def __init__(self, path: Path, settings: str) -> None:
        self._path = path
        rests_on = [STARTING, *(ROOT / name for name in _CODE)]
        self._key = hashlib.sha256(b"".join([*(one.read_bytes() for one in rests_on), settings.encode()])).hexdigest()

    def get(self, seed: int, name: str, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Return what is kept under that seed and name, or compute and keep it."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        for line in map(json.loads, lines):
            if (line["key"], line["seed"], line["name"]) == (self._key, seed, name):
                return dict(line["scores"])
        scores = compute()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": self._key, "seed": seed, "name": name, "scores": scores}) + "\n")
        return dict(scores)


def train(arm: Arm, cohorts: Cohorts, tuning: Tuning, *, rounds: int, seed: int) -> Arrays:
    """Return the weights after a whole run of one arm."""
    torch.manual_seed(1000 + seed)
    weights: Arrays = to_arrays(load_net(STARTING) if arm.pretrained else GgoNet())
    sites = cohorts.labelled(arm.labels)
    sites = (tuple(patient for site in sites for patient in site),) if arm.pooled else sites
    plan = plan_of(arm, tuning, rounds=rounds, sites=len(sites), patients=max(map(len, sites)))
    velocity: Arrays | None = None
    for number in range(1, rounds + 1):
        order = RoundOrder(run_id="0" * 32, round=number, base_sha256="0" * 64, plan=plan)
        updates = [train_privately(weights, site, order, randomness=Randomness()) for site in sites]
        step = federated_average(updates)
        if velocity is not None:
            step = {name: step[name] + np.float32(tuning.momentum) * velocity[name] for name in step}
        weights, velocity = added(weights, step), step
    return weights


def plan_of(arm: Arm, tuning: Tuning, *, rounds: int, sites: int, patients: int) -> RunPlan:
    """Return the plan of an arm. Without privacy nothing is clipped and the noise is nothing, in the same code."""
    sigma = noise_for(arm.target, rounds) if arm.target else 0.0
    privacy = PrivacyPlan.model_construct(
        noise_multiplier=sigma / (np.sqrt(sites) if arm.shared else 1.0),
        clipping_norm=tuning.bound if arm.target else 1e6,
        sample_rate=RATE,
        expected_batch=max(1, round(RATE * patients)),
        steps_per_round=1,
    )
    return RunPlan.model_construct(
        base="ggo@0", sites=tuple(site.name for site in SITES), rounds=rounds, quorum=1, scope=tuning.scope,
        learning_rate=tuning.private_rate if arm.target else tuning.rate, schedule=Schedule.COSINE,
        slices_per_patient=SLICES, privacy=privacy,
    )  # fmt: skip


@cache
def noise_for(target: float, rounds: int) -> float:
    """Return the least noise multiplier with which `rounds` steps cost at most `target`, by bisection of the ledger's own ε."""
    low, high = 0.3, 64.0
    while high / low > 1.002:
        middle = float(np.sqrt(low * high))
        event = Event(noise_multiplier=middle, sample_rate=RATE, steps=rounds, clipping_norm=1.0)
        low, high = (low, middle) if epsilon([event], DELTA) <= target else (middle, high)
    return high


def test(weights: Arrays, cases: Sequence[Case]) -> dict[str, float]:
    """Return the mean Dice of opacity by group of cases, in the true lungs."""
    net = from_arrays(weights).eval()
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


def false_opacity_real(weights: Arrays) -> float | None:
    """Return the most opacity found in a real scan without disease, percent of lung; None where there is none."""
    net = from_arrays(weights).eval()
    found = [100.0 * measure_scan(volume, net).numbers.whole.opacity_fraction for _, volume, _ in real_scans()]
    return max(found, default=None)


# What came of it.


def _note(
    name: str, tested: dict[str, float], dice: dict[str, list[float]], groups: dict[tuple[str, str], list[float]]
) -> None:
    dice.setdefault(name, []).append(float(np.mean(list(tested.values()))))
    for group, value in tested.items():
        groups.setdefault((name, group), []).append(value)


def _as_table(dice: dict[str, list[float]], groups: dict[tuple[str, str], list[float]], rounds: int) -> Table:
    table = Table(goals=dict(GOALS))
    for name, values in dice.items():
        table.add(name, "Dice, mean of the groups", float(np.mean(values)), f"± {half_width(values):.4f}")
        for (arm, group), found in groups.items():
            if arm == name:
                table.add(name, f"Dice, {group}", float(np.mean(found)), f"± {half_width(found):.4f}")
    start, free = np.array(dice["starting weights"]), np.array(dice["federated"])
    table.ratios["fl_vs_pooled"] = float(np.mean(free / np.array(dice["pooled"])))
    for target in EPSILONS:
        for kind in ("shared", "local"):
            arm = f"ε = {target:g}, {kind} noise"
            if arm in dice:
                share = (np.array(dice[arm]) - start) / (free - start)
                name = f"gap_recovered_eps{target:g}" + ("" if kind == "shared" else "_local")
                table.ratios[name] = float(np.mean(share))
                table.remarks.append(
                    f"{name}: {np.mean(share):.3f} ± {half_width(share.tolist()):.3f}, each seed {np.round(share, 3).tolist()}"
                )
    for target in EPSILONS:
        table.add(
            f"ε = {target:g}", f"noise multiplier for {rounds} rounds", noise_for(target, rounds), "× the clipping norm"
        )
    return table


def half_width(values: Sequence[float]) -> float:
    """Return half of Student's 95 % interval of the mean; infinite for one value."""
    if len(values) < 2:
        return float("inf")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def tune() -> None:
    """Print Dice over a grid of settings on a seed that is used for nothing else."""
    torch.set_num_threads(1)
    cohorts = draw_cohorts(TUNING_SEED)
    print(f"start {np.mean(list(test(to_arrays(load_net(STARTING)), cohorts.held_out).values())):.4f}", flush=True)
    for scope in (Scope.ALL, Scope.LAST_BLOCK):
        for rate in (0.1, 0.3, 1.0):
            _try(ARMS[1], cohorts, Tuning(rate=rate, scope=scope))
        for target in (8.0, 2.0):
            for bound in (0.1, 0.3):
                for rate in (0.1, 0.3, 1.0):
                    _try(
                        Arm(f"ε = {target:g}", target, shared=True),
                        cohorts,
                        Tuning(private_rate=rate / bound * 0.3, bound=bound, scope=scope),
                    )


def _try(arm: Arm, cohorts: Cohorts, tuning: Tuning) -> None:
    tested = test(train(arm, cohorts, tuning, rounds=ROUNDS, seed=TUNING_SEED), cohorts.held_out)
    print(f"{arm.name} {tuning}: {np.mean(list(tested.values())):.4f} {tested}", flush=True)


if __name__ == "__main__":
    if "--tune" in sys.argv:
        tune()
    elif "--seed" in sys.argv:
        torch.set_num_threads(1)
        done = Kept(KEPT, f"{Tuning()} {ROUNDS} {PATIENTS}")
        run_seed(int(sys.argv[-1]), ARMS, Tuning(), rounds=ROUNDS, patients=PATIENTS, kept=done)
    else:
        main("utility", __doc__ or "", measure)
