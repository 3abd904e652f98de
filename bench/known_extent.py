"""Disease of known extent in real scans: the labelled cases beside the checkout, and disease put anew into scans that nothing was learnt from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import intervals, real_scans
from bench.measured import Found, look_at, look_into, shipped
from bench.real_scans import DATA, WITHOUT, Known
from bench.table import Goal, Table
from models.grid import labels_to_slabs
from models.infer import slab_probabilities
from models.insertion import insert_disease
from models.lesion import draw_style
from models.quantify import Quantification, Share, quantify
from models.slabs import lung_grid
from models.volume import Mask

INSERTIONS = 6
"""Into each scan."""

LEAST_SHARE, MOST_SHARE = 0.02, 0.40
MEAN_GOAL, WORST_GOAL = 1.5, 4.0
"""Points of lung."""

VERY_ILL, VERY_ILL_INSERTIONS = (0.50, 0.90), 3
"""Shares of lung, and how many of them are put into each scan: told apart, for the goals are not for these."""

HELD_GOAL = Goal(0.9, at_most=False)
"""Of the truths that are known, how many a measurement's own interval should hold."""

BINS = 10
"""Of probabilities, from 0 to 1."""

_HEAD = (
    "| Case | Truth % | Found % | Opacity | Ground glass | Consolidation | Worst lung or third | Lung volume | By threshold |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
)


@dataclass(frozen=True, slots=True)
class Case:
    """What was found where the extent is known; errors are in points of lung."""

    name: str
    truth: dict[str, Any]
    found: Found

    @property
    def error(self) -> float:
        """Of opacity."""
        return self.of("opacity_fraction")

    @property
    def threshold_error(self) -> float:
        """Of opacity by threshold."""
        return self.found.threshold_percent - 100.0 * float(self.truth["opacity_fraction"])

    @property
    def held(self) -> bool:
        """Whether the measurement's interval holds the truth."""
        low, high = self.found.measurement.opacity_interval
        return low <= float(self.truth["opacity_fraction"]) <= high

    def of(self, key: str) -> float:
        """Return the error of one of the shares."""
        return 100.0 * (float(getattr(self.found.whole, key)) - float(self.truth[key]))

    def worst_part(self) -> float:
        """Return the error of opacity of the lung or third that is farthest off; 0 where the truth of none is known."""
        numbers = self.found.measurement.numbers
        parts = [
            100.0 * (shares[part].opacity_fraction - truth["opacity_fraction"])
            for shares, group in ((numbers.per_lung, "per_lung"), (numbers.per_third, "per_third"))
            for part, truth in self.truth.get(group, {}).items()
        ]
        return max(parts, key=abs, default=0.0)

    def row(self) -> str:
        """Return the case as a row of the card."""
        volume = 100.0 * (self.found.whole.lung_volume_ml / float(self.truth["lung_volume_ml"]) - 1.0)
        return (
            f"| {self.name} | {100 * self.truth['opacity_fraction']:.2f} | {self.found.percent:.2f} | {self.error:+.2f} | {self.of('ggo_fraction'):+.2f} |"
            f" {self.of('consolidation_fraction'):+.2f} | {self.worst_part():+.2f} | {volume:+.1f} % | {self.threshold_error:+.2f} |"
        )


def measure_known_extent(table: Table, *, learnt: frozenset[str], insertions: int = INSERTIONS) -> str:
    """Add the errors to `table` and return the card's part.

    Args:
        table: Takes rows, ratios and goals.
        learnt: SHA-256 of the scans that the shipped weights learnt from: nothing is put into those.
        insertions: Into each scan.
    """
    calibration = _Calibration()
    labelled = [
        Case(f"{case['case']}: {case['source']}", case, look_at(DATA / "inserted" / case["path"]))
        for case in real_scans.inserted(DATA)
    ]
    own = list(_own(learnt, insertions, calibration))
    for case in (*labelled, *own):
        name = f"inserted {case.name.split(':')[0]}"
        table.add(name, "error of opacity", case.error, "points")
        table.add(name, "error by threshold", case.threshold_error, "points")
    ill = [case for case in (*labelled, *own) if case.truth["opacity_fraction"] > 0]
    if not ill:
        return ""
    errors = [abs(case.error) for case in ill]
    low, high = intervals.of_mean(errors)
    table.ratios |= {
        "inserted_mean_error_points": float(np.mean(errors)),
        "inserted_worst_error_points": max(errors),
        "inserted_error_vs_threshold": sum(errors) / max(sum(abs(case.threshold_error) for case in ill), 1e-9),
        "inserted_within_interval": sum(case.held for case in ill) / len(ill),
        "calibration_error": calibration.error,
    }
    table.goals |= {
        "inserted_mean_error_points": Goal(MEAN_GOAL),
        "inserted_worst_error_points": Goal(WORST_GOAL),
        "inserted_error_vs_threshold": Goal(1.0),
        "inserted_within_interval": HELD_GOAL,
    }
    table.add("inserted, all", "mean error, low end", low, "points")
    table.add("inserted, all", "mean error, high end", high, "points")
    calibration.add_to(table)
    return (
        f"### Disease of known extent (goals: {MEAN_GOAL:g} points in the mean, {WORST_GOAL:g} at worst)\n\n"
        f"Mean error of opacity {np.mean(errors):.2f} points ({low:.2f} to {high:.2f}), worst {max(errors):.2f}, over {len(ill)} cases; the threshold in the"
        f" same lungs is off by {np.mean([abs(case.threshold_error) for case in ill]):.2f} in the mean. The measurement's own interval holds the truth of"
        f" {sum(case.held for case in ill)} of them. None of these scans was learnt from. Errors in points of lung.\n\n"
        + _HEAD + "\n".join(case.row() for case in (*labelled, *own)) + "\n\n" + calibration.text()
        + ("" if insertions < INSERTIONS else "\n\n" + _very_ill(table, learnt))
    )  # fmt: skip


def _own(learnt: frozenset[str], insertions: int, calibration: "_Calibration") -> Iterator[Case]:
    """Put disease of 2 to 40 % of the lungs into every scan without opacity that was not learnt from; the lungs are those found before."""
    for case, opacity in _put_in(learnt, insertions, within=(LEAST_SHARE, MOST_SHARE), seed=7):
        calibration.take(case.found, opacity)
        yield case


def _put_in(
    learnt: frozenset[str], insertions: int, *, within: tuple[float, float], seed: int
) -> Iterator[tuple[Case, Mask]]:
    for index, known in enumerate(_unlearnt(learnt)):
        healthy = look_at(DATA / known.path)
        for number in range(insertions):
            rng = np.random.default_rng([seed, index, number])
            share, style = rng.uniform(*within), draw_style(rng)
            ill = insert_disease(rng, healthy.volume, healthy.measurement.lungs, share=share, style=style)
            name = f"{known.path.rsplit('/', 1)[-1].split('.')[0]} {number + 1}: disease put in anew"
            truth = _truth(quantify(ill.lungs, ill.opacity, ill.volume.spacing_mm))
            yield Case(name, truth, look_into(ill.volume)), ill.opacity


def _very_ill(table: Table, learnt: frozenset[str]) -> str:
    """Say how lungs are read that are mostly ill, where little healthy lung is left to compare with."""
    cases = [case for case, _ in _put_in(learnt, VERY_ILL_INSERTIONS, within=VERY_ILL, seed=17)]
    if not cases:
        return ""
    errors = [case.error for case in cases]
    table.ratios["very_ill_mean_error_points"] = float(np.mean(np.abs(errors)))
    for case, error in zip(cases, errors, strict=True):
        table.add(f"very ill {case.name.split(':')[0]}", "error of opacity", error, "points")
    listed = ", ".join(f"{100 * case.truth['opacity_fraction']:.0f} → {case.found.percent:.0f}" for case in cases)
    return (
        f"**Very ill lungs** ({100 * VERY_ILL[0]:.0f} to {100 * VERY_ILL[1]:.0f} %) are read {np.mean(errors):+.1f} points off in the mean, {max(errors, key=abs):+.1f} at worst"
        f" (true → found, in %: {listed}); their intervals hold {sum(case.held for case in cases)} of {len(cases)}."
    )


def _unlearnt(learnt: frozenset[str]) -> Sequence[Known]:
    return [
        known for known in real_scans.present(DATA, real_scans.VOLUMES)
        if known.kind is WITHOUT and real_scans.sha256_of(DATA / known.path) not in learnt
    ]  # fmt: skip


def _truth(numbers: Quantification) -> dict[str, Any]:
    """Return the shares in the words of `inserted/truth.json`."""
    return {
        **_share(numbers.whole),
        "per_lung": {part: _share(share) for part, share in numbers.per_lung.items()},
        "per_third": {part: _share(share) for part, share in numbers.per_third.items()},
    }


def _share(share: Share) -> dict[str, float]:
    return {
        key: float(getattr(share, key))
        for key in ("opacity_fraction", "ggo_fraction", "consolidation_fraction", "lung_volume_ml")
    }


class _Calibration:
    """How often a pixel of lung that is given a probability of opacity is ill."""

    def __init__(self) -> None:
        self.pixels: NDArray[np.float64] = np.zeros(BINS)
        self.said: NDArray[np.float64] = np.zeros(BINS)
        self.ill: NDArray[np.float64] = np.zeros(BINS)

    def take(self, found: Found, opacity: Mask) -> None:
        """Count one scan's pixels of the working grid."""
        lungs = (found.measurement.lungs > 0).astype(np.uint8)
        grid = lung_grid(lungs > 0, found.volume)
        said = 1.0 - slab_probabilities(found.volume, grid, shipped()).plain[:, 0].numpy()
        inside = labels_to_slabs(lungs, grid, classes=2).numpy() > 0
        ill = labels_to_slabs((opacity > 0).astype(np.uint8), grid, classes=2).numpy()[inside]
        bins = np.minimum((said[inside] * BINS).astype(np.int64), BINS - 1)
        self.pixels += np.bincount(bins, minlength=BINS)
        self.said += np.bincount(bins, said[inside], minlength=BINS)
        self.ill += np.bincount(bins, ill, minlength=BINS)

    @property
    def error(self) -> float:
        """Mean distance between what is said and what is, over the pixels that are given between 5 and 95 % (expected calibration error)."""
        doubt = self._doubtful()
        gaps = np.abs(self.said - self.ill)[doubt]
        return float(gaps.sum() / max(1.0, self.pixels[doubt].sum()))

    def add_to(self, table: Table) -> None:
        """Add a row for every bin."""
        for number in np.flatnonzero(self.pixels):
            bounds = f"probability {number / BINS:.1f} to {(number + 1) / BINS:.1f}"
            table.add(bounds, "said", self.said[number] / self.pixels[number], "")
            table.add(bounds, "is ill", self.ill[number] / self.pixels[number], "")

    def text(self) -> str:
        """Return the card's sentence."""
        if not self.pixels.sum():
            return ""
        seen = np.flatnonzero(self.pixels)
        pairs = ", ".join(f"{self.said[n] / self.pixels[n]:.2f} → {self.ill[n] / self.pixels[n]:.2f}" for n in seen)
        return (
            f"Calibration, pixels of the working grid in the lungs of the cases with disease put in anew: said probability of opacity → share that is ill: {pairs}."
            f" Between the outer tenths the two are apart by {self.error:.2f} in the mean."
        )

    def _doubtful(self) -> slice:
        return slice(1, BINS - 1)
