"""`python -m models.pretrain`: train the shipped weights and write down what they learnt from.

    python -m models.pretrain [--anatomy DIR] [--quick] [--seed N] [--out FILE] [--folds N] [--only lungs|opacity|folds]
    python -m models.pretrain --go-on FILE [--steps N] [--rate R] [--variants N] [--anatomy DIR] [--quick] [--seed N] [--out FILE]

Without `--anatomy` only phantoms are learnt from (that is what CI does, with `--quick`). With it, DIR holds freely licensed CT and
a manifest (`models.anatomy`). The lung network is written beside FILE as `lungs.safetensors`, the record as `training.json`;
`python -m models.card` then writes the model card. With `--go-on` the opacity network starts from FILE instead of anew.
"""

import argparse
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from models.record import RECORD, LeftOut, NetworkRecord, TrainingRecord, read_record, sha256_of
from models.slabs import lung_grid
from models.volume import Mask
from models.weights import LUNGS, STARTING, Arrays, from_arrays, load_arrays, save_arrays, to_arrays
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError

log = logging.getLogger(__name__)

PARTS = LUNG_PART, OPACITY_PART = "lungs", "opacity"
"""The two networks."""

FOLDS_ALONE = "folds"
"""Neither: the weights that lie there stay, only the networks of the folds are trained, measured and thrown away."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the opacity network goes on from: its parameters and the run that made them, with the peak of the rate from here."""

    arrays: Arrays
    made: NetworkRecord
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much of everything."""

    per_anatomy: int
    phantoms: int
    lung_steps: int
    opacity_steps: int
    fold_share: float
    checks: int
    start: Start | None = None
    """Where the opacity network goes on from; without it, it begins anew."""


FULL = Effort(per_anatomy=18, phantoms=60, lung_steps=3000, opacity_steps=4500, fold_share=0.35, checks=3)
QUICK = Effort(per_anatomy=1, phantoms=6, lung_steps=30, opacity_steps=30, fold_share=1.0, checks=1)

GO_ON_STEPS, GO_ON_RATE = 1500, 4e-4
"""Shorter and gentler than from nothing."""


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


def prepare_course(
    anatomies: Sequence[Anatomy], effort: Effort, *, seed: int, parts: Sequence[str] = (LUNG_PART, OPACITY_PART)
) -> Course:
    """Make all examples once: every network, also those of the folds, learns from a part of them.

    Each anatomy has its own randomness for each network, so that one network alone sees what it would see in a full run.
    """
    made: dict[str, dict[str, list[Example]]] = {LUNG_PART: {}, OPACITY_PART: {}}
    for part in parts:
        make = {LUNG_PART: lung_examples, OPACITY_PART: opacity_examples}[part]
        of_part = [seed, PARTS.index(part)]
        for index, anatomy in enumerate(anatomies):
            rng = np.random.default_rng([*of_part, 1 + index])
            made[part][anatomy.name] = list(make(rng, [anatomy], per_anatomy=effort.per_anatomy, phantoms=0))
            log.info("course.made %s for %s", anatomy.name, part)
        rng = np.random.default_rng([*of_part, 0])
        made[part][""] = list(make(rng, [], per_anatomy=0, phantoms=effort.phantoms))
    return Course(made[LUNG_PART], made[OPACITY_PART])


def train(
    course: Course,
    effort: Effort,
    *,
    seed: int,
    without: Sequence[str] = (),
    share: float = 1.0,
    parts: Sequence[str] = PARTS,
) -> Nets:
    """Train on a course, leaving some anatomies out and going on for a `share` of the full length; what is not among `parts` stays untrained."""
    torch.manual_seed(seed)
    lung_set, opacity_set = (
        [example for name, examples in part.items() if name not in without for example in examples]
        for part in (course.lungs, course.opacity)
    )
    lung_schedule = Schedule(
        steps=int(effort.lung_steps * share), slices=8, size=(112, 144), full=(144, 176), of_lungs=True
    )
    schedule = Schedule(steps=int(effort.opacity_steps * share))
    first, second = GgoNet(LUNG_WIDTHS), GgoNet()  # drawn in any case, so that each starts from the same place
    if effort.start is not None:
        second = from_arrays(effort.start.arrays)
        schedule = replace(schedule, rate=effort.start.rate)
    return Nets(
        fit(first, lung_set, lung_schedule, seed=seed + 1) if LUNG_PART in parts else first,
        fit(second, opacity_set, schedule, seed=seed + 2) if OPACITY_PART in parts else second,
    )


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
    options = _parsed(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        _run(options)
    except FederationError as error:
        log.error("%s: %s", error.code, error)  # noqa: TRY400 - a sentence for a person, not a traceback
        return error.exit_code
    return 0


def _run(options: argparse.Namespace) -> None:
    effort = QUICK if options.quick else FULL
    if options.go_on is not None:
        effort = effort if options.quick else replace(
            effort, opacity_steps=options.steps, per_anatomy=options.variants, phantoms=2 * options.variants
        )  # fmt: skip
        effort = replace(effort, start=_start(options.go_on, options.rate))
    manifest = read_manifest(options.anatomy) if options.anatomy else Manifest(volumes=())
    anatomies = list(load_anatomy(options.anatomy, manifest)) if options.anatomy else []
    wanted = PARTS if options.only is None else tuple(part for part in PARTS if part == options.only)
    course = prepare_course(anatomies, effort, seed=options.seed, parts=PARTS if options.folds else wanted)
    nets = train(course, effort, seed=options.seed, parts=wanted)
    left_out = cross_check(anatomies, course, effort, seed=options.seed, folds=options.folds)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if LUNG_PART in wanted:
        save_arrays(to_arrays(nets.lungs), options.out.with_name(LUNGS.name))
    if OPACITY_PART in wanted:
        save_arrays(to_arrays(nets.opacity), options.out)
    _write_record(options, manifest, wanted, left_out, effort)


def _start(weights: Path, rate: float) -> Start:
    """Read weights to go on from, with the record that says what they learnt.

    Raises:
        InvalidInputError: `bad-setting` if no record stands beside them, or one of other weights.
    """
    arrays = load_arrays(weights)
    from_arrays(arrays)  # refuses another architecture before anything is made
    record = read_record(weights, weights.with_name(LUNGS.name))
    if record is None or record.opacity is None:
        raise InvalidInputError(
            Code.BAD_SETTING,
            f"No {RECORD} beside {weights} says what these weights learnt from; put it and {LUNGS.name} there.",
        )
    return Start(arrays, record.opacity, rate)


def _write_record(
    options: argparse.Namespace, manifest: Manifest, wanted: Sequence[str], left_out: Sequence[LeftOut], effort: Effort
) -> None:
    """Write down what made the networks of this run and its folds; what it did not make keeps its record."""
    path, start = options.out.with_name(RECORD), effort.start
    before = (
        TrainingRecord.model_validate_json(path.read_bytes()) if options.only and path.is_file() else TrainingRecord()
    )
    words = [
        "python -m models.pretrain",
        "--anatomy DIR" if manifest.volumes else "",
        "--quick" if options.quick else "",
        f"--go-on FILE --steps {effort.opacity_steps} --rate {start.rate:g} --variants {effort.per_anatomy}"
        if start
        else "",
    ]
    tail = f"--seed {options.seed}" + (f" --folds {options.folds}" if options.folds else "")
    files = {LUNG_PART: options.out.with_name(LUNGS.name), OPACITY_PART: options.out}
    steps = {LUNG_PART: effort.lung_steps, OPACITY_PART: effort.opacity_steps}
    made = {
        part: NetworkRecord(
            sha256=sha256_of(files[part]), command=" ".join(word for word in [*words, tail] if word), revision=_revision(),
            seed=options.seed, versions={name: version(name) for name in ("torch", "monai", "numpy", "scipy")},
            threads=torch.get_num_threads(), steps=steps[part], phantoms=effort.phantoms, variants=effort.per_anatomy,
            anatomies=manifest.volumes, rate=None if start is None else start.rate, before=None if start is None else start.made,
        )
        for part in wanted
    }  # fmt: skip
    record = before.model_copy(update={**made, "left_out": tuple(left_out)})
    path.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _revision() -> str:
    """Return the revision of the checkout, with `-dirty` if it has changes; `unknown` outside one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; whoever goes on trains the opacity network and nothing else."""
    parser = _options()
    options = parser.parse_args(argv)
    if options.go_on is None:
        if (options.steps, options.rate, options.variants) != (None, None, None):
            parser.error("--steps, --rate and --variants belong to --go-on; a training from nothing has its own.")
        return options
    if options.folds or options.only not in (None, OPACITY_PART):
        parser.error("--go-on trains the opacity network alone; scans left out were learnt from before.")
    options.only = OPACITY_PART
    options.steps = GO_ON_STEPS if options.steps is None else options.steps
    options.rate = GO_ON_RATE if options.rate is None else options.rate
    options.variants = FULL.per_anatomy if options.variants is None else options.variants
    if min(options.steps, options.variants) < 1 or not 0.0 < options.rate < 1.0:
        parser.error("--steps and --variants must be at least 1 and --rate between 0 and 1.")
    return options


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
        "--only",
        choices=(*PARTS, FOLDS_ALONE),
        help="train one network alone; the same file as a full run gives. Or the networks of the folds alone",
    )
    parser.add_argument(
        "--go-on",
        type=Path,
        metavar="FILE",
        help="start the opacity network from these weights, whose record lies beside them; the lungs stay as they are",
    )
    parser.add_argument("--steps", type=int, help=f"with --go-on: how many, {GO_ON_STEPS} by default")
    parser.add_argument(
        "--rate", type=float, help=f"with --go-on: peak of the learning rate, {GO_ON_RATE:g} by default"
    )
    parser.add_argument("--variants", type=int, help="with --go-on: how many of each scan; twice as many phantoms")
    return parser


if __name__ == "__main__":
    sys.exit(main())
