"""How far the numbers can be trusted on real scans, against a plain HU threshold in the same lungs.

Scans without opacity: how much is found that is not there (goal: under 5 %; at most 2 %, or the flag `dense-lungs` says why not). Inserted disease of known extent: error of the opacity
share (goal: within 6 points of lung). Single slices: measured, and flagged. What is no chest CT: refused with the right code. Without
truth of their own, COVID-19 scans are shown as they are measured; for one of them a radiologist said which slices are infected, and the
opacity per slice should tell them apart (AUC). Expert masks exist on 8-bit slices only, brought to invented HU: Dice, never an accuracy in HU. It is
given twice: in the lungs as they are found, and, to judge the opacity network alone, in those lungs united with the expert's mask.

The peer is the threshold that every textbook has: -750 to 150 HU inside the lungs, opened by 3 mm to drop vessels.

A full run also writes its part of docs/model-card.md. Without ../shared/data only phantoms are measured, and nothing is written there.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bench import real_scans
from bench.real_scans import DATA, WITH, WITHOUT, Known
from bench.table import Goal, Table, main
from client.infer.flags import merged
from client.infer.nifti import read_mask
from client.infer.orientation import orientation_of, to_canonical
from client.infer.scan import Scan, read_scan
from models import card
from models.evaluate import evaluate, evaluation_phantoms
from models.infer import opacity_mask, slab_probabilities
from models.measure import Measurement, measure
from models.net import GgoNet
from models.quantify import RIGHT
from models.record import read_record
from models.slabs import lung_grid
from models.volume import Mask
from models.weights import LUNGS, STARTING, load_net
from protocol.case import QualityFlag
from protocol.errors import InvalidInputError

_GGO_HU, _DENSE_HU = -750, 150
_OPENING_MM = 3.0


@dataclass(frozen=True, slots=True)
class Found:
    """A measured scan, and what the threshold makes of the same lungs."""

    scan: Scan
    measurement: Measurement
    threshold: NDArray[np.bool_]

    @property
    def percent(self) -> float:
        """Opacity in percent of lung."""
        return 100.0 * self.measurement.numbers.whole.opacity_fraction

    @property
    def threshold_percent(self) -> float:
        """The same by threshold."""
        return 100.0 * float(self.threshold.sum()) / max(1.0, float((self.measurement.lungs > 0).sum()))

    @property
    def flags(self) -> str:
        """All quality flags, in words."""
        return ", ".join(flag.value for flag in merged(self.scan.flags, self.measurement.flags)) or "none"


@cache
def shipped() -> GgoNet:
    """Return the opacity network of this wheel."""
    return load_net(STARTING)


def look_at(path: Path) -> Found:
    """Measure one scan as `acinus-node quantify` does.

    Raises:
        InvalidInputError: With the code of the refusal.
    """
    scan = read_scan(path)
    measurement = measure(scan.volume, shipped())
    return Found(scan, measurement, by_threshold(scan, measurement.lungs))


def by_threshold(scan: Scan, lungs: Mask) -> NDArray[np.bool_]:
    """Return where a plain threshold sees opacity, opened by a ball of 3 mm."""
    dense = (lungs > 0) & (scan.volume.hu >= _GGO_HU) & (scan.volume.hu < _DENSE_HU)
    reach = [min(int(_OPENING_MM // mm), n - 1) for mm, n in zip(scan.volume.spacing_mm, dense.shape, strict=True)]
    steps = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    distance_mm = np.linalg.norm([step * mm for step, mm in zip(steps, scan.volume.spacing_mm, strict=True)], axis=0)
    opened: NDArray[np.bool_] = ndimage.binary_opening(dense, structure=distance_mm <= _OPENING_MM)
    return opened


def measure_all(quick: bool) -> Table:
    """Measure everything that is there; a full run on real scans also writes the model card's part."""
    table = Table()
    scores = evaluate(shipped(), evaluation_phantoms(3 if quick else 12))
    table.add("phantoms", "Dice of opacity", scores.dice, "")
    table.add("phantoms", "error of ground glass", scores.ggo_error_points, "points")
    if not (DATA / "ct_nifti").is_dir():
        table.remarks.append("No real scans beside the checkout: phantoms only.")
        return table
    sections = [_inserted(table)] if quick else [
        _volumes(table), _inserted(table), _single_slices(table), _expert(table), _refusals(table),
    ]  # fmt: skip
    if not quick:
        text = card.with_real_scans(card.CARD.read_text(encoding="utf-8"), "\n\n".join(sections))
        card.CARD.write_text(text, encoding="utf-8")
    return table


def _volumes(table: Table) -> str:
    """Measure whole scans, without disease and with COVID-19."""
    record = read_record(STARTING, LUNGS)
    learnt = {entry.sha256 for entry in record.anatomies} if record is not None else set()
    rows: dict[str, list[str]] = {WITHOUT: [], WITH: []}
    healthy, unseen, unexplained = [0.0], [0.0], [0.0]
    for known in real_scans.present(DATA, real_scans.VOLUMES):
        found = look_at(DATA / known.path)
        seen = real_scans.sha256_of(DATA / known.path) in learnt
        _add(table, known, found)
        rows[known.kind].append(_row(known, found, "not recorded" if record is None else "yes" if seen else "no"))
        if known.kind is WITHOUT:
            healthy.append(found.percent)
            unseen.append(0.0 if seen else found.percent)
            unexplained.append(0.0 if QualityFlag.DENSE_LUNGS in found.measurement.flags else found.percent)
        if known.path.endswith("covidctmd_P002.nii.gz"):
            table.ratios["covid_slices_auc"] = _auc(found, real_scans.slice_labels(DATA))
    table.ratios["worst_without_opacity_percent"] = max(healthy)
    table.ratios["worst_without_opacity_not_learnt_from_percent"] = max(unseen)
    table.ratios["worst_without_opacity_nor_flag_percent"] = max(unexplained)
    table.goals["worst_without_opacity_nor_flag_percent"] = Goal(2.0)
    table.goals |= dict.fromkeys(
        ("worst_without_opacity_percent", "worst_without_opacity_not_learnt_from_percent"), Goal(5.0)
    )
    head = "| Scan | Scanner, kernel | Learnt from | Ground glass % | Consolidation % | Opacity % (interval) | Lungs, L | Flags |\n|---|---|---|---:|---:|---:|---:|---|\n"
    return (
        "### Scans without opacity (goal: under 5 %)\n\n" + head + "\n".join(rows[WITHOUT])
        + "\n\n### COVID-19, no truth of their extent\n\n" + head + "\n".join(rows[WITH])
        + f"\n\nA radiologist marked the infected slices of the first: opacity per slice tells them from the others with AUC {table.ratios['covid_slices_auc']:.3f}."
    )  # fmt: skip


def _inserted(table: Table) -> str:
    """Measure disease of known extent."""
    errors, peers, lines = [0.0], [0.0], []
    for case in real_scans.inserted(DATA):
        found = look_at(DATA / "inserted" / case["path"])
        truth = 100.0 * case["opacity_fraction"]
        whole = found.measurement.numbers.whole
        errors.append(abs(found.percent - truth))
        peers.append(abs(found.threshold_percent - truth))
        parts = _part_errors(found.measurement, case)
        ggo, dense = (100.0 * (getattr(whole, key) - case[key]) for key in ("ggo_fraction", "consolidation_fraction"))
        table.add(f"inserted {case['case']}", "error of opacity", found.percent - truth, "points")
        table.add(f"inserted {case['case']}", "error by threshold", found.threshold_percent - truth, "points")
        lines.append(
            f"| {case['case']}: {case['source']} | {truth:.2f} | {found.percent:.2f} | {found.percent - truth:+.2f} | {ggo:+.2f} | {dense:+.2f} |"
            f" {max(parts, key=abs, default=0.0):+.2f} | {100 * (whole.lung_volume_ml / case['lung_volume_ml'] - 1):+.1f} % | {found.threshold_percent - truth:+.2f} |"
        )
    table.ratios["worst_inserted_points"] = max(errors)
    table.goals["worst_inserted_points"] = Goal(6.0)
    table.ratios["inserted_error_vs_threshold"] = sum(errors) / max(sum(peers), 1e-9)
    table.goals["inserted_error_vs_threshold"] = Goal(1.0)
    head = "| Case | Truth % | Found % | Opacity | Ground glass | Consolidation | Worst lung or third | Lung volume | By threshold |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    return (
        "### Inserted disease of known extent (goal: within 6 points)\n\nErrors in points of lung; none of these scans was learnt from. The threshold uses the same lungs.\n\n"
        + head + "\n".join(lines)
    )  # fmt: skip


def _single_slices(table: Table) -> str:
    """Measure single slices: each must carry its flag."""
    lines, flagged = [], []
    for known in real_scans.present(DATA, real_scans.SLICES):
        found = look_at(DATA / known.path)
        _add(table, known, found)
        flagged.append(QualityFlag.SINGLE_SLICE in found.measurement.flags)
        lines.append(_row(known, found, "not recorded" if read_record(STARTING, LUNGS) is None else "no"))
    table.ratios["single_slices_flagged"] = sum(flagged) / len(flagged) if flagged else 1.0
    table.goals["single_slices_flagged"] = Goal(1.0, at_most=False)
    head = "| Slice | Scanner, kernel | Learnt from | Ground glass % | Consolidation % | Opacity % (interval) | Lungs, L | Flags |\n|---|---|---|---:|---:|---:|---:|---|\n"
    return (
        f"### Single slices ({sum(flagged)} of {len(flagged)} flagged as such; no truth)\n\n" + head + "\n".join(lines)
    )


def _expert(table: Table) -> str:
    """Compare with radiologists' masks on 8-bit slices."""
    ours, united, peers, refused = [], [], [], Counter[str]()
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
    if not ours:
        return ""
    table.ratios["expert_slices_dice"] = float(np.mean(ours))
    table.ratios["expert_slices_dice_lungs_united"] = float(np.mean(united))
    table.goals["expert_slices_dice_lungs_united"] = Goal(0.68, at_most=False)
    table.ratios["expert_slices_dice_by_threshold"] = float(np.mean(peers))
    said = "".join(f"; {count} refused with `{code}`, counted as 0" for code, count in refused.items())
    return (
        f"### Expert masks on 8-bit slices\n\n{len(ours)} slices of COVID-19 with a radiologist's mask, grey levels brought to invented HU"
        f"{said}. Dice of opacity: mean {np.mean(ours):.3f}, median {np.median(ours):.3f}; with the expert's mask counted as lung, mean {np.mean(united):.3f};"
        f" by threshold in the same lungs: mean {np.mean(peers):.3f},"
        f" median {np.median(peers):.3f}. The set is for non-commercial use and was only tested on."
    )


def _opacity_within(found: Found, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what the opacity network finds where all that an expert marked counts as lung."""
    lungs = np.where(marked & (found.measurement.lungs == 0), np.uint8(RIGHT), found.measurement.lungs)
    grid = lung_grid(lungs > 0, found.scan.volume)
    return opacity_mask(slab_probabilities(found.scan.volume, grid, shipped()).plain, grid, lungs) > 0


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
    whole = found.measurement.numbers.whole
    low, high = found.measurement.opacity_interval
    return (
        f"| `{Path(known.path).name}`: {known.what} | {known.scanner} | {learnt} | {100 * whole.ggo_fraction:.2f} | {100 * whole.consolidation_fraction:.2f} |"
        f" {found.percent:.2f} ({100 * low:.1f} to {100 * high:.1f}) | {whole.lung_volume_ml / 1000:.2f} | {found.flags} |"
    )


def _part_errors(measurement: Measurement, case: dict[str, Any]) -> list[float]:
    numbers = measurement.numbers
    return [
        100.0 * (shares[part].opacity_fraction - truth["opacity_fraction"])
        for shares, group in ((numbers.per_lung, "per_lung"), (numbers.per_third, "per_third"))
        for part, truth in case.get(group, {}).items()
    ]


def _auc(found: Found, infected: list[bool]) -> float:
    """Return how often an infected slice shows more opacity than one that is not (ties count half)."""
    lungs, opacity = found.measurement.lungs > 0, found.measurement.opacity > 0
    shares = opacity.sum(axis=(1, 2)) / np.maximum(1, lungs.sum(axis=(1, 2)))
    with_lung = lungs.any(axis=(1, 2))
    ill = shares[np.array(infected) & with_lung]
    well = shares[~np.array(infected) & with_lung]
    return float(((ill[:, None] > well) + 0.5 * (ill[:, None] == well)).mean())


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2.0 * np.count_nonzero(one & other) / total if total else 1.0


if __name__ == "__main__":
    main("accuracy", __doc__ or "", measure_all)
