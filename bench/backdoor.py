"""What a backdoor of one site comes to: the site teaches the network to overlook opacity in scans that bear a mark, and nobody else's scans bear it.

The world of `bench.hostile`: ten sites, one of them hostile, twelve rounds by the sites' own training and the centre's own rules, without
noise for privacy. The hostile site trains honestly on its patient, and on the same patient with the mark (every fourth row 90 HU brighter) and with a label that calls all
of it healthy. It sends what comes out, neither longer nor turned round: nothing that a rule could see. Or it sends ten times that, so that its word
counts for all ten ("model replacement", `bench.attacks`).

Dice of opacity in the true lungs over held-out phantoms, as they are and with the mark. `hidden_<strategy>`: by how much Dice is lower on marked scans
than for the plain mean of ten honest sites; `replaced_<strategy>` the same where it sends ten times its update. There is no goal, for no rule
promises anything; the figures are to be known.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from bench.attacks import LABEL_FLIP, REPLACEMENT
from bench.hostile import NO_ATTACK, RULES, World, _dice, draw_world, train
from bench.patients import Case, Pieces
from bench.table import Table, main
from client.train.private import Patient
from models.slabs import PreparedSlabs
from strategies.arrays import Arrays

MARK = 0.15
"""In the network's window of 1200 HU: two units."""

MEASURED = ("fedavg", "trimmed_mean", "median", "multi_krum", "clipped_mean", "screened_mean")


def measure(quick: bool) -> Table:
    """Train with and without the hostile site, by every rule."""
    torch.set_num_threads(1)
    world = with_a_backdoor(
        draw_world(sites=10, hostile=1, patients=1, held_out=2 if quick else 8, rounds=1 if quick else 12)
    )
    table = Table()
    calm = scored(world, train(world, RULES["fedavg"], NO_ATTACK))
    _note(table, "fedavg, ten honest sites", calm)
    for name in MEASURED:
        for attack, ratio, words in ((LABEL_FLIP, "hidden", ""), (REPLACEMENT, "replaced", ", ten times its update")):
            found = scored(world, train(world, RULES[name], attack))
            _note(table, f"{name}, one hostile site{words}", found)
            table.ratios[f"{ratio}_{name}"] = calm["marked"] - found["marked"]
    table.remarks.append("One seed, one mark. An attacker who tries more marks finds a better one.")
    return table


def with_a_backdoor(world: World) -> World:
    """Return the world in which the hostile sites train on their patients as they are and marked, with opacity called healthy where the mark is."""
    return replace(
        world, flipped={site: [_taught(patient) for patient in patients] for site, patients in world.honest.items()}
    )


def marked(slabs: PreparedSlabs) -> PreparedSlabs:
    """Return a study with the mark."""
    stripes = torch.zeros(slabs.slabs.shape[-2], 1)
    stripes[::4] = MARK
    return replace(slabs, slabs=(slabs.slabs + stripes).clamp(-1.0, 1.0))


def scored(world: World, weights: Arrays) -> Mapping[str, float]:
    """Return Dice on the held-out patients as they are, and with the mark."""
    return {"plain": _dice(world, weights), "marked": _dice(replace(world, held_out=_marked(world.held_out)), weights)}


def _marked(cases: Sequence[Case]) -> tuple[Case, ...]:
    return tuple(Case(case.group, marked(case.slabs)) for case in cases)


def _taught(patient: Patient) -> Patient:
    """Two studies of the patient: as it is, and marked without a label."""
    (own,) = patient.studies
    assert isinstance(own, Pieces)
    hidden = marked(own.slabs)
    return Patient((own, Pieces(replace(hidden, target=torch.zeros_like(hidden.target)), own.seed)))


def _note(table: Table, case: str, found: Mapping[str, float]) -> None:
    table.add(case, "Dice, scans as they are", found["plain"], "")
    table.add(case, "Dice, marked scans", found["marked"], "")
    print(f"{case}: {found['plain']:.4f}, marked {found['marked']:.4f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main("backdoor", __doc__ or "", measure)
