"""The picture of `bench.utility`: Dice against ε, with intervals, between the starting weights and training without privacy."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

_COLOURS = ("#1f6f8b", "#e07a3f")
_GREY = "#6b7b86"
_STYLES = ("--", "-", ":")


@dataclass(frozen=True, slots=True)
class Curve:
    """One way to noise: Dice of each seed by ε."""

    name: str
    dice: Mapping[float, Sequence[float]]


def picture(
    curves: Sequence[Curve], levels: Mapping[str, Sequence[float]], half_width: Callable[[Sequence[float]], float]
) -> str:
    """Return an SVG of the mean over seeds.

    Args:
        curves: One line each, with an interval at every ε.
        levels: What has no ε, by name: level lines.
        half_width: Half of the interval of a mean; one that is not finite is not drawn.
    """
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "acinus", "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        for style, (name, values) in zip(_STYLES, levels.items(), strict=True):
            axes.axhline(float(np.mean(values)), color=_GREY, linestyle=style, linewidth=1, label=name)
        for at, (colour, curve) in enumerate(zip(_COLOURS, curves, strict=True)):
            places = [
                epsilon * (1.0 + 0.03 * at) for epsilon in curve.dice
            ]  # beside one another, so that both intervals are seen
            means = [float(np.mean(values)) for values in curve.dice.values()]
            halves = [half_width(values) for values in curve.dice.values()]
            axes.errorbar(
                places, means, yerr=[half if np.isfinite(half) else 0.0 for half in halves], color=colour, marker="o", markersize=4,
                capsize=3, label=curve.name,
            )  # fmt: skip
        epsilons = sorted({epsilon for curve in curves for epsilon in curve.dice})
        axes.set_xscale("log", base=2)
        axes.set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons])
        axes.set(xlabel="ε of a patient (δ = 1e-5)", ylabel="Dice of opacity, held out")
        axes.legend(frameon=False, fontsize=8)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()
