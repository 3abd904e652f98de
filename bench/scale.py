"""What a round of very many sites costs the centre: memory and time for each site, from 100 sites to 1,000, with 20 million parameters.

Everything of the centre's side runs as in use: the order is packed and pushed, each reply is pulled object by object, inflated, checked,
hashed, counted and added, and the round's checkpoint is written. The sites and the SuperLink are in this process
(`tests/fakes/crowd.py`): a reply is made when it is asked for, from the same 80 MB of random numbers for all sites. Flower's own
simulation engine would take another way through the centre (ADR 0141).

`aggregation_gib` is what the process needed at most beyond what it held before the round, that is, beyond the weights and the simulated
sites; `seconds_per_site` is the round's time divided by its sites. Each case runs in a process of its own.

Goals: neither grows with the number of sites (`memory_growth` ≤ 1.1, `time_growth` ≤ 1.2, most sites to fewest).
"""

import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from bench.table import Goal, Table, main
from protocol.plan import RunPlan
from server.app import way_to_sites
from server.rounds import run_rounds
from server.run import COMPLETED, RunFolder
from tests.fakes.crowd import Crowd, Update
from tests.fakes.rounds import a_plan
from tests.fakes.superlink import within_a_task

GOALS = {"memory_growth": Goal(1.1), "time_growth": Goal(1.2)}
PARAMETERS, QUICK_PARAMETERS = 20_000_000, 1_000_000
SITES, QUICK_SITES = (100, 300, 1000), (50, 200)
_GIB = 1024**3


def measure(quick: bool) -> Table:
    """Run one round for each number of sites, each in a process of its own."""
    counts, parameters = (QUICK_SITES, QUICK_PARAMETERS) if quick else (SITES, PARAMETERS)
    table = Table(goals=GOALS)
    found: dict[int, tuple[float, float]] = {}
    for sites in counts:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[sites] = pool.apply(one_round, (sites, parameters))
        gib, seconds = found[sites]
        table.add(f"{sites} sites", "peak memory of the round", gib, "GiB")
        table.add(f"{sites} sites", "time", seconds / sites, "s/site")
        print(f"{sites} sites: {gib:.2f} GiB, {seconds:.1f} s", file=sys.stderr)
    fewest, most = counts[0], counts[-1]
    table.ratios = {
        "aggregation_gib": found[most][0],
        "seconds_per_site": found[most][1] / most,
        "memory_growth": found[most][0] / found[fewest][0],
        "time_growth": found[most][1] / most / (found[fewest][1] / fewest),
    }
    table.remarks.append(f"{parameters:,} parameters, {4 * parameters / _GIB:.2f} GiB as float32.")
    return table


def one_round(sites: int, parameters: int) -> tuple[float, float]:
    """Carry out a run of one round.

    Returns:
        Peak memory beyond what was held before (GiB), and seconds.
    """
    names = {number: f"site-{number:04d}" for number in range(1, sites + 1)}
    update = Update({"weights": np.random.default_rng(1).standard_normal(parameters, dtype=np.float32)})
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as scratch, pytest.MonkeyPatch.context() as patch:
        within_a_task(patch)
        folder = RunFolder(Path(scratch, "a" * 32))
        folder.start(_plan(names), {name: number for number, name in names.items()}, _base(parameters))
        crowd = Crowd(names, dict.fromkeys(names, update))
        _forget_peak()
        held, began = _memory("VmRSS"), time.perf_counter()
        way = way_to_sites(crowd, folder.nodes())  # type: ignore[arg-type] # a double of the grid
        run_rounds(folder, way, clock=time.monotonic)
        seconds, peak = time.perf_counter() - began, _memory("VmHWM")
        _check(folder, update, crowd, sites)
    return (peak - held) / _GIB, seconds


def _plan(names: dict[int, str]) -> RunPlan:
    return a_plan(sites=tuple(names.values()), rounds=1, quorum=len(names), round_seconds=7200)


def _base(parameters: int) -> bytes:
    return save({"weights": np.zeros(parameters, np.float32)})


def _check(folder: RunFolder, update: Update, crowd: Crowd, sites: int) -> None:
    """Refuse figures of a round that did not do its work."""
    (record,) = folder.records()
    assert folder.outcome() == COMPLETED
    assert len(record.sites) == crowd.taken == sites
    assert np.allclose(folder.weights(1)["weights"], update.arrays["weights"], rtol=1e-5, atol=1e-6)


def _memory(name: str) -> int:
    """Return a figure of this process's memory in bytes, by its name in `/proc/self/status`."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status says nothing of {name}")


def _forget_peak() -> None:
    """Let the kernel begin to note this process's peak anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


if __name__ == "__main__":
    main("scale", __doc__ or "", measure)
