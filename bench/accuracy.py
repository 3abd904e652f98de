"""How far the numbers can be trusted on real scans, against a plain HU threshold in the same lungs.

Scans without opacity: how much is found that is not there (goal: at most 2 %, or the flag `dense-lungs` says why not; healthy lungs at most 1 %).
Disease of known extent, as it comes with the labelled cases and put anew into every scan without opacity that was not learnt from: error of the
opacity share (goals: 1.5 points of lung in the mean, 4 at worst), how often the measurement's own interval holds it (goal: nine of ten, and of phantoms),
and how well the network's probabilities are calibrated there. Lungs that are more than half ill: told apart, without a goal. Single slices: measured,
and flagged. What is no chest CT: refused with the right code. Without
truth of their own, COVID-19 scans are shown as they are measured; for one of them a radiologist said which slices are infected, and the
opacity per slice should tell them apart (AUC ≥ 0.9). Expert masks exist on 8-bit slices only, brought to invented HU: Dice and the share of lung, never an
accuracy in HU. Dice is given twice: in the lungs as they are found, and, to judge the opacity network alone, in those lungs united with the expert's mask.

Intervals are of 95 % over the cases (`bench/intervals.py`): they say how far a handful of scans carries, not how another hospital's would do.

The peer is the threshold that every textbook has: -750 to 150 HU inside the lungs, opened by 3 mm to drop vessels.

A full run also writes its part of docs/model-card.md. Without ../shared/data only phantoms are measured, and nothing is written there.
"""

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import intervals, real_scans
from bench.known_extent import HELD_GOAL, measure_known_extent
from bench.measured import Found, look_at, shipped
from bench.real_scans import DATA, WITH, WITHOUT, Known
from bench.table import Goal, Table, main
from client.infer.flags import merged
from client.infer.nifti import read_mask
from client.infer.orientation import orientation_of, to_canonical
from models import card
from models.evaluate import evaluate, evaluation_phantoms
from models.infer import opacity_mask, slab_probabilities
from models.measure import measure
from models.phantom import Phantom
from models.quantify import RIGHT
from models.record import read_record
from models.slabs import lung_grid
from models.weights import LUNGS, STARTING
from protocol.case import QualityFlag
from protocol.errors import InvalidInputError

WITHOUT_GOAL, HEALTHY_GOAL = 2.0, 1.0
"""Percent of lung."""


def measure_all(quick: bool) -> Table:
    """Measure everything that is there; a full run on real scans also writes the model card's part."""
    table = Table()
    phantoms = evaluation_phantoms(3 if quick else 12)
    scores = evaluate(shipped(), phantoms)
    table.add("phantoms", "Dice of opacity", scores.dice, "")
    table.add("phantoms", "error of ground glass", scores.ggo_error_points, "points")
    table.ratios["phantoms_within_interval"] = float(np.mean([_held(phantom) for phantom in phantoms]))
    table.goals["phantoms_within_interval"] = HELD_GOAL
    if not (DATA / "ct_nifti").is_dir():
        table.remarks.append("No real scans beside the checkout: phantoms only.")
        return table
    record = read_record(STARTING, LUNGS)
    learnt = frozenset(entry.sha256 for entry in record.anatomies) if record is not None else None
    sections = [measure_known_extent(table, learnt=learnt or frozenset(), insertions=1)] if quick else [
        _volumes(table, learnt), measure_known_extent(table, learnt=learnt or frozenset()), _single_slices(table), _expert(table), _refusals(table),
    ]  # fmt: skip
    if not quick:
        text = card.with_real_scans(card.CARD.read_text(encoding="utf-8"), "\n\n".join(sections))
        card.CARD.write_text(text, encoding="utf-8")
    return table


def _held(phantom: Phantom) -> bool:
    """Say whether the interval of a measured phantom holds its true share of opacity."""
    low, high = measure(phantom.volume, shipped()).opacity_interval
    return bool(low <= np.count_nonzero(phantom.opacity) / np.count_nonzero(phantom.lungs) <= high)


def _volumes(table: Table, learnt: frozenset[str] | None) -> str:
    """Measure whole scans, without disease and with COVID-19. `learnt` has the hashes of those that the weights learnt from, if that is known."""
    rows: dict[str, list[str]] = {WITHOUT: [], WITH: []}
    free, unseen, unexplained, healthy = list[float](), list[float](), [0.0], [0.0]
    makers: dict[str, list[float]] = {}
    said = ""
    for known in real_scans.present(DATA, real_scans.VOLUMES):
        found = look_at(DATA / known.path)
        seen = learnt is not None and real_scans.sha256_of(DATA / known.path) in learnt
        _add(table, known, found)
        rows[known.kind].append(_row(known, found, "not recorded" if learnt is None else "yes" if seen else "no"))
        if known.kind is WITHOUT:
            free.append(found.percent)
            makers.setdefault(known.maker, []).append(found.percent)
            unseen += [] if seen else [found.percent]
            unexplained.append(0.0 if QualityFlag.DENSE_LUNGS in found.measurement.flags else found.percent)
            healthy += [found.percent] if known.healthy else []
        if known.path.endswith("covidctmd_P002.nii.gz"):
            said = _slices_told_apart(table, found)
    table.ratios |= {
        "worst_without_opacity_percent": max(free),
        "worst_without_opacity_not_learnt_from_percent": max(unseen, default=0.0),
        "worst_without_opacity_nor_flag_percent": max(unexplained),
        "worst_healthy_percent": max(healthy),
    }
    table.goals |= {
        "worst_without_opacity_nor_flag_percent": Goal(WITHOUT_GOAL),
        "worst_healthy_percent": Goal(HEALTHY_GOAL),
    }
    head = "| Scan | Scanner, kernel | Learnt from | Ground glass % | Consolidation % | Opacity % (interval) | Lungs, L | Flags |\n|---|---|---|---:|---:|---:|---:|---|\n"
    return (
        f"### Scans without opacity (goal: at most {WITHOUT_GOAL:g} %)\n\n" + head + "\n".join(rows[WITHOUT])
        + f"\n\n{_within('all', free)}; {_within('not learnt from', unseen)}. Worst by maker: "
        + ", ".join(f"{maker} {max(shares):.2f} % ({len(shares)})" for maker, shares in sorted(makers.items()))
        + ". Age and sex are not known of any whole scan, so no figure is given by them."
        + "\n\n### COVID-19, no truth of their extent\n\n" + head + "\n".join(rows[WITH]) + "\n\n" + said
    )  # fmt: skip


def _within(which: str, shares: list[float]) -> str:
    """Say how many scans stay within the goal, and what that says of others."""
    count = sum(share <= WITHOUT_GOAL for share in shares)
    low, _ = intervals.of_share(count, len(shares))
    return f"{which}: {count} of {len(shares)} within the goal (of others like these at least {100 * low:.0f} %)"


def _slices_told_apart(table: Table, found: Found) -> str:
    """Compare the opacity per slice with the slices that a radiologist called infected."""
    lungs, opacity = found.measurement.lungs > 0, found.measurement.opacity > 0
    with_lung = lungs.any(axis=(1, 2))
    shares = (opacity.sum(axis=(1, 2)) / np.maximum(1, lungs.sum(axis=(1, 2))))[with_lung]
    infected = np.array(real_scans.slice_labels(DATA))[with_lung]
    table.ratios["covid_slices_auc"] = intervals.auc(shares, infected)
    table.goals["covid_slices_auc"] = Goal(0.9, at_most=False)
    low, high = intervals.of_auc(shares, infected)
    table.add("covidctmd_P002, slices", "AUC, low end", low, "")
    table.add("covidctmd_P002, slices", "AUC, high end", high, "")
    return (
        "A radiologist marked the infected slices of the first: opacity per slice tells them from the others with AUC"
        f" {table.ratios['covid_slices_auc']:.3f} ({low:.3f} to {high:.3f})."
    )


def _single_slices(table: Table) -> str:
    """Measure single slices: each must carry its flag."""
    lines, flagged, unexplained = [], [], [0.0]
    for known in real_scans.present(DATA, real_scans.SLICES):
        found = look_at(DATA / known.path)
        _add(table, known, found)
        flagged.append(QualityFlag.SINGLE_SLICE in found.measurement.flags)
        if known.kind is WITHOUT and QualityFlag.DENSE_LUNGS not in found.measurement.flags:
            unexplained.append(found.percent)
        lines.append(_row(known, found, "not recorded" if read_record(STARTING, LUNGS) is None else "no"))
    table.ratios["single_slices_flagged"] = sum(flagged) / len(flagged) if flagged else 1.0
    table.goals["single_slices_flagged"] = Goal(1.0, at_most=False)
    table.ratios["worst_single_slice_without_opacity_percent"] = max(unexplained)
    head = "| Slice | Scanner, kernel | Learnt from | Ground glass % | Consolidation % | Opacity % (interval) | Lungs, L | Flags |\n|---|---|---|---:|---:|---:|---:|---|\n"
    return (
        f"### Single slices ({sum(flagged)} of {len(flagged)} flagged as such; no truth)\n\n" + head + "\n".join(lines)
        + f"\n\nWithout neighbours the network is unsure what is a vessel: up to {max(unexplained):.1f} % where nobody saw disease and `dense-lungs` does not"
        " warn. That is why they carry `single-slice`, and why the goal for scans without opacity is for volumes."
    )  # fmt: skip


def _expert(table: Table) -> str:
    """Compare with radiologists' masks on 8-bit slices."""
    ours, united, peers, errors, refused = [], [], [], [], Counter[str]()
    for path, mask_path in real_scans.expert_slices(DATA):
        values, affine = read_mask(mask_path, most=2)
        truth = to_canonical(values, orientation_of(affine)) > 0
        try:
            found = look_at(path)
        except InvalidInputError as error:
            refused[error.code.value] += 1
            ours.append(0.0)
            united.append(0.0)
            peers.append(0.0)
            continue
        ours.append(_dice(found.measurement.opacity > 0, truth))
        united.append(_dice(_opacity_within(found, truth), truth))
        peers.append(_dice(found.threshold, truth))
        errors.append(abs(_share_error(found, truth)))
    if not ours:
        return ""
    table.ratios["expert_slices_dice"] = float(np.mean(ours))
    table.ratios["expert_slices_dice_lungs_united"] = float(np.mean(united))
    table.goals["expert_slices_dice_lungs_united"] = Goal(0.68, at_most=False)
    table.ratios["expert_slices_dice_by_threshold"] = float(np.mean(peers))
    table.ratios["expert_slices_share_error_points"] = float(np.mean(errors))
    (low, high), (low_error, high_error) = intervals.of_mean(united), intervals.of_mean(errors)
    said = "".join(f"; {count} refused with `{code}`, counted as 0" for code, count in refused.items())
    return (
        f"### Expert masks on 8-bit slices\n\n{len(ours)} slices of COVID-19 with a radiologist's mask, grey levels brought to invented HU"
        f"{said}. Dice of opacity: mean {np.mean(ours):.3f}, median {np.median(ours):.3f}; with the expert's mask counted as lung, mean {np.mean(united):.3f} ({low:.3f} to {high:.3f});"
        f" by threshold in the same lungs: mean {np.mean(peers):.3f},"
        f" median {np.median(peers):.3f}. The share of lung is off by {np.mean(errors):.1f} points in the mean ({low_error:.1f} to {high_error:.1f}). The set is for non-commercial use and was only tested on."
    )


def _opacity_within(found: Found, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what the opacity network finds where all that an expert marked counts as lung."""
    lungs = np.where(marked & (found.measurement.lungs == 0), np.uint8(RIGHT), found.measurement.lungs)
    grid = lung_grid(lungs > 0, found.volume)
    return opacity_mask(slab_probabilities(found.volume, grid, shipped()).plain, grid, lungs) > 0


def _share_error(found: Found, marked: NDArray[np.bool_]) -> float:
    """Return by how many points of lung the share is off that the expert marked, of the lungs as found united with what is marked."""
    lungs = int(np.count_nonzero((found.measurement.lungs > 0) | marked))
    return found.percent - 100.0 * int(np.count_nonzero(marked)) / max(1, lungs)


def _refusals(table: Table) -> str:
    """Try what is no chest CT."""
    right, wrong, kinds = 0, [], Counter[str]()
    for what, path, codes in real_scans.to_refuse(DATA):
        try:
            code = f"measured {look_at(path).percent:.1f} %"
        except InvalidInputError as error:
            code = error.code.value
        kinds[what] += 1
        right += code in codes
        if code not in codes:
            wrong.append(f"`{path.name}`: {code}")
    total = sum(kinds.values())
    table.ratios["refused_rightly"] = right / max(1, total)
    table.goals["refused_rightly"] = Goal(1.0, at_most=False)
    said = ", ".join(f"{what} {count}" for what, count in kinds.items())
    return f"### What must be refused\n\n{right} of {total} with the right code ({said}). Wrong: {', '.join(wrong) or 'none'}."


def _add(table: Table, known: Known, found: Found) -> None:
    name = Path(known.path).name.split(".")[0]
    table.add(f"{name} ({known.kind})", "opacity", found.percent, "% of lung")
    table.add(f"{name} ({known.kind})", "opacity by threshold", found.threshold_percent, "% of lung")


def _row(known: Known, found: Found, learnt: str) -> str:
    whole = found.whole
    low, high = found.measurement.opacity_interval
    return (
        f"| `{Path(known.path).name}`: {known.what} | {known.scanner} | {learnt} | {100 * whole.ggo_fraction:.2f} | {100 * whole.consolidation_fraction:.2f} |"
        f" {found.percent:.2f} ({100 * low:.1f} to {100 * high:.1f}) | {whole.lung_volume_ml / 1000:.2f} | {_flags(found)} |"
    )


def _flags(found: Found) -> str:
    return ", ".join(flag.value for flag in merged(found.read, found.measurement.flags)) or "none"


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2.0 * np.count_nonzero(one & other) / total if total else 1.0


if __name__ == "__main__":
    main("accuracy", __doc__ or "", measure_all)
