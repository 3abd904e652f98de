"""Draws the charts of the report: facts in, SVG out. One palette: a colour stands for one site or one band everywhere."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

_INK, _FAINT, _GRID = "#1d2a33", "#6b7b86", "#dfe6ea"
_SITES = ("#1f6f8b", "#e07a3f", "#6a4c93", "#4f9d69", "#b5446e", "#8a7f2d")
_ALL = "all"
_BANDS = {_ALL: "#49606d", "none": "#b9d5dc", "mild": "#f3cf73", "moderate": "#ea9340", "severe": "#bb3e3e"}
_UNSHOWN = {"masked": "masked: 1 to 10", "withheld": "withheld"}
_MASKED_TO = 10
_DICE_ROOM = 0.12
_STYLE: Any = {
    "font.family": "sans-serif", "font.size": 9.5, "axes.edgecolor": _GRID, "axes.labelcolor": _FAINT, "text.color": _INK,
    "xtick.color": _FAINT, "ytick.color": _FAINT, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": _GRID, "grid.linewidth": 0.7, "axes.axisbelow": True, "legend.frameon": False, "svg.fonttype": "none",
    "svg.hashsalt": "acinus", "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
}  # fmt: skip


def training_chart(
    rounds: Sequence[dict[str, Any]], caps: dict[str, float], start: dict[str, Any] | None = None
) -> str:
    """Return the quality of the model and each site's ε by round.

    Args:
        rounds: As `acinus-centre train --json` tells them.
        caps: The limits to draw, by site.
        start: Quality of the weights that training began with, drawn as round 0.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_quality(left, [{"round": 0, **start}, *rounds] if start else rounds)
        _draw_epsilon(right, rounds, caps)
        return _svg(figure)


def agreement_chart(cases: Sequence[dict[str, Any]]) -> str:
    """Return measured against true ground-glass share of every measured phantom."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.3, 3.6), layout="constrained")
        axes = figure.subplots()
        measured = [
            case for case in cases if case.get("ggo_fraction") is not None and case.get("truth_fraction") is not None
        ]
        top = max([10.0, *(100 * max(case["ggo_fraction"], case["truth_fraction"]) * 1.08 for case in measured)])
        axes.plot([0, top], [0, top], color=_FAINT, linewidth=1, linestyle=":")
        for index, site in enumerate(dict.fromkeys(case["site"] for case in measured)):
            own = [case for case in measured if case["site"] == site]
            truth, found = [100 * case["truth_fraction"] for case in own], [100 * case["ggo_fraction"] for case in own]
            axes.scatter(truth, found, s=20, color=_colour(index), alpha=0.85, label=site, linewidths=0)
        axes.set(
            xlim=(0, top),
            ylim=(0, top),
            xlabel="truth, % of lung",
            ylabel="measured, % of lung",
            title="Ground glass, each phantom",
        )
        if measured:
            axes.legend(loc="upper left", handletextpad=0.1)
        return _svg(figure)


def counts_chart(cells: Sequence[dict[str, Any]]) -> str:
    """Return studies by week, place and severity, and all of them together where a cell names no severity.

    A published count is a bar with its number. A masked one is a hatched box up to the 10 that bound it, a withheld one a dotted box:
    neither has a height of its own.

    Args:
        cells: Each with `week`, `region`, `count` (`None` where there is none to show), `status`, and `severity` unless it is a total.
    """
    with mpl.rc_context(_STYLE):
        weeks, places = (sorted({cell[name] for cell in cells}) for name in ("week", "region"))
        figure = Figure(figsize=(8.6, 3.5), layout="constrained")
        row = figure.subplots(1, max(1, len(places)), sharey=True, squeeze=False)[0]
        for axes, place in zip(row, places, strict=False):
            _draw_place(axes, [cell for cell in cells if cell["region"] == place], weeks)
            axes.set_title(place)
        row[0].set_ylabel("studies (nearest 5)")
        row[0].yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 5, 10]))
        row[0].set_ylim(0, 1.12 * max(20, *(cell["count"] or 0 for cell in cells)))
        solid = [Patch(facecolor=colour, label=band) for band, colour in _BANDS.items()]
        figure.legend(
            handles=[*solid, *(_box(status, label=label) for status, label in _UNSHOWN.items())],
            loc="outside lower center",
            ncols=len(_BANDS) + len(_UNSHOWN),
        )
        return _svg(figure)


def timeline_chart(events: Sequence[dict[str, Any]]) -> str:
    """Return the read as a line of events: `seconds` since the first, `what`, and `who` (hospital, centre, reader)."""
    lanes = {"hospital": 2, "centre": 1, "reader": 0}
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, 2.6), layout="constrained")
        axes = figure.subplots()
        for lane in lanes.values():
            axes.axhline(lane, color=_GRID, linewidth=6, solid_capstyle="round", zorder=0)
        axes.plot(
            [event["seconds"] for event in events],
            [lanes[event["who"]] for event in events],
            color=_FAINT,
            linewidth=1,
            zorder=1,
        )
        seen = dict.fromkeys(lanes, 0)
        for event in events:
            at, lane = event["seconds"], lanes[event["who"]]
            axes.scatter([at], [lane], s=42, color=_colour(lane), zorder=2)
            above = seen[event["who"]] % 2 == 0
            seen[event["who"]] += 1
            axes.annotate(
                event["what"],
                (at, lane),
                (0, 9 if above else -15),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=_INK,
            )
        axes.set(
            yticks=list(lanes.values()),
            yticklabels=list(lanes),
            ylim=(-0.6, 2.6),
            xlabel="seconds since the read was posted",
        )
        axes.grid(visible=False)
        axes.margins(x=0.08)
        return _svg(figure)


def _draw_quality(axes: Axes, rounds: Sequence[dict[str, Any]]) -> None:
    numbers = [entry["round"] for entry in rounds]
    axes.plot(numbers, [entry["dice"] for entry in rounds], marker="o", color=_colour(0), label="Dice (left)")
    axes.set(title="Model on the centre's phantoms", xlabel="round", xticks=numbers, ylabel="Dice")
    best, worst = max(entry["dice"] for entry in rounds), min(entry["dice"] for entry in rounds)
    axes.set_ylim(
        max(0.0, worst - _DICE_ROOM), min(1.0, best + _DICE_ROOM)
    )  # a change of a hundredth must not look like a fall
    error = axes.twinx()
    error.plot(
        numbers,
        [entry["ggo_error_points"] for entry in rounds],
        marker="s",
        color=_colour(1),
        label="GGO error, points (right)",
    )
    error.grid(visible=False)
    error.set_ylim(0, 3 * max(entry["ggo_error_points"] for entry in rounds) or 1.0)
    handles = [*axes.get_lines(), *error.get_lines()]
    axes.legend(handles, [str(line.get_label()) for line in handles], loc="lower left")


def _draw_epsilon(axes: Axes, rounds: Sequence[dict[str, Any]], caps: dict[str, float]) -> None:
    sites = list(dict.fromkeys(site for entry in rounds for site in entry.get("epsilon", {})))
    for index, site in enumerate(sites):
        spent = [(entry["round"], entry["epsilon"][site]) for entry in rounds if site in entry.get("epsilon", {})]
        beside = (index - (len(sites) - 1) / 2) * 0.03  # sites spend alike; side by side their lines are seen
        axes.plot(
            [number + beside for number, _ in spent],
            [epsilon for _, epsilon in spent],
            marker="o",
            ms=4,
            color=_colour(index),
            label=site,
        )
        if site in caps:
            axes.axhline(caps[site], color=_colour(index), linestyle="--", linewidth=1)
            axes.annotate(
                f"{site}'s own limit {caps[site]:g}",
                (1, caps[site]),
                (0, 4),
                textcoords="offset points",
                color=_colour(index),
                fontsize=8,
            )
        for entry in rounds:
            if site in entry.get("refused", {}):
                axes.scatter([entry["round"]], [caps.get(site, spent[-1][1])], marker="x", s=50, color=_colour(index))
    axes.set(title="Privacy spent, ε at δ = 1e-5", xlabel="round", xticks=[entry["round"] for entry in rounds])
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", ncols=2)


def _draw_place(axes: Axes, cells: Sequence[dict[str, Any]], weeks: Sequence[str]) -> None:
    """Draw one group of bars for each week: all studies, then each band of severity."""
    width = 0.84 / len(_BANDS)
    for cell in cells:
        band = cell.get("severity", _ALL)
        at = weeks.index(cell["week"]) + (list(_BANDS).index(band) - (len(_BANDS) - 1) / 2) * width
        if cell["count"] is None:
            axes.add_patch(_box(cell["status"], at=at, width=width * 0.9))
        else:
            axes.bar([at], [cell["count"]], width * 0.9, color=_BANDS[band])
            axes.annotate(
                f"{cell['count']}", (at, cell["count"]), (0, 2), textcoords="offset points", ha="center", fontsize=7
            )
    newest = weeks[-1].partition("-")[0]
    axes.set_xticks(range(len(weeks)), [week.removeprefix(f"{newest}-").replace("-", "\n") for week in weeks])
    axes.set_xlim(-0.5, len(weeks) - 0.5)
    axes.grid(visible=False, axis="x")


def _box(status: str, *, at: float = 0.0, width: float = 0.0, label: str = "") -> Rectangle:
    """Return the box that stands where no number is shown."""
    hatch = "////" if status == "masked" else "...."
    return Rectangle(
        (at - width / 2, 0),
        width,
        _MASKED_TO,
        facecolor="none",
        edgecolor=_FAINT,
        hatch=hatch,
        linewidth=0.5,
        label=label,
    )


def _colour(index: int) -> str:
    return _SITES[index % len(_SITES)]


def _svg(figure: Figure) -> str:
    """Return the figure as an SVG element without the XML prologue, so that it stands inside HTML."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
