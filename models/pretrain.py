"""`python -m models.pretrain`: train the shipped weights and write down what they learnt from.

    python -m models.pretrain [--anatomy DIR] [--quick] [--seed N] [--out FILE] [--folds N] [--keep-lungs]

Without `--anatomy` only phantoms are learnt from (that is what CI does, with `--quick`). With it, DIR holds freely licensed CT and
a manifest (`models.anatomy`). The lung network is written beside FILE as `lungs.safetensors`, the record as `training.json`;
`python -m models.card` then writes the model card.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from models.anatomy import Anatomy, Manifest, load_anatomy, read_manifest
from models.curriculum import ill_scans, lung_examples, opacity_examples
from models.fit import Schedule, fit
from models.infer import opacity_mask, slab_probabilities
from models.looks import Example
from models.lungs import find_lungs
from models.net import LUNG_WIDTHS, GgoNet
from models.quantify import quantify
from models.record import RECORD, LeftOut, TrainingRecord, sha256_of
from models.slabs import lung_grid
from models.volume import Mask
from models.weights import LUNGS, STARTING, load_lung_net, save_arrays, to_arrays
from protocol.errors import FederationError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much of everything."""

    per_anatomy: int
    phantoms: int
    lung_steps: int
    opacity_steps: int
    fold_share: float
    checks: int


FULL = Effort(per_anatomy=15, phantoms=60, lung_steps=3000, opacity_steps=4000, fold_share=0.35, checks=3)
QUICK = Effort(per_anatomy=1, phantoms=6, lung_steps=30, opacity_steps=30, fold_share=1.0, checks=1)


@dataclass(frozen=True, slots=True)
class Nets:
    """The two networks that belong together."""

    lungs: GgoNet
    opacity: GgoNet


@dataclass(frozen=True, slots=True)
class Course:
    """Examples for both networks; those of an anatomy lie under its name, phantoms under an empty one."""

    lungs: dict[str, list[Example]]
    opacity: dict[str, list[Example]]


def prepare_course(anatomies: Sequence[Anatomy], effort: Effort, *, seed: int) -> Course:
    """Make all examples once: every network, also those of the folds, learns from a part of them."""
    rng = np.random.default_rng(seed)
    lungs: dict[str, list[Example]] = {}
    opacity: dict[str, list[Example]] = {}
    for anatomy in anatomies:
        lungs[anatomy.name] = list(lung_examples(rng, [anatomy], per_anatomy=effort.per_anatomy, phantoms=0))
        opacity[anatomy.name] = list(opacity_examples(rng, [anatomy], per_anatomy=effort.per_anatomy, phantoms=0))
        log.info("course.made %s", anatomy.name)
    lungs[""] = list(lung_examples(rng, [], per_anatomy=0, phantoms=effort.phantoms))
    opacity[""] = list(opacity_examples(rng, [], per_anatomy=0, phantoms=effort.phantoms))
    return Course(lungs, opacity)


def train(
    course: Course,
    effort: Effort,
    *,
    seed: int,
    without: Sequence[str] = (),
    share: float = 1.0,
    lungs: GgoNet | None = None,
) -> Nets:
    """Train both networks on a course, leaving some anatomies out and going on for a `share` of the full length; `lungs` is kept if given."""
    torch.manual_seed(seed)
    lung_set, opacity_set = (
        [example for name, examples in part.items() if name not in without for example in examples]
        for part in (course.lungs, course.opacity)
    )
    lung_schedule = Schedule(
        steps=int(effort.lung_steps * share), slices=8, size=(112, 144), full=(144, 176), of_lungs=True
    )
    fresh = GgoNet(LUNG_WIDTHS)  # drawn in any case, so that the other network starts from the same place
    lungs = lungs or fit(fresh, lung_set, lung_schedule, seed=seed + 1)
    opacity = fit(GgoNet(), opacity_set, Schedule(steps=int(effort.opacity_steps * share)), seed=seed + 2)
    return Nets(lungs, opacity)


def cross_check(
    anatomies: Sequence[Anatomy], course: Course, effort: Effort, *, seed: int, folds: int
) -> list[LeftOut]:
    """Measure every anatomy with networks that never saw it: as it is, and with disease put in anew."""
    rows = []
    for fold in range(min(folds, len(anatomies))):
        left = [anatomy for index, anatomy in enumerate(anatomies) if index % folds == fold]
        names = [anatomy.name for anatomy in left]
        nets = train(course, effort, seed=seed + 100 + fold, without=names, share=effort.fold_share)
        rows += [_check(anatomy, nets, effort, seed=seed + 500) for anatomy in left]
    return rows


def _check(anatomy: Anatomy, nets: Nets, effort: Effort, *, seed: int) -> LeftOut:
    """Compare what the networks find in one anatomy with what was put in."""
    rng = np.random.default_rng(seed)
    found, lungs = _opacity_share(anatomy, nets)
    both = 2.0 * np.count_nonzero((lungs > 0) & (anatomy.lungs > 0))
    dice = both / (np.count_nonzero(lungs) + np.count_nonzero(anatomy.lungs))
    errors = []
    for scan in ill_scans(rng, anatomy, count=effort.checks + 1, pleural=False):
        truth = np.count_nonzero(scan.opacity) / max(1, int(np.count_nonzero(scan.lungs)))
        share, _ = _opacity_share(Anatomy(anatomy.name, scan.volume, scan.lungs), nets)
        errors.append(100.0 * abs(share - truth))
    log.info("check.done %s: as it is %.2f, errors %s", anatomy.name, 100 * found, np.round(errors, 2).tolist())
    return LeftOut(
        name=anatomy.name, false_opacity_points=100.0 * found, inserted=effort.checks, mean_error_points=float(np.mean(errors[1:])),
        worst_error_points=float(np.max(errors[1:])), lung_dice=dice,
    )  # fmt: skip


def _opacity_share(anatomy: Anatomy, nets: Nets) -> tuple[float, Mask]:
    volume = anatomy.volume
    lungs = find_lungs(volume, net=nets.lungs)
    grid = lung_grid(lungs > 0, volume)
    opacity = opacity_mask(slab_probabilities(volume, grid, nets.opacity).plain, grid, lungs)
    return quantify(lungs, opacity, volume.spacing_mm).whole.opacity_fraction, lungs


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _options().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        _run(options)
    except FederationError as error:
        log.error("%s: %s", error.code, error)  # noqa: TRY400 - a sentence for a person, not a traceback
        return error.exit_code
    return 0


def _run(options: argparse.Namespace) -> None:
    effort = QUICK if options.quick else FULL
    manifest = read_manifest(options.anatomy) if options.anatomy else Manifest(volumes=())
    anatomies = list(load_anatomy(options.anatomy, manifest)) if options.anatomy else []
    course = prepare_course(anatomies, effort, seed=options.seed)
    kept = load_lung_net(options.out.with_name(LUNGS.name)) if options.keep_lungs else None
    nets = train(course, effort, seed=options.seed, lungs=kept)
    left_out = cross_check(anatomies, course, effort, seed=options.seed, folds=options.folds)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if kept is None:
        save_arrays(to_arrays(nets.lungs), options.out.with_name(LUNGS.name))
    save_arrays(to_arrays(nets.opacity), options.out)
    record = _record(options, manifest, left_out, effort)
    options.out.with_name(RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _record(
    options: argparse.Namespace, manifest: Manifest, left_out: Sequence[LeftOut], effort: Effort
) -> TrainingRecord:
    words = [
        "python -m models.pretrain",
        "--anatomy DIR" if manifest.volumes else "",
        "--quick" if options.quick else "",
        "--keep-lungs" if options.keep_lungs else "",
    ]
    tail = f"--seed {options.seed}" + (f" --folds {options.folds}" if options.folds else "")
    return TrainingRecord(
        command=" ".join(word for word in [*words, tail] if word), seed=options.seed,
        versions={name: version(name) for name in ("torch", "monai", "numpy", "scipy")}, threads=torch.get_num_threads(),
        phantoms=effort.phantoms, variants=effort.per_anatomy, lung_steps=effort.lung_steps, opacity_steps=effort.opacity_steps,
        lung_sha256=sha256_of(options.out.with_name(LUNGS.name)), opacity_sha256=sha256_of(options.out),
        anatomies=manifest.volumes, left_out=tuple(left_out),
    )  # fmt: skip


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.pretrain", description="Train the shipped weights.")
    parser.add_argument("--anatomy", type=Path, metavar="DIR", help="freely licensed CT with a manifest.json")
    parser.add_argument("--quick", action="store_true", help="a few steps only: shows that the command works")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=STARTING, metavar="FILE")
    parser.add_argument(
        "--folds", type=int, default=0, help="leave every volume out once, in N groups: takes longer than the training"
    )
    parser.add_argument(
        "--keep-lungs",
        action="store_true",
        help="train the opacity network alone, beside the lung network that lies there: half the time; the same file as a full run gives",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
