"""One clock for all federations: when each site's training began and ended. Standard library only, for peers read it in their own Python."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

T = TypeVar("T")

SITES = ("northport", "southbay", "westhill")
TRAINING_SECONDS = 0.3
LOGS = "ACINUS_BENCH_LOGS"
"""Environment variable of every site: the folder of the logs."""

STEP = {site: 1e-4 * number for number, site in enumerate(SITES, start=1)}
"""By how much of itself a site changes every weight: each site by another, or Flower would carry what is the same only once."""


def timed(site: str, work: Callable[[], T]) -> T:
    """Run `work`, pad it to `TRAINING_SECONDS`, and note when it began and ended, in seconds since the machine was started."""
    began = time.monotonic()
    done = work()
    time.sleep(max(0.0, began + TRAINING_SECONDS - time.monotonic()))
    with Path(os.environ[LOGS], f"{site}.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps([began, time.monotonic()]) + "\n")
    return done


def overheads(logs: Path, rounds: int) -> list[float]:
    """Return what each round but the last took beyond its training, in seconds.

    A round lasts from the first site's beginning to the first site's beginning in the next round; its training is that of the slowest
    site. Both are read at the sites, so that nobody's own idea of a round counts.

    Args:
        logs: Folder of the sites' logs.
        rounds: How many each site must have trained in.

    Raises:
        RuntimeError: If a site trained in more or fewer.
    """
    spans = {site: _spans(logs / f"{site}.jsonl") for site in SITES}
    if any(len(found) != rounds for found in spans.values()):
        raise RuntimeError(f"not {rounds} rounds each: { {site: len(found) for site, found in spans.items()} }")
    starts = [min(spans[site][number][0] for site in SITES) for number in range(rounds)]
    slowest = [max(end - start for start, end in (spans[site][number] for site in SITES)) for number in range(rounds)]
    return [after - before - work for before, after, work in zip(starts, starts[1:], slowest, strict=False)]


def steady(found: list[float]) -> float:
    """Return the median of all rounds but the first, in which processes are still cold."""
    return median(found[1:])


def _spans(log: Path) -> list[tuple[float, float]]:
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [(began, ended) for began, ended in map(json.loads, lines)]
