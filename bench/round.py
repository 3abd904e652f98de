"""What a round costs beyond its training: this project, stock Flower and NVIDIA FLARE, a centre and three sites on this machine, in turns.

The same toy for all: 0.3 s of training in which a site changes every weight by a share of itself, so that all weights travel both ways.
Two sizes: an MLP of 4,987,401 parameters (20 MB), and the shipped segmentation network. A round lasts from the first site's beginning to the
first site's beginning in the next round; its overhead is that less the training of the slowest site, both read at the sites by one clock.
The median leaves out the first round, in which processes are cold. Nobody evaluates anything.

* This project: all real processes. A centre (SuperLink, registry, fleet gateway, ServerApp), and for each site the node's link with its
  forwarder, its SuperNode, and its runner. TLS twice on the way, client certificates, a bundle judged and audited, a checkpoint on the disk.
* Stock Flower: SuperLink and SuperNodes in subprocess isolation, TLS, node authentication, SQLite, its own FedAvg.
* FLARE: a provisioned project of a server and three clients as their own processes (its POC mode), its own FedAvg, the client script in the
  job's process, NumPy; once as it comes, and once with `task_request_interval` 0.05 s. It is installed into an environment of its own for
  the time of the benchmark, where it can be.

Goals: `overhead_seconds` ≤ 1, and below both peers at the larger size.
"""

import itertools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from bench.networks import flare, own, stock_flower
from bench.networks.stopwatch import TRAINING_SECONDS, overheads, steady
from bench.table import Goal, Table, main
from strategies.arrays import Arrays
from tests.fakes.federation import free_block

GOALS = {"overhead_seconds": Goal(1.0), "overhead_vs_flower": Goal(1.0), "overhead_vs_flare": Goal(1.0)}
OURS, FLOWER, FLARE, TUNED = "Acinus", "Flower", "FLARE", "FLARE, request interval 0.05 s"
LARGE, SMALL = "5 M parameters", "shipped network"

Federation = Callable[[Path, Arrays, int, int], None]
"""Carries out a run in an empty folder: base weights, number of rounds, first of twenty free ports."""


@dataclass(frozen=True, slots=True)
class Found:
    """Overheads of all rounds but the last, in seconds."""

    rounds: list[float]

    @property
    def steady(self) -> float:
        """The median without the first round."""
        return steady(self.rounds)


def measure(quick: bool) -> Table:
    """Run every federation at every size, the peers of one size one after the other."""
    rounds = 4 if quick else 11
    table = Table(goals=GOALS)
    with tempfile.TemporaryDirectory(prefix="bench-round-") as scratch:
        federations = _federations(Path(scratch), table)
        for size, arrays in ({LARGE: mlp()} if quick else {LARGE: mlp(), SMALL: shipped()}).items():
            found = {name: _measured(run, Path(scratch), arrays, rounds) for name, run in federations.items()}
            for name, one in found.items():
                table.add(f"{name}, {size}", "overhead, median", one.steady, "s/round")
                table.add(f"{name}, {size}", "overhead, slowest", max(one.rounds[1:]), "s/round")
                table.add(f"{name}, {size}", "overhead, first round", one.rounds[0], "s")
            if size == LARGE:
                table.ratios = _ratios(found)
    table.remarks.append(
        f"{rounds} rounds each, {TRAINING_SECONDS} s of training; `overhead_vs_flare` is to the tuned one."
    )
    return table


def mlp() -> Arrays:
    """Return the weights of an MLP 64-2200-2200-1: 4,987,401 random numbers."""
    random = np.random.default_rng(1)
    widths = (64, 2200, 2200, 1)
    arrays = {}
    for layer, (into, out) in enumerate(itertools.pairwise(widths)):
        arrays[f"layer{layer}.weight"] = random.standard_normal((out, into), dtype=np.float32)
        arrays[f"layer{layer}.bias"] = random.standard_normal(out, dtype=np.float32)
    return arrays


def shipped() -> Arrays:
    """Return the weights that come with the software."""
    from models.weights import STARTING

    return load(STARTING.read_bytes())


def _federations(scratch: Path, table: Table) -> dict[str, Federation]:
    """Return who takes part; FLARE only if it can be installed."""
    federations: dict[str, Federation] = {OURS: own.run, FLOWER: stock_flower.run}
    installed, reason = flare.install(scratch / "flare")
    if installed is None:
        table.remarks.append(f"FLARE was left out: {reason}")
        return federations
    return federations | {FLARE: installed.run, TUNED: installed.tuned().run}


def _measured(run: Federation, scratch: Path, arrays: Arrays, rounds: int) -> Found:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    run(folder, arrays, rounds, free_block(20))
    found = Found(overheads(folder, rounds))
    print(f"{folder.name}: {' '.join(f'{one:.2f}' for one in found.rounds)}", file=sys.stderr)
    return found


def _ratios(found: dict[str, Found]) -> dict[str, float]:
    ratios = {
        "overhead_seconds": found[OURS].steady,
        "overhead_vs_flower": found[OURS].steady / found[FLOWER].steady,
    }
    if TUNED in found:
        ratios["overhead_vs_flare"] = found[OURS].steady / found[TUNED].steady
    return ratios


if __name__ == "__main__":
    main("round", __doc__ or "", measure)
