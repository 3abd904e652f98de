"""CT series for tests, written with pydicom from arrays in the models' orientation."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def uid(*parts: object) -> UID:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:15], 'big')}")


@dataclass(kw_only=True)
class CtSeries:
    """One series. `hu` is (slices, rows, columns); slice k lies at `origin` + k * `step_mm` along the normal."""

    hu: NDArray[np.int16]
    name: str = "series"
    study: str = "study"
    patient: str = "PAT-1"
    origin_mm: tuple[float, float, float] = (-100.0, -120.0, -300.0)
    orientation: tuple[float, ...] = AXIAL
    step_mm: float = 5.0
    pixel_mm: tuple[float, float] = (2.0, 2.0)
    intercept: int = -1024
    header: dict[str, Any] = field(default_factory=dict)
    """Attributes that replace or, with None, remove the usual ones."""

    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.orientation[:3], self.orientation[3:])

    def position(self, index: int) -> NDArray[np.float64]:
        return np.asarray(self.origin_mm) + index * self.step_mm * self.normal()

    def dataset(self, index: int, **changes: Any) -> FileDataset:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = uid(self.study, self.name, index)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = uid("tests")
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(self.study), uid(self.study, self.name)
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uid(self.study, "frame"), ""
        ds.PatientID, ds.PatientName = self.patient, "CANARY^NAME"
        ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19600102", "F", "066Y"
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20260112", "101500", "ACC-77"
        ds.StudyID, ds.ReferringPhysicianName, ds.SeriesNumber, ds.InstanceNumber = "7", "", 2, index + 1
        ds.Modality, ds.Manufacturer, ds.ConvolutionKernel, ds.KVP = "CT", "SIEMENS", "B31f", 120
        ds.ImageType, ds.AcquisitionNumber, ds.PatientPosition = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, "HFS"
        ds.ImagePositionPatient = [round(float(v), 5) for v in self.position(index)]
        ds.ImageOrientationPatient = list(self.orientation)
        ds.PixelSpacing, ds.SliceThickness = list(self.pixel_mm), self.step_mm
        ds.Rows, ds.Columns = self.hu.shape[1:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = self.intercept, 1, "HU"
        ds.PixelData = (self.hu[index].astype(np.int32) - self.intercept).astype("<i2").tobytes()
        for keyword, value in {**self.header, **changes}.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        return ds

    def datasets(self) -> Iterator[FileDataset]:
        return (self.dataset(index) for index in range(len(self.hu)))

    def write(self, folder: Path, **changes: Any) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for index in range(len(self.hu)):
            path = folder / f"{self.name}-{(index * 37) % 101:03d}.dcm"
            path.write_bytes(as_bytes(self.dataset(index, **changes)))
            paths.append(path)
        return paths


def as_bytes(dataset: FileDataset) -> bytes:
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def plain_series(slices: int = 4, size: int = 8, **rest: Any) -> CtSeries:
    """A series whose every voxel tells where it is."""
    values = np.arange(slices * size * size, dtype=np.int16).reshape(slices, size, size) - 900
    return CtSeries(hu=values, **rest)
