"""Writes each hospital's phantom studies as DICOM series with invented identifiers, and their truth masks as NIfTI labels.

The images come from `models.phantom`: they are nobody's. The headers are filled the way a careless department would: names,
numbers, addresses, comments and private tags. Each is remembered with its study for the leak check.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Image

from deploy.local.dicom import Series, pixel_marker, truncate, write_series
from deploy.local.people import Person, Visit, invent_person, invent_visit
from deploy.local.planted import Identifier, Kind, file_identifiers
from deploy.local.sender import uids
from deploy.local.sites import Cast, Hospital, Oddity
from models.phantom import PROFILES, Phantom, make_phantom
from models.volume import Volume

_LEAST_WORD = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomStudy:
    """One study as it was written. `truth_fraction` is ground glass over lung, by voxels; `expected` is the refusal code of an odd study."""

    site: str
    folder: Path
    study_uid: str
    week: str
    truth_fraction: float
    label: Path | None
    instances: int
    expected: Oddity | None
    identifiers: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class Occasion:
    """Who is scanned, and when."""

    person: Person
    visit: Visit
    day: date
    seed: int
    oddity: Oddity | None = None


def closed_weeks(today: date, count: int) -> list[date]:
    """Return the Mondays of `count` ISO weeks, oldest first, of which the last ended at least a week before `today`."""
    monday = today - timedelta(days=today.weekday())
    return [monday - timedelta(weeks=back) for back in range(count + 1, 1, -1)]


def iso_week(day: date) -> str:
    """Return the ISO 8601 week of `day`, such as 2026-W07."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def write_hospital(hospital: Hospital, cast: Cast, *, folder: Path, today: date, seed: int) -> Iterator[PhantomStudy]:
    """Write all studies of `hospital` below `folder` and yield each as it is written; the odd ones come last.

    Raises:
        OSError: If the disk is full.
    """
    for occasion in occasions(hospital, today=today, seed=seed):
        yield write_study(hospital, cast, occasion, folder=folder)


def occasions(hospital: Hospital, *, today: date, seed: int) -> list[Occasion]:
    """Spread the studies over the weeks; those beyond the number of patients are second visits of the first ones; the odd come last."""
    random_source = random.Random(seed)  # noqa: S311 - phantoms, not secrets
    persons = [invent_person(random_source, accented=index % 4 == 3) for index in range(hospital.patients)]
    mondays = closed_weeks(today, len(hospital.weeks))
    days = [monday for monday, count in zip(mondays, hospital.weeks, strict=True) for _ in range(count)]
    usual = [_occasion(persons[index % len(persons)], random_source, monday, None) for index, monday in enumerate(days)]
    odd = [
        _occasion(invent_person(random_source, accented=False), random_source, mondays[0], oddity)
        for oddity in hospital.oddities
    ]
    return usual + odd


def _occasion(person: Person, random_source: random.Random, monday: date, oddity: Oddity | None) -> Occasion:
    day = monday + timedelta(days=random_source.randrange(7))
    return Occasion(person, invent_visit(random_source), day, random_source.randrange(1 << 31), oddity)


def write_study(hospital: Hospital, cast: Cast, occasion: Occasion, *, folder: Path) -> PhantomStudy:
    """Draw the phantom of one occasion and write its series, and its label where it is to be measured.

    Raises:
        OSError: If the disk is full.
    """
    phantom = _phantom(hospital, cast, occasion.seed)
    series = _series(hospital, occasion, phantom)
    target = folder / "dicom" / f"{occasion.seed:010d}"
    middle = len(phantom.volume.hu) // 2
    paths = write_series(series, target, skip=(middle, middle + 1) if occasion.oddity == "missing-slices" else ())
    if occasion.oddity == "unreadable":
        truncate(paths[0])
    label = (
        None if occasion.oddity else _write_label(phantom, series, folder / "labels" / f"{occasion.seed:010d}.nii.gz")
    )
    return PhantomStudy(
        site=hospital.site, folder=target, study_uid=series.study_uid, week=iso_week(occasion.day), truth_fraction=_truth(phantom),
        label=label, instances=len(paths), expected=occasion.oddity, identifiers=_identifiers(series, paths),
    )  # fmt: skip


def _phantom(hospital: Hospital, cast: Cast, seed: int) -> Phantom:
    """Draw the phantom: some patients are healthy, the others spread over the site's range of disease."""
    draw = random.Random(seed)  # noqa: S311 - phantoms, not secrets
    disease = 0.0 if draw.random() < hospital.healthy else draw.uniform(*hospital.disease)
    return make_phantom(
        seed, profile=PROFILES[hospital.scanner], disease=disease, shape=cast.shape, spacing_mm=hospital.spacing_mm
    )


def _series(hospital: Hospital, occasion: Occasion, phantom: Phantom) -> Series:
    """Place the phantom on the table, each time a little elsewhere: no two studies share a grid, so a label fits one study only."""
    draw = random.Random(occasion.seed + 1)  # noqa: S311 - phantoms, not secrets
    origin = (
        round(draw.uniform(-190, -170), 3),
        round(draw.uniform(-190, -170), 3),
        round(draw.uniform(-900, -300), 3),
    )
    series = Series(
        hospital=hospital, profile=PROFILES[hospital.scanner], person=occasion.person, visit=occasion.visit, day=occasion.day,
        volume=phantom.volume, origin_mm=origin, seed=occasion.seed,
    )  # fmt: skip
    if occasion.oddity != "localizer":
        return series
    scout = Volume(hu=phantom.volume.hu[:1], spacing_mm=phantom.volume.spacing_mm)
    return replace(series, volume=scout, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))


def _write_label(phantom: Phantom, series: Series, path: Path) -> Path:
    """Write the opacity truth on the series' own grid. NIfTI is (X, Y, Z) and RAS; DICOM and `models` are (Z, Y, X) and LPS."""
    z_mm, y_mm, x_mm = phantom.volume.spacing_mm
    x0, y0, z0 = series.origin_mm
    affine = np.array([[-x_mm, 0, 0, -x0], [0, -y_mm, 0, -y0], [0, 0, z_mm, z0], [0, 0, 0, 1]], dtype=np.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(Nifti1Image(np.ascontiguousarray(phantom.opacity.transpose(2, 1, 0)), affine), path)  # type: ignore[no-untyped-call] # nibabel
    return path


def _truth(phantom: Phantom) -> float:
    lungs = phantom.lungs > 0
    return int(np.count_nonzero((phantom.opacity == 1) & lungs)) / max(1, int(np.count_nonzero(lungs)))


def _identifiers(series: Series, paths: list[Path]) -> tuple[Identifier, ...]:
    """Return what the headers of `paths` hold, the made-up words inside longer texts, and the bytes of a few pixels."""
    person, visit = series.person, series.visit
    texts = [person.address, person.telephone, visit.comment, visit.institution, visit.private_note, visit.time]
    words = [
        word for text in texts for word in text.replace(",", " ").replace(";", " ").split() if len(word) >= _LEAST_WORD
    ]
    found = set(file_identifiers(paths[0]))  # the slices differ by their own UID only
    found |= {Identifier(Kind.UID, uids(path)[1]) for path in paths}
    found |= {Identifier(Kind.TEXT, text) for text in (*texts, *words)}
    return (*sorted(found, key=lambda one: (one.kind, one.value)), Identifier(Kind.PIXELS, pixel_marker(series).hex()))
