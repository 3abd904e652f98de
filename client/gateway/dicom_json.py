"""The granted study as DICOM JSON (PS3.18 annex F), made of the volume that was measured: no header of the hospital's is ever opened.

What stands here was made for this read: new UIDs that say nothing, the read's own id in place of a patient's, geometry, and Hounsfield
units. So the view is pseudonymised by construction, and the same for every scanner.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from client.gateway.voxels import Voxels
from protocol.shape import OpaqueId

LUNG_LEVEL_HU, LUNG_WIDTH_HU = -600, 1500

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DicomStudy:
    """One study of one series, a CT image for each slice of the volume."""

    request_id: OpaqueId
    voxels: Voxels

    @property
    def study_uid(self) -> str:
        """New for each read: two reads of one study cannot be matched by it."""
        return _uid(self.request_id, "study")

    @property
    def series_uid(self) -> str:
        """Of the one series."""
        return _uid(self.request_id, "series")

    def instance_uid(self, index: int) -> str:
        """Of the slice with this index, counted from 0."""
        return _uid(self.request_id, f"instance-{index}")

    @property
    def slices(self) -> int:
        """How many instances there are."""
        return int(self.voxels.values.shape[0])

    def index_of(self, instance_uid: str) -> int | None:
        """Return which slice has this UID; `None` if none has."""
        return next((index for index in range(self.slices) if self.instance_uid(index) == instance_uid), None)

    def study(self) -> Json:
        """Return what a search for studies finds (PS3.18 table 10.6.3-3)."""
        found = self._patient()
        found.ModalitiesInStudy = ["CT"]
        found.NumberOfStudyRelatedSeries, found.NumberOfStudyRelatedInstances = 1, self.slices
        return found.to_json_dict()

    def series(self) -> Json:
        """Return what a search for series finds (PS3.18 table 10.6.3-4)."""
        found = self._series()
        found.NumberOfSeriesRelatedInstances = self.slices
        return found.to_json_dict()

    def instance(self, index: int) -> Json:
        """Return the metadata of one slice: all that its CT image holds but the pixels (PS3.3 A.3)."""
        image, affine = self._series(), self.voxels.affine
        across, down, up = (np.linalg.norm(affine[:3, axis]) for axis in range(3))
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, self.instance_uid(index)
        image.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
        image.InstanceNumber = index + 1
        image.ImageOrientationPatient = _digits([*affine[:3, 0] / across, *affine[:3, 1] / down])
        image.ImagePositionPatient = _digits(affine[:3, 2] * index + affine[:3, 3])
        image.PixelSpacing, image.SliceThickness = _digits([down, across]), _digits([up])[0]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        _, image.Rows, image.Columns = (int(n) for n in self.voxels.values.shape)
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "HU"
        image.WindowCenter, image.WindowWidth = str(LUNG_LEVEL_HU), str(LUNG_WIDTH_HU)
        image.add_new("AvailableTransferSyntaxUID", "UI", ExplicitVRLittleEndian)
        return image.to_json_dict()

    def frame(self, index: int) -> bytes:
        """Return the pixels of one slice: signed 16-bit Hounsfield units, little endian, row by row."""
        return bytes(self.voxels.values[index].astype("<i2", copy=False).tobytes())

    def _patient(self) -> Dataset:
        head = Dataset()
        head.StudyInstanceUID = self.study_uid
        head.PatientID, head.PatientName = self.request_id, "Pseudonymised"
        head.PatientBirthDate = head.PatientSex = head.StudyDate = head.StudyTime = ""
        head.AccessionNumber = head.ReferringPhysicianName = head.StudyID = ""
        head.PatientIdentityRemoved = "YES"
        head.DeidentificationMethod = "Made of voxels and geometry alone"
        return head

    def _series(self) -> Dataset:
        head = self._patient()
        head.SeriesInstanceUID, head.FrameOfReferenceUID = self.series_uid, _uid(self.request_id, "frame-of-reference")
        head.Modality, head.SeriesNumber, head.BodyPartExamined = "CT", 1, "CHEST"
        head.PositionReferenceIndicator = ""
        return head


def _uid(request_id: OpaqueId, what: str) -> str:
    """Return a UID under 2.25 (PS3.5 B.2) that follows from a read's random id."""
    digest = hashlib.sha256(f"{request_id}:{what}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _digits(values: Any) -> list[str]:
    """Return decimal strings of at most 16 characters (PS3.5 6.2)."""
    return [f"{float(value) + 0.0:.6f}".rstrip("0").rstrip(".") for value in values]
