"""Writes one CT series of one invented patient with pydicom: a complete CT Image IOD, pixels from a phantom."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from deploy.local.people import Person, Visit
from deploy.local.sites import Hospital
from models.phantom import ScannerProfile
from models.volume import Volume

_INTERCEPT = -1024
_PRIVATE_GROUP = 0x0029
_UID_ROOT = UUID("6ff6c7c7-1d6c-4b5c-8d57-5b5d6f1f3a01")
_IMPLEMENTATION = "2.25.329800735698586629295641978511506172918"
MARKER_BYTES = 48
"""How many stored bytes of one row stand for "a pixel" in the leak check: 24 noisy samples occur once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One CT series to be. `origin_mm` is the centre of the first voxel in DICOM patient coordinates (x, y, z)."""

    hospital: Hospital
    profile: ScannerProfile
    person: Person
    visit: Visit
    day: date
    volume: Volume
    origin_mm: tuple[float, float, float]
    seed: int
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")

    @property
    def study_uid(self) -> str:
        """(0020,000D)."""
        return self.uid("study")

    def uid(self, part: str) -> str:
        """Return a UID under 2.25 (PS3.5 annex B.2) that is always the same for `part` of this series."""
        return f"2.25.{uuid5(_UID_ROOT, f'{self.hospital.site}/{self.seed}/{part}').int}"


def write_series(series: Series, folder: Path, *, skip: Collection[int] = ()) -> list[Path]:
    """Write one file for each slice of `series`, without those in `skip` (indices from the feet), and return the paths.

    File names follow no order, as a PACS export's do not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(len(series.volume.hu)):
        if index not in skip:
            path = folder / f"IM{(index * 37) % 1009:04d}.dcm"
            _dataset(series, index).save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def truncate(path: Path) -> None:
    """Cut the file at `path` in the middle of its pixels, as a full disk at the sender would."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 5])


def pixel_marker(series: Series) -> bytes:
    """Return stored bytes from the middle row of the middle slice."""
    depth, rows, columns = series.volume.hu.shape
    row = stored(series.volume.hu[depth // 2])[rows // 2]
    marker: bytes = row[columns // 2 : columns // 2 + MARKER_BYTES // 2].tobytes()
    return marker


def stored(plane_hu: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Return HU as CT stores them: unsigned, with the rescale intercept taken off."""
    return (np.clip(plane_hu.astype(np.int32), _INTERCEPT, 3071) - _INTERCEPT).astype(np.uint16)


def _dataset(series: Series, index: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(series.uid(f"instance-{index}"))
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    implicit = series.hospital.syntax == "implicit"
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for fill in (_fill_patient, _fill_study, _fill_equipment):
        fill(dataset, series)
    _fill_image(dataset, series, index)
    if series.hospital.syntax == "rle":
        dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


def _fill_patient(dataset: Dataset, series: Series) -> None:
    """Patient module (PS3.3 C.7.1.1) and more of the patient than anybody needs."""
    person = series.person
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = person.name
    dataset.PatientID = person.patient_id
    dataset.OtherPatientIDs = person.other_id
    dataset.PatientBirthDate = person.birth.strftime("%Y%m%d")
    dataset.PatientSex = person.sex
    dataset.PatientAge = f"{(series.day - person.birth).days // 365:03d}Y"
    dataset.PatientAddress = person.address
    dataset.PatientTelephoneNumbers = person.telephone
    dataset.PatientComments = series.visit.comment


def _fill_study(dataset: Dataset, series: Series) -> None:
    """General Study and Series modules (C.7.2.1, C.7.3.1)."""
    visit, day = series.visit, series.day.strftime("%Y%m%d")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID(series.study_uid), UID(series.uid("series"))
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = UID(series.uid("frame")), ""
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = visit.time
    dataset.AccessionNumber, dataset.StudyID, dataset.SeriesNumber = visit.accession, visit.study_id, 2
    dataset.ReferringPhysicianName = visit.referrer
    dataset.OperatorsName = visit.operator
    dataset.StudyDescription = f"Chest CT for {series.person.given} {series.person.family}"
    dataset.SeriesDescription, dataset.Modality, dataset.BodyPartExamined = "LUNG 8.0", "CT", "CHEST"
    dataset.PatientPosition, dataset.ImageComments = "HFS", visit.comment


def _fill_equipment(dataset: Dataset, series: Series) -> None:
    """General Equipment module (C.7.5.1) and a private block such as every vendor writes."""
    hospital, profile = series.hospital, series.profile
    dataset.Manufacturer, dataset.ManufacturerModelName = profile.manufacturer, profile.model
    dataset.InstitutionName = f"{hospital.title} {series.visit.institution}"
    dataset.StationName = f"CT{hospital.site.upper()}"[:16]
    dataset.ConvolutionKernel, dataset.KVP = profile.kernel, 120
    dataset.ReconstructionDiameter = round(series.volume.spacing_mm[2] * series.volume.hu.shape[2], 1)
    block = dataset.private_block(_PRIVATE_GROUP, "DEPARTMENT NOTES 1.0", create=True)
    block.add_new(0x10, "LO", series.visit.private_note)
    block.add_new(0x11, "PN", series.person.name)


def _fill_image(dataset: Dataset, series: Series, index: int) -> None:
    """CT Image, Image Plane and Image Pixel modules (C.8.2.1, C.7.6.2, C.7.6.3). `index` counts from the feet."""
    z_mm, y_mm, x_mm = series.volume.spacing_mm
    x0, y0, z0 = series.origin_mm
    depth, rows, columns = series.volume.hu.shape
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, series.uid(f"instance-{index}")
    dataset.ImageType, dataset.AcquisitionNumber = list(series.image_type), 1
    dataset.InstanceNumber = depth - index
    dataset.ImagePositionPatient = [x0, y0, round(z0 + index * z_mm, 4)]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [y_mm, x_mm], z_mm
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = _INTERCEPT, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = -600, 1500
    dataset.PixelData = stored(series.volume.hu[index]).tobytes()
