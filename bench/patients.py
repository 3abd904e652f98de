"""Whom `bench.utility` trains on and tests with: patients of four unlike sites, two scanners that no site has, real scans with disease put in.

A site's patients are phantoms of its scanner and, where the scans lie beside the checkout, one real chest of its own in as many shapes: breathed
out or in, diaphragm up or down, at more dose or less. A quarter of all have no disease. A site of phantoms alone teaches a network that real lungs are ill.

Disease is fainter and more ragged than what the starting weights learnt from (`models.lesion.draw_style`), so that there is something to learn.
Real scans to test with are such as the shipped weights never learnt from: whatever their record names is left out, whatever its file is called here.
The sites' own are among those that they learnt from, whose licences allow it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from bench.real_scans import DATA, sha256_of
from client.infer.scan import read_scan
from client.train.private import Patient
from models.anatomy import Anatomy, resample
from models.curriculum import noisier
from models.deform import move_diaphragm
from models.grid import labels_to_slabs, pad_to
from models.insertion import breathe_out, insert_disease
from models.lesion import LesionStyle
from models.lungs import find_lungs
from models.net import STRIDE, GgoNet
from models.phantom import PROFILES, make_phantom
from models.quantify import count_zones
from models.record import read_record
from models.scored import scored_slabs
from models.severity import zone_score
from models.slabs import PatientSlices, PreparedSlabs, lung_grid, prepare_slabs
from models.volume import Mask, Volume
from models.weights import LUNGS, STARTING, load_net

PIECE = 96
PATIENTS, HELD_OUT, FEW = 60, 6, 5
WELL = 0.25
"""Share of a site's patients without disease."""
SHAPE, SPACING_MM = (24, 112, 120), (12.0, 3.0, 3.0)

TUNED_ON = ("ct_nifti/imlab1.nii.gz",)
TESTED_ON = ("ct_dicom/acrin013_axial.zip", "ct_nifti/imlab2.nii.gz")
"""Real scans without disease: one to choose settings on, others, of two sources, to test with."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where patients come from."""

    name: str
    scanner: str
    disease: tuple[float, float]
    low_hu: tuple[float, float]
    peripheral: tuple[float, float]
    anatomy: str = ""
    """A real scan without disease, of a path in ../shared/data."""


SITES = (
    Site("north", "siemens-b31f", (0.02, 0.15), (-760, -640), (0.6, 1.6), "ct_nifti/covidctmd_normal002.nii.gz"),
    Site("east", "ge-standard", (0.1, 0.4), (-740, -600), (0.0, 0.8), "ct_nifti/lidc_0003.nii.gz"),
    Site("south", "philips-b", (0.05, 0.5), (-760, -660), (-0.2, 0.6), "ct_nifti/lungdx_A0001.nii.gz"),
    Site("west", "canon-fc08", (0.02, 0.25), (-720, -600), (0.4, 1.4), "ct_nifti/cip_ct64.nii.gz"),
)
ELSEWHERE = (
    Site("new, sharp kernel", "siemens-b70f", (0.05, 0.4), (-760, -620), (0.0, 1.4)),
    Site("new, low dose", "low-dose", (0.05, 0.4), (-740, -620), (0.0, 1.4)),
)


@dataclass(frozen=True, slots=True)
class Pieces:
    """A study of which a step sees pieces around lung, not whole slices: they are cheaper, and a site may do so too."""

    slabs: PreparedSlabs
    seed: int

    def __len__(self) -> int:
        return len(self.slabs)

    def take(self, index: Sequence[int]) -> PatientSlices:
        """Return a piece of `PIECE` pixels of each slice, centred on a pixel of lung."""
        whole = self.slabs.take(index)
        rng = np.random.default_rng([self.seed, *index])
        cut = [_corner(rng, valid) for valid in whole.valid]

        def pieces(part: Tensor) -> Tensor:
            return torch.stack([one[..., y : y + PIECE, x : x + PIECE] for one, (y, x) in zip(part, cut, strict=True)])

        return PatientSlices(pieces(whole.inputs), pieces(whole.target), pieces(whole.valid))


def _corner(rng: np.random.Generator, valid: Tensor) -> tuple[int, int]:
    lung = valid.nonzero()
    middle = lung[int(rng.integers(len(lung)))].tolist() if len(lung) else [n // 2 for n in valid.shape]
    return tuple(int(np.clip(at - PIECE // 2, 0, n - PIECE)) for at, n in zip(middle, valid.shape, strict=True))  # type: ignore[return-value] # two


@dataclass(frozen=True, slots=True)
class Case:
    """A held-out study."""

    group: str
    slabs: PreparedSlabs


@dataclass(frozen=True, slots=True)
class Cohorts:
    """What one seed trains and tests on: the sites' patients with masks, the same with zone scores only, and who is held out."""

    sites: tuple[tuple[Patient, ...], ...]
    scored: tuple[tuple[Patient, ...], ...]
    held_out: tuple[Case, ...]

    def labelled(self, labels: str) -> tuple[tuple[Patient, ...], ...]:
        """Return the sites' patients as an arm knows them."""
        if labels == "all":
            return self.sites
        few = [len(site) // FEW for site in self.sites]
        others = self.scored if labels == "weak" else tuple(() for _ in self.sites)
        return tuple(site[:count] + other[count:] for site, other, count in zip(self.sites, others, few, strict=True))


def draw_cohorts(seed: int, *, patients: int = PATIENTS, real: tuple[str, ...] = TESTED_ON) -> Cohorts:
    """Draw all patients of one seed, none of whom comes again in another; `real` are the scans that held-out disease is put into."""
    first = 2_000_000 + 10_000 * seed
    drawn = [list(patients_of(site, first + 1000 * at, patients)) for at, site in enumerate(SITES)]
    sites = tuple(tuple(Patient((Pieces(study.slabs, study.seed),)) for study in site) for site in drawn)
    net = load_net(STARTING).eval()
    scored = tuple(tuple(Patient((Pieces(scored_only(study, net), study.seed),)) for study in site) for site in drawn)
    held_out = [
        Case("phantoms of the sites", study.slabs)
        for at, site in enumerate(SITES)
        for study in phantoms(site, first + 5000 + 100 * at, HELD_OUT)
    ]
    held_out += [
        Case("phantoms of new scanners", study.slabs)
        for at, site in enumerate(ELSEWHERE)
        for study in phantoms(site, first + 6000 + 100 * at, HELD_OUT)
    ]
    held_out += [
        Case("inserted into real scans", slabs) for slabs in _inserted(np.random.default_rng(first + 7000), real)
    ]
    return Cohorts(sites, scored, tuple(held_out))


@dataclass(frozen=True, slots=True)
class Study:
    """A patient as it is trained on; `sides` is 1 right, 2 left on its slabs."""

    seed: int
    slabs: PreparedSlabs
    sides: Tensor


def scored_only(study: Study, net: GgoNet) -> PreparedSlabs:
    """Return the study as it is known from a reader's zone scores alone."""
    sides, truth = study.sides.numpy(), study.slabs.target.numpy()
    points = zone_score(count_zones(sides, np.where(sides > 0, truth, 0).astype(np.uint8))).zones
    return scored_slabs(study.slabs, study.sides, points, net)


def patients_of(site: Site, first: int, count: int) -> Iterator[Study]:
    """Yield `count` patients of a site, from the seed `first` on: phantoms and its real chest in turn, or phantoms alone."""
    for seed in range(first, first + count):
        rng = np.random.default_rng([seed, 2])
        share = 0.0 if rng.random() < WELL else rng.uniform(*site.disease)
        real = _real_chest(site.anatomy) if seed % 2 else None
        yield _phantom(site, seed, share) if real is None else _in_real_chest(rng, site, real, seed, share)


def phantoms(site: Site, first: int, count: int) -> Iterator[Study]:
    """Yield `count` phantoms of a site's kind, all of them ill, from the seed `first` on."""
    for seed in range(first, first + count):
        yield _phantom(site, seed, np.random.default_rng([seed, 1]).uniform(*site.disease))


def _phantom(site: Site, seed: int, share: float) -> Study:
    style = _style(np.random.default_rng([seed, 3]), site)
    made = make_phantom(
        seed, profile=PROFILES[site.scanner], disease=share, shape=SHAPE, spacing_mm=SPACING_MM, style=style
    )
    return _study(seed, made.volume, made.lungs, made.opacity)


def _in_real_chest(rng: np.random.Generator, site: Site, chest: Anatomy, seed: int, share: float) -> Study:
    right, left = rng.normal(0, 12), rng.normal(0, 12)
    volume, lungs = move_diaphragm(chest.volume, chest.lungs, right_mm=right, left_mm=left)
    volume = volume if rng.random() < 0.4 else breathe_out(rng, volume, lungs)  # as in pretraining
    volume = noisier(rng, volume, strength_hu=(5, 40)) if rng.random() < 0.5 else volume
    scan = insert_disease(rng, volume, lungs, share=share, style=_style(rng, site))
    return _study(seed, scan.volume, scan.lungs, scan.opacity)


def _study(seed: int, volume: Volume, lungs: Mask, opacity: Mask) -> Study:
    sides = labels_to_slabs(lungs, lung_grid(lungs > 0, volume), classes=3).to(torch.uint8)
    return Study(seed, _halved(prepare_slabs(volume, lungs, opacity)), pad_to(sides, STRIDE))


def _style(rng: np.random.Generator, site: Site) -> LesionStyle:
    """Draw fainter, more ragged disease than `models.lesion.draw_style` does."""
    low = rng.uniform(*site.low_hu)
    return LesionStyle(
        peripheral=rng.uniform(*site.peripheral), posterior=rng.uniform(0, 1.0), basal=rng.uniform(-0.3, 0.9),
        scale_mm=float(np.exp(rng.uniform(np.log(10), np.log(40)))), edge_mm=rng.uniform(1.5, 3.5), ggo_hu=(low, low + 80),
        consolidation_hu=(-120, 40), consolidation_share=rng.choice([0.0, 0.15]), paving=rng.choice([0.0, 0.5]),
    )  # fmt: skip


def _inserted(rng: np.random.Generator, real: tuple[str, ...]) -> Iterator[PreparedSlabs]:
    """Yield disease of the sites' kinds in real lungs; nothing where the scans are not at hand."""
    for anatomy in _real_anatomy(real):
        for site in SITES:
            scan = insert_disease(
                rng, anatomy.volume, anatomy.lungs, share=rng.uniform(*site.disease), style=_style(rng, site)
            )
            yield _halved(prepare_slabs(scan.volume, scan.lungs, scan.opacity))


@cache
def _real_chest(path: str) -> Anatomy | None:
    """Return a site's own scan on the grid of its patients; None where it is not at hand."""
    if not path or not (DATA / path).is_file():
        return None
    volume = read_scan(DATA / path).volume
    return resample(Anatomy(path, volume, find_lungs(volume)), pixel_mm=1.5, slab_mm=12.0, margin_mm=30.0)


@cache
def _real_anatomy(real: tuple[str, ...]) -> tuple[Anatomy, ...]:
    return tuple(resample(scan, pixel_mm=1.5, slab_mm=12.0) for scan in real_scans(real))


@cache
def real_scans(paths: tuple[str, ...]) -> tuple[Anatomy, ...]:
    """Return those of the real scans that lie beside the checkout and that the shipped weights never learnt from, with their lungs as found."""
    volumes = [(path, read_scan(DATA / path).volume) for path in unseen(paths)]
    return tuple(Anatomy(path, volume, find_lungs(volume)) for path, volume in volumes)


def unseen(paths: Sequence[str]) -> dict[str, str]:
    """Return the scans that are there and that no shipped network learnt from, each with the hash of its file.

    Raises:
        InvalidInputError: `bad-setting` if the record beside the weights is of others.
    """
    record = read_record(STARTING, LUNGS)
    if record is None:  # nobody knows what they learnt from
        return {}
    learnt = {entry.sha256 for entry in record.anatomies}
    return {path: sha256 for path, sha256 in at_hand(paths).items() if sha256 not in learnt}


def at_hand(paths: Sequence[str]) -> dict[str, str]:
    """Return the scans that are there, each with the hash of its file."""
    return {path: sha256_of(DATA / path) for path in paths if (DATA / path).is_file()}


def _halved(slabs: PreparedSlabs) -> PreparedSlabs:
    """Keep a study small in memory."""
    return replace(slabs, slabs=slabs.slabs.half(), target=slabs.target.to(torch.uint8))
