from dataclasses import replace
from datetime import date
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from deploy.local.phantoms import PhantomStudy, closed_weeks, iso_week, write_hospital
from deploy.local.planted import Kind
from deploy.local.sites import FULL, SMALL, Cast, Hospital

TODAY = date(2026, 1, 14)
TINY = replace(SMALL, shape=(12, 64, 64))


@pytest.fixture(scope="module")
def hospital() -> Hospital:
    return replace(
        FULL.hospital("highfell"), weeks=(3, 1), patients=3, oddities=("localizer", "missing-slices", "unreadable")
    )


@pytest.fixture(scope="module")
def studies(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> list[PhantomStudy]:
    return list(write_hospital(hospital, TINY, folder=tmp_path_factory.mktemp("pacs"), today=TODAY, seed=5))


def slices(study: PhantomStudy) -> list[pydicom.Dataset]:
    read = [pydicom.dcmread(path) for path in study.folder.iterdir()]
    return sorted(read, key=lambda dataset: float(dataset.ImagePositionPatient[2]))


def test_weeks_are_closed_and_written_in_iso() -> None:
    assert closed_weeks(TODAY, 2) == [date(2025, 12, 22), date(2025, 12, 29)]
    assert [iso_week(monday) for monday in closed_weeks(TODAY, 2)] == ["2025-W52", "2026-W01"]


def test_studies_fall_into_the_weeks_of_the_cast(studies: list[PhantomStudy]) -> None:
    assert [study.week for study in studies if study.expected is None] == ["2025-W52"] * 3 + ["2026-W01"]


def test_the_surplus_studies_are_second_visits(studies: list[PhantomStudy]) -> None:
    patients = [str(slices(study)[0].PatientID) for study in studies if study.expected is None]
    assert len(patients) == 4
    assert len(set(patients)) == 3


def test_odd_studies_are_odd_in_their_own_way(studies: list[PhantomStudy]) -> None:
    odd = {study.expected: study for study in studies if study.expected}
    assert odd["localizer"].instances == 1
    assert "LOCALIZER" in slices(odd["localizer"])[0].ImageType
    assert odd["missing-slices"].instances == TINY.shape[0] - 2
    sizes = sorted(path.stat().st_size for path in odd["unreadable"].folder.iterdir())
    assert sizes[0] < 0.7 * sizes[-1]
    assert all(study.label is None for study in odd.values())


def test_pixels_are_hounsfield_units_and_come_back_as_the_phantom_had_them(studies: list[PhantomStudy]) -> None:
    stack = np.stack(
        [one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in slices(studies[0])]
    )
    assert stack.shape == TINY.shape
    assert stack.min() >= -1024
    assert -950 < np.median(stack[stack.shape[0] // 2]) < 100


def test_a_label_lies_on_the_grid_of_its_own_series_only(studies: list[PhantomStudy]) -> None:
    labelled = [study for study in studies if study.label]
    corners = set()
    for study in labelled:
        image = nibabel.load(study.label)
        first = slices(study)[0]
        corner = image.affine @ np.array([0, 0, 0, 1])
        assert np.allclose(corner[:3] * [-1, -1, 1], first.ImagePositionPatient, atol=1e-3)
        assert image.shape == (first.Columns, first.Rows, TINY.shape[0])
        corners.add(tuple(corner[:3].round(3)))
    assert len(corners) == len(labelled)


def test_the_truth_is_the_labels_ground_glass(studies: list[PhantomStudy]) -> None:
    for study in (study for study in studies if study.label):
        assert bool(np.any(np.asarray(nibabel.load(study.label).dataobj) == 1)) == (study.truth_fraction > 0)


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyDate",
        "AccessionNumber",
        "StudyInstanceUID",
        "SOPInstanceUID",
        "OperatorsName",
    ],
)
def test_what_is_in_the_header_is_planted(studies: list[PhantomStudy], keyword: str) -> None:
    for study in studies:
        planted = {identifier.value for identifier in study.identifiers}
        assert {
            str(one[keyword].value) for one in map(pydicom.dcmread, study.folder.iterdir()) if keyword in one
        } <= planted


def test_longer_texts_private_tags_and_pixels_are_planted_too(studies: list[PhantomStudy]) -> None:
    study = studies[0]
    one = slices(study)[len(slices(study)) // 2]
    texts = {identifier.value for identifier in study.identifiers if identifier.kind is Kind.TEXT}
    assert {
        str(one.PatientAddress),
        str(one.PatientTelephoneNumbers),
        str(one.PatientComments),
        str(one.StudyTime),
    } <= texts
    note = one.private_block(0x29, "DEPARTMENT NOTES 1.0")[
        0x10
    ].value  # bytes where implicit VR says nothing of private tags
    assert (note.decode() if isinstance(note, bytes) else str(note)) in texts
    [pixels] = [identifier for identifier in study.identifiers if identifier.kind is Kind.PIXELS]
    assert bytes.fromhex(pixels.value) in one.pixel_array.astype(np.uint16).tobytes()


def test_no_two_studies_share_an_identifier_of_the_study(studies: list[PhantomStudy]) -> None:
    uids = [identifier for study in studies for identifier in study.identifiers if identifier.kind is Kind.UID]
    assert len(uids) == len(set(uids))


def test_the_same_seed_writes_the_same_studies(hospital: Hospital, studies: list[PhantomStudy], tmp_path: Path) -> None:
    again = list(write_hospital(hospital, TINY, folder=tmp_path, today=TODAY, seed=5))
    assert [study.identifiers for study in again] == [study.identifiers for study in studies]


@pytest.mark.parametrize("cast", [FULL, SMALL])
def test_a_busy_week_of_a_region_with_two_sites_may_be_published_and_the_last_may_not(cast: Cast) -> None:
    by_region: dict[str, list[Hospital]] = {}
    for hospital in cast.hospitals:
        by_region.setdefault(hospital.region, []).append(hospital)
    pairs = [group for group in by_region.values() if len(group) >= 2]
    assert pairs
    for group in pairs:
        first, last = (sum(hospital.weeks[index] for hospital in group) for index in (0, -1))
        assert first >= 11
        assert max(hospital.weeks[0] for hospital in group) <= 0.85 * first
        assert 1 <= last <= 10
