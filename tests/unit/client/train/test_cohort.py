"""Patients from labelled studies: one for each subject, prepared once, never stale."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from client.store.records import MaskLabel, TrainingCase, ZoneLabel, ZonePoints
from client.train.cohort import Cohort
from models.grid import labels_to_slabs, pad_to
from models.net import STRIDE, GgoNet
from models.quantify import count_zones
from models.severity import share_of_points
from models.slabs import lung_grid, prepare_slabs
from models.volume import Volume
from models.weights import STARTING, load_net
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError
from tests.fakes.labelled import SPACING_MM, labelled_study


def never(release: str) -> GgoNet:
    raise AssertionError(f"{release}: masks need no network")


def scored(folder: Path, points: ZonePoints, release: str = "ggo@0") -> TrainingCase:
    return replace(labelled_study(folder, 1, 1), label=ZoneLabel(points, release))


def sides_of(case: TrainingCase, lungs: np.ndarray) -> np.ndarray:
    """The right and the left lung on the slabs that the case is prepared to."""
    hu = np.asarray(nibabel.load(case.volume_path).dataobj).transpose(2, 1, 0).astype(np.int16)
    grid = lung_grid(lungs > 0, Volume(hu, SPACING_MM))
    return pad_to(labels_to_slabs(lungs, grid, classes=3), STRIDE).numpy().astype(np.uint8)


def test_studies_of_one_subject_are_one_patient(tmp_path: Path) -> None:
    cases = [labelled_study(tmp_path, study, subject) for study, subject in ((1, 2), (2, 1), (3, 2))]
    patients = Cohort(tmp_path / "prepared", never).patients(cases)
    assert [len(patient.studies) for patient in patients] == [1, 2]


def test_a_prepared_study_is_what_preparation_gives(tmp_path: Path) -> None:
    case = labelled_study(tmp_path, 1, 1)
    (patient,) = Cohort(tmp_path / "prepared", never).patients([case])
    (study,) = patient.studies
    hu, lungs, label = (
        np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)
        for path in (case.volume_path, case.lungs_path, case.label.path)
    )
    expected = prepare_slabs(Volume(hu.astype(np.int16), SPACING_MM), lungs.astype(np.uint8), label.astype(np.uint8))
    assert len(study) == len(expected)
    got, wanted = study.take([0, 2]), expected.take([0, 2])
    assert torch.equal(got.target, wanted.target)
    assert torch.equal(got.valid, wanted.valid)
    assert float((got.inputs - wanted.inputs).abs().max()) < 0.3 / 600  # 0.3 HU in a window of ±600


def test_it_is_prepared_once_and_lies_closed_to_others(tmp_path: Path) -> None:
    case, folder = labelled_study(tmp_path, 1, 1), tmp_path / "prepared"
    first = Cohort(folder, never).prepare(case)
    made = first.stat().st_mtime_ns
    assert Cohort(folder, never).prepare(case) == first
    assert first.stat().st_mtime_ns == made
    assert first.stat().st_mode & 0o077 == 0
    assert list(folder.iterdir()) == [first]


def test_a_new_label_or_a_new_measurement_takes_the_place_of_the_old(tmp_path: Path) -> None:
    case, cohort = labelled_study(tmp_path, 1, 1), Cohort(tmp_path / "prepared", never)
    first = cohort.prepare(case)
    second = cohort.prepare(replace(case, label=MaskLabel(case.label.path, "f" * 64)))
    case.volume_path.touch()
    third = cohort.prepare(replace(case, label=MaskLabel(case.label.path, "f" * 64)))
    assert len({first, second, third}) == 3
    assert list((tmp_path / "prepared").iterdir()) == [third]


def test_a_missing_volume_says_which_study_and_what_to_do(tmp_path: Path) -> None:
    case = labelled_study(tmp_path, 1, 1)
    case.volume_path.unlink()
    with pytest.raises(UnavailableError, match=r"study-1.*--remeasure") as missing:
        Cohort(tmp_path / "prepared", never).prepare(case)
    assert missing.value.code is Code.NODE_FAULT
    assert not (tmp_path / "prepared").exists()


def test_a_damaged_file_is_made_again_the_next_time(tmp_path: Path) -> None:
    case, cohort = labelled_study(tmp_path, 1, 1), Cohort(tmp_path / "prepared", never)
    path = cohort.prepare(case)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UnavailableError):
        len(cohort.patients([case])[0].studies[0])
    assert len(cohort.patients([case])[0].studies[0]) > 0


def test_zone_scores_become_as_much_opacity_as_the_reader_saw_in_each_zone(tmp_path: Path) -> None:
    points = ((1, 0), (2, 3), (4, 1))
    asked: list[str] = []

    def network(release: str) -> GgoNet:
        asked.append(release)
        return load_net(STARTING)

    case = scored(tmp_path, points)
    (patient,) = Cohort(tmp_path / "prepared", network).patients([case])
    (study,) = patient.studies
    seen = study.take(range(len(study)))
    lungs = np.asarray(nibabel.load(case.lungs_path).dataobj).transpose(2, 1, 0).astype(np.uint8)
    sides = sides_of(case, lungs)
    shares = count_zones(sides, seen.target.numpy().astype(np.uint8))
    for third, pair in enumerate(points):
        for side, wanted in enumerate(pair):
            low, high = share_of_points(wanted)
            found = shares[third, side, 1:].sum() / shares[third, side].sum()
            assert low - 0.02 <= found <= high + 0.02, (third, side)
    assert not (seen.target[~seen.valid] > 0).any()
    assert asked == ["ggo@0"]


def test_other_points_or_another_release_are_prepared_anew(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path / "prepared", lambda _release: load_net(STARTING))
    paths = [
        cohort.prepare(scored(tmp_path, points, release))
        for points, release in ((((1, 1),) * 3, "ggo@0"), (((1, 2),) * 3, "ggo@0"), (((1, 2),) * 3, "ggo@1"))
    ]
    assert len(set(paths)) == 3
    assert list((tmp_path / "prepared").iterdir()) == [paths[-1]]


def test_scores_whose_release_is_gone_say_what_to_do(tmp_path: Path) -> None:
    def gone(release: str) -> GgoNet:
        raise RefusedError(Code.POLICY_LINEAGE)

    with pytest.raises(UnavailableError, match=r"ggo@7.*study-1.*label hold-out") as missing:
        Cohort(tmp_path / "prepared", gone).prepare(scored(tmp_path, ((1, 1),) * 3, "ggo@7"))
    assert missing.value.code is Code.NODE_FAULT
    assert not (tmp_path / "prepared").exists()
