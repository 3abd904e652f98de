"""What every benchmark shares: rows, ratios, one JSON document or one page in `docs/benchmarks/`, and fair turns for the cases."""

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"

_PACKAGES = ("torch", "opacus", "monai", "flwr", "numpy")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one case."""

    case: str
    metric: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio is to reach: at most or at least `bound`."""

    bound: float
    at_most: bool = True

    def met(self, value: float) -> bool:
        """Say whether `value` reaches it."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}"


@dataclass(slots=True)
class Table:
    """What a benchmark found. `ratios` and `goals` share their names; `remarks` say what a reader must know."""

    rows: list[Row] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    goals: dict[str, Goal] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    """SVG by file name, written beside the page."""

    def add(self, case: str, metric: str, value: float, unit: str) -> None:
        """Add one figure."""
        self.rows.append(Row(case, metric, value, unit))


def main(name: str, about: str, measure: Callable[[bool], Table]) -> None:
    """Run a benchmark as a program.

    Args:
        name: Of its module and of its page.
        about: Its docstring: what is measured, against whom, what the goal is.
        measure: Takes whether to be quick, and returns the table. A quick run prints and writes no page.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions; writes no page")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON document on standard output")
    options = parser.parse_args()
    table = measure(options.quick)
    if not options.quick:
        write_page(name, about, table)
    print(json.dumps(as_document(name, table)) if options.as_json else as_text(table))


def as_document(name: str, table: Table) -> dict[str, object]:
    """Return what `--json` prints."""
    return {
        "name": name,
        "rows": [asdict(row) for row in table.rows],
        "ratios": table.ratios,
        "goals": {key: {"bound": goal.bound, "at_most": goal.at_most} for key, goal in table.goals.items()},
        "met": {key: goal.met(table.ratios[key]) for key, goal in table.goals.items() if key in table.ratios},
        "machine": machine(),
    }


def as_text(table: Table) -> str:
    """Return the table for a terminal."""
    rows = [f"{row.case:<44} {row.metric:<28} {row.value:>12.4g} {row.unit}" for row in table.rows]
    ratios = [f"{name:<44} {value:>12.4g}   {_judged(table, name)}" for name, value in table.ratios.items()]
    return "\n".join([*rows, "", *ratios, *(f"* {remark}" for remark in table.remarks)])


def write_page(name: str, about: str, table: Table) -> None:
    """Write `docs/benchmarks/<name>.md` and its pictures."""
    PAGES.mkdir(parents=True, exist_ok=True)
    for file, svg in table.pictures.items():
        (PAGES / file).write_text(svg, encoding="utf-8")
    lines = [
        f"# {name}", "", f"Written by `python -m bench.{name}` on {datetime.now(UTC):%Y-%m-%d}: {_machine_line()}.", "",
        about.strip(), "",
        *(f"![{file}]({file})\n" for file in table.pictures),
        "| Ratio | Value | Goal | |", "|---|---:|---|---|",
        *(f"| `{key}` | {value:.3g} | {table.goals.get(key, '')} | {_mark(table, key)} |" for key, value in table.ratios.items()),
        "", "| Case | Metric | Value | Unit |", "|---|---|---:|---|",
        *(f"| {row.case} | {row.metric} | {row.value:.4g} | {row.unit} |" for row in table.rows),
        "", *(f"* {remark}" for remark in table.remarks),
    ]  # fmt: skip
    (PAGES / f"{name}.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def in_turns(cases: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Time the cases one after the other, round after round, so that whatever else the machine does hits all of them alike.

    Returns:
        Seconds of each round by case, without the rounds of warming up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(warm_up + rounds):
        for name, case in cases.items():
            gc.collect()
            began = time.perf_counter()
            case()
            spent = time.perf_counter() - began
            if number >= warm_up:
                seconds[name].append(spent)
        print(f"round {number + 1} of {warm_up + rounds}", file=sys.stderr)
    return seconds


def median_ratio(of: list[float], to: list[float]) -> float:
    """Return the median over rounds of one case's seconds to another's: each ratio compares neighbours in time."""
    return statistics.median(one / other for one, other in zip(of, to, strict=True))


def machine() -> dict[str, object]:
    """Return what the figures were measured on."""
    found: dict[str, object] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _machine_line() -> str:
    return ", ".join(f"{value} cores" if name == "cores" else f"{name} {value}" for name, value in machine().items())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _judged(table: Table, name: str) -> str:
    goal = table.goals.get(name)
    return "" if goal is None else f"goal {goal}: {'met' if goal.met(table.ratios[name]) else 'missed'}"


def _mark(table: Table, name: str) -> str:
    goal = table.goals.get(name)
    return "" if goal is None else ("met" if goal.met(table.ratios[name]) else "missed")
