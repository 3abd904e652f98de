"""What hostile sites cost: ten sites, two of them hostile, every strategy of a run plan, the sites' own training and the centre's own rounds.

Phantoms of four unlike kinds (`bench.patients`), one patient at each site, who is in every step; two steps per round, twelve rounds from the
shipped weights with a falling rate, so that all arms have learnt what they can. Without privacy (noise multiplier 1e-6): what is seen is the
rule and not the noise. Everything goes through
`client.train.private.train_privately`, `server.rounds.run_rounds` and a run's folder on the disk. Every arm draws the same slices.

Attacks, by two of the ten sites in every round; the first four are made of the update that the site would have sent:

* `sign flip`: the update turned round;
* `scaling`: turned round and ten times as long;
* `noise`: Gaussian noise of twenty times its length;
* `label flip`: an honest training on labels that call healthy lung ill and ill lung healthy;
* `a little is enough`, `min-max`, `min-sum`: made of what the honest sites send in this round, to lie where nothing looks odd (`bench.attacks`).

Loss: Dice of the plain mean without any attack, less Dice of the strategy under attack; of opacity in the true lungs, mean over held-out
phantoms. So a rule that learns badly pays for it also where nobody attacks. `worst_loss_<strategy>` is the largest over the seven attacks.
Goal: ≤ 0.03 for every rule that compares updates; `worst_loss_fedavg` ≥ 0.1 shows that the attacks are attacks.

All of it takes the better part of an hour. Every training that is done is kept in var/bench/hostile.jsonl under the hash of what it rests on,
and a run that is started again goes on from there.
"""

import itertools
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bench.arms import dice_of
from bench.attacks import ATTACKS, TAUGHT
from bench.kept import ROOT, Kept, code_of
from bench.patients import SITES, Case, Pieces, Site, phantoms
from bench.table import Goal, Table, main
from client.train.noise import Randomness
from client.train.private import Patient, train_privately
from models.slabs import PreparedSlabs
from models.weights import STARTING, load_arrays
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, UpdateNotice
from server.rounds import Ask, run_rounds
from server.run import RunFolder
from server.tally import Said
from strategies.arrays import Arrays as Named
from strategies.arrays import arrays_sha256

SEED = 3_000_000
NO_ATTACK = "none"

RULES: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "fedprox": {"strategy": "fedprox", "prox_mu": 0.1},
    "fedadam": {"strategy": "fedadam", "server_learning_rate": 0.01},
    "trimmed_mean": {"strategy": "trimmed-mean", "trim": 2},
    "median": {"strategy": "median"},
    "krum": {"strategy": "krum", "krum_byzantine": 2},
    "multi_krum": {"strategy": "multi-krum", "krum_byzantine": 2},
    "clipped_mean": {"strategy": "clipped-mean"},
    "screened_mean": {"screening": {"norm_factor": 3.0, "min_cosine": 0.0}},
    "screened_clipped_mean": {"strategy": "clipped-mean", "screening": {"norm_factor": 3.0, "min_cosine": 0.0}},
}
"""By name in the results: what the plan says beyond the rest."""

ROBUST = tuple(name for name in RULES if name not in {"fedavg", "fedprox", "fedadam"})

GOALS = {f"worst_loss_{name}": Goal(0.03) for name in ROBUST} | {"worst_loss_fedavg": Goal(0.1, at_most=False)}


@dataclass(frozen=True, slots=True)
class World:
    """Sites with their patients, the same patients with flipped labels, who is hostile, and who is held out."""

    honest: Mapping[str, Sequence[Patient]]
    flipped: Mapping[str, Sequence[Patient]]
    hostile: tuple[str, ...]
    held_out: tuple[Case, ...]
    rounds: int


def measure(quick: bool) -> Table:
    """Train under every attack with every strategy."""
    torch.set_num_threads(1)
    held_out, rounds = (2, 1) if quick else (8, 12)
    world = draw_world(sites=10, hostile=2, patients=1, held_out=held_out, rounds=rounds)
    kept = Kept(
        ROOT / "var" / "bench" / "hostile.jsonl",
        [code_of("bench.hostile"), STARTING.read_bytes(), torch.__version__.encode(), f"{held_out} {rounds}".encode()],
    )

    def reached(rule: str, attack: str) -> float:
        """Return the Dice after a whole training."""
        return float(
            kept.get(f"{rule}, {attack}", lambda: {"dice": _dice(world, train(world, RULES[rule], attack))})["dice"]
        )

    table = Table(goals=dict(GOALS))
    start = _dice(world, load_arrays(STARTING))
    table.add("shipped weights", "Dice", start, "")
    reference = 0.0
    for name in RULES:
        calm = reached(name, NO_ATTACK)
        reference = reference or calm
        table.add(name, "Dice, no attack", calm, "")
        losses = []
        for attack in ATTACKS:
            dice = reached(name, attack)
            losses.append(reference - dice)
            table.add(name, f"Dice, {attack}", dice, f"{losses[-1]:+.4f} lost")
            print(f"{name}, {attack}: Dice {dice:.4f}", file=sys.stderr, flush=True)
        table.ratios[f"worst_loss_{name}"] = max(losses)
    table.remarks.append(
        f"The shipped weights have a Dice of {start:.4f}; the plain mean without an attack reaches {reference:.4f}."
    )
    table.remarks.append(
        "One seed. Sites differ in scanner and disease, which robust rules feel also without an attack."
    )
    return table


def draw_world(*, sites: int, hostile: int, patients: int, held_out: int, rounds: int) -> World:
    """Draw phantoms of the kinds of `bench.patients.SITES` in turn for `sites` sites, of which the first `hostile` attack, and `held_out` others."""
    names = [f"site-{chr(97 + number)}" for number in range(sites)]
    drawn = {
        name: [(study.slabs, study.seed) for study in phantoms(site, SEED + 100 * at, patients)]
        for at, (name, site) in enumerate(zip(names, _in_turns(sites), strict=True))
    }
    tested = [
        Case(site.name, study.slabs)
        for at, site in enumerate(_in_turns(held_out))
        for study in phantoms(site, SEED + 50_000 + 100 * at, 1)
    ]
    return World(
        honest={name: [_patient(slabs, seed) for slabs, seed in own] for name, own in drawn.items()},
        flipped={name: [_patient(_flipped(slabs), seed) for slabs, seed in own] for name, own in drawn.items()},
        hostile=tuple(names[:hostile]),
        held_out=tuple(tested),
        rounds=rounds,
    )


def _in_turns(count: int) -> list[Site]:
    return [SITES[at % len(SITES)] for at in range(count)]


def train(world: World, keys: Mapping[str, Any], attack: str) -> Named:
    """Return the weights after a whole run, by the centre's own rounds in a folder of its own."""
    with TemporaryDirectory() as scratch:
        folder = RunFolder(Path(scratch) / ("a" * 32))
        folder.start(plan_of(world, keys), dict.fromkeys(world.honest, 1), STARTING.read_bytes())
        run_rounds(folder, way_to(world, attack), clock=itertools.count().__next__)
        return folder.latest()[1]


def plan_of(world: World, keys: Mapping[str, Any]) -> RunPlan:
    """Return the plan of an arm; a round may lose the hostile sites and one more, whose update was screened out by mistake."""
    patients = max(map(len, world.honest.values()))
    privacy = PrivacyPlan(
        noise_multiplier=1e-6, clipping_norm=1000.0, sample_rate=1.0, expected_batch=patients, steps_per_round=2
    )
    plan = {
        "base": "ggo@0", "sites": tuple(world.honest), "rounds": world.rounds, "quorum": len(world.honest) - len(world.hostile) - 1,
        "learning_rate": 0.1, "schedule": "cosine", "slices_per_patient": 1, "privacy": privacy,
    }  # fmt: skip
    return RunPlan.model_validate(plan | dict(keys))


def way_to(world: World, attack: str) -> Ask:
    """Return the way to the sites: each trains by its own code, and the hostile ones change what they send, knowing what the others do."""

    def ask(order: RoundOrder, base: Named, asked: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
        updates = {site: _trained(world, attack, site, order, base) for site in asked}
        honest = [updates[site] for site in asked if site not in world.hostile]
        for site, update in updates.items():
            sent = update
            if site in world.hostile and attack != NO_ATTACK:
                sent = (ATTACKS | TAUGHT)[attack](
                    update, honest, np.random.default_rng([order.round, len(site), ord(site[-1])])
                )
            yield site, (_notice(order, site, sent), sent)

    return ask


def _trained(world: World, attack: str, site: str, order: RoundOrder, base: Named) -> Named:
    """Return what a site would send by its own code; a hostile one may train on flipped labels."""
    flipped = site in world.hostile and attack in TAUGHT
    # Repeatable on purpose, so that arms differ by their rule alone; sites draw from the operating system.
    draws = random.Random(f"{site} {order.round}")  # noqa: S311
    patients = (world.flipped if flipped else world.honest)[site]
    return train_privately(base, patients, order, randomness=Randomness(draws.randbytes))


def _notice(order: RoundOrder, site: str, update: Named) -> UpdateNotice:
    return UpdateNotice(
        run_id=order.run_id, round=order.round, site=site, base_sha256=order.base_sha256,
        update_sha256=arrays_sha256(update), epsilon=0.0, delta=1e-5,
    )  # fmt: skip


def _patient(slabs: PreparedSlabs, seed: int) -> Patient:
    return Patient((Pieces(slabs, seed),))


def _flipped(slabs: PreparedSlabs) -> PreparedSlabs:
    """Call healthy lung ground glass, and ill lung healthy."""
    return replace(slabs, target=torch.where(slabs.valid, (slabs.target == 0).to(slabs.target.dtype), slabs.target))


def _dice(world: World, weights: Named) -> float:
    if not all(np.isfinite(array).all() for array in weights.values()):
        return 0.0
    return float(np.mean(list(dice_of(weights, world.held_out).values())))


if __name__ == "__main__":
    main("hostile", __doc__ or "", measure)
