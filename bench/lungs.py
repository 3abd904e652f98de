"""Whether the lung mask keeps what is ill, and whether it is the lungs: against expert masks, and with severe disease put in.

Three scans have lung masks by experts. Their Dice says whether what is found is lung. Then disease fills a third to six tenths of these lungs,
six times each in two looks: as COVID-19 lies, and as dense disease at the pleura, which any threshold takes for chest wall. What of it
lies within the lungs as found can be measured; the rest cannot.

The peer is a threshold with closing (`models.lungs.threshold_lungs`), which also taught the network.

Goals: the worst Dice ≥ 0.97 and, at the same time, ≥ 0.95 of severe disease kept. Without ../shared/data phantoms stand in for the scans.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.real_scans import DATA
from bench.table import Goal, Table, main
from client.infer.nifti import read_mask
from client.infer.orientation import orientation_of, to_canonical
from client.infer.scan import read_scan
from models.curriculum import at_the_pleura
from models.insertion import Inserted, insert_disease
from models.lesion import LesionStyle, draw_style
from models.lungs import find_lungs, threshold_lungs
from models.phantom import PROFILES, make_phantom
from models.volume import Mask, Volume

SCANS = ("imlab1", "imlab2", "cip_ct64")
PHANTOMS = ("siemens-b31f", "ge-standard", "philips-b")
PHANTOM_SHAPE, PHANTOM_SPACING_MM = (36, 128, 128), (8.0, 2.8, 2.8)
LEAST_SHARE, MOST_SHARE = 0.32, 0.6
GOALS = {"lung_dice_worst": Goal(0.97, at_most=False), "severe_disease_kept": Goal(0.95, at_most=False)}

Finder = Callable[[Volume], Mask]
Look = Callable[[np.random.Generator, LesionStyle], LesionStyle]

FINDERS: dict[str, Finder] = {"network": find_lungs, "threshold": threshold_lungs}
LOOKS: dict[str, Look] = {"severe": lambda _, style: style, "pleural": at_the_pleura}


def measure(quick: bool) -> Table:
    """Look for the lungs in every scan, as it is and ill."""
    table = Table(goals=GOALS)
    worst = dict.fromkeys(FINDERS, 1.0)
    kept: dict[tuple[str, str], list[float]] = {(name, look): [] for name in FINDERS for look in LOOKS}
    for scan, volume, lungs in scans(DATA / "ct_nifti"):
        for name, find in FINDERS.items():
            dice = _dice(find(volume), lungs)
            table.add(scan, f"Dice, {name}", dice, "")
            worst[name] = min(worst[name], dice)
        for look, ill in _ill(volume, lungs, times=1 if quick else 6):
            for name, find in FINDERS.items():
                kept[name, look].append(_kept(find, ill))
    for (name, look), shares in kept.items():
        table.add(f"{look} disease, {len(shares)} insertions", f"kept, {name}, mean", float(np.mean(shares)), "")
        table.add(f"{look} disease, {len(shares)} insertions", f"kept, {name}, median", float(np.median(shares)), "")
        table.add(f"{look} disease, {len(shares)} insertions", f"kept, {name}, least", min(shares), "")
    table.ratios = {
        "lung_dice_worst": worst["network"],
        "lung_dice_worst_threshold": worst["threshold"],
        **{f"{look}_disease_kept": float(np.mean(kept["network", look])) for look in LOOKS},
        **{f"{look}_disease_kept_threshold": float(np.mean(kept["threshold", look])) for look in LOOKS},
    }
    return table


def scans(folder: Path) -> Iterator[tuple[str, Volume, Mask]]:
    """Yield name, scan and the expert's lungs (1 for either) of every scan that has them, or phantoms where `folder` is absent."""
    if not folder.is_dir():
        for seed, name in enumerate(PHANTOMS):
            made = make_phantom(
                seed, profile=PROFILES[name], disease=0.0, shape=PHANTOM_SHAPE, spacing_mm=PHANTOM_SPACING_MM
            )
            yield f"phantom, {name}", made.volume, (made.lungs > 0).astype(np.uint8)
        return
    for name in SCANS:
        mask, affine = read_mask(folder / f"{name}_lungmask.nii.gz", most=255)
        lungs = (to_canonical(mask, orientation_of(affine)) > 0).astype(np.uint8)
        yield name, read_scan(folder / f"{name}.nii.gz").volume, lungs


def _ill(volume: Volume, lungs: Mask, *, times: int) -> Iterator[tuple[str, Inserted]]:
    for look, turn in LOOKS.items():
        for seed in range(times):
            rng = np.random.default_rng(seed)
            style = turn(rng, draw_style(rng))
            yield look, insert_disease(rng, volume, lungs, share=rng.uniform(LEAST_SHARE, MOST_SHARE), style=style)


def _kept(find: Finder, scan: Inserted) -> float:
    ill = scan.opacity > 0
    return np.count_nonzero(find(scan.volume)[ill]) / int(np.count_nonzero(ill))


def _dice(found: Mask, lungs: Mask) -> float:
    both = np.count_nonzero((found > 0) & (lungs > 0))
    return 2.0 * both / (np.count_nonzero(found) + np.count_nonzero(lungs))


if __name__ == "__main__":
    main("lungs", __doc__ or "", measure)
