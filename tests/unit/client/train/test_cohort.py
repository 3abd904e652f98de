"""Patients from labelled studies: one for each subject, prepared once, never stale."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from client.train.cohort import Cohort
from models.slabs import prepare_slabs
from models.volume import Volume
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.labelled import SPACING_MM, labelled_study


def test_studies_of_one_subject_are_one_patient(tmp_path: Path) -> None:
    cases = [labelled_study(tmp_path, study, subject) for study, subject in ((1, 2), (2, 1), (3, 2))]
    patients = Cohort(tmp_path / "prepared").patients(cases)
    assert [len(patient.studies) for patient in patients] == [1, 2]


def test_a_prepared_study_is_what_preparation_gives(tmp_path: Path) -> None:
    case = labelled_study(tmp_path, 1, 1)
    (patient,) = Cohort(tmp_path / "prepared").patients([case])
    (study,) = patient.studies
    hu, lungs, label = (
        np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)
        for path in (case.volume_path, case.lungs_path, case.label_path)
    )
    expected = prepare_slabs(Volume(hu.astype(np.int16), SPACING_MM), lungs.astype(np.uint8), label.astype(np.uint8))
    assert len(study) == len(expected)
    got, wanted = study.take([0, 2]), expected.take([0, 2])
    assert torch.equal(got.target, wanted.target)
    assert torch.equal(got.valid, wanted.valid)
    assert float((got.inputs - wanted.inputs).abs().max()) < 0.3 / 600  # 0.3 HU in a window of ±600


def test_it_is_prepared_once_and_lies_closed_to_others(tmp_path: Path) -> None:
    case, folder = labelled_study(tmp_path, 1, 1), tmp_path / "prepared"
    first = Cohort(folder).prepare(case)
    made = first.stat().st_mtime_ns
    assert Cohort(folder).prepare(case) == first
    assert first.stat().st_mtime_ns == made
    assert first.stat().st_mode & 0o077 == 0
    assert list(folder.iterdir()) == [first]


def test_a_new_label_or_a_new_measurement_takes_the_place_of_the_old(tmp_path: Path) -> None:
    case, cohort = labelled_study(tmp_path, 1, 1), Cohort(tmp_path / "prepared")
    first = cohort.prepare(case)
    second = cohort.prepare(replace(case, label_sha256="f" * 64))
    case.volume_path.touch()
    third = cohort.prepare(replace(case, label_sha256="f" * 64))
    assert len({first, second, third}) == 3
    assert list((tmp_path / "prepared").iterdir()) == [third]


def test_a_missing_volume_says_which_study_and_what_to_do(tmp_path: Path) -> None:
    case = labelled_study(tmp_path, 1, 1)
    case.volume_path.unlink()
    with pytest.raises(UnavailableError, match=r"study-1.*--remeasure") as missing:
        Cohort(tmp_path / "prepared").prepare(case)
    assert missing.value.code is Code.NODE_FAULT
    assert not (tmp_path / "prepared").exists()


def test_a_damaged_file_is_made_again_the_next_time(tmp_path: Path) -> None:
    case, cohort = labelled_study(tmp_path, 1, 1), Cohort(tmp_path / "prepared")
    path = cohort.prepare(case)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UnavailableError):
        len(cohort.patients([case])[0].studies[0])
    assert len(cohort.patients([case])[0].studies[0]) > 0
