"""The DICOM Segmentation of ground glass and consolidation (PS3.3 A.51), binary, on the slices that were measured."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import highdicom
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.seg.enum import SegmentAlgorithmTypeValues, SegmentationTypeValues
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from client.report.concepts import ABNORMAL, CONSOLIDATION, GROUND_GLASS, LUNG, MANUFACTURER, MODEL, algorithm
from client.report.sources import completed

_SERIES_NUMBER, _CORRECTED_SERIES_NUMBER = 9001, 9004
_DESCRIPTIONS = {True: "Acinus: measurement aid, not a diagnosis", False: "Acinus: mask corrected by a reader"}
_SEGMENTS = (("Ground glass", GROUND_GLASS), ("Consolidation", CONSOLIDATION))


def make_segmentation(
    headers: Sequence[Dataset], mask: NDArray[np.uint8], *, release: str, software: str, instance_number: int = 1
) -> Segmentation:
    """Return the SEG object of a measurement.

    Args:
        headers: Of the measured slices, without pixels; one multi-frame header, or one header for each slice.
        mask: 1 ground glass, 2 consolidation, (slices or frames, rows, columns), in the order of `headers` or of the frames.
        release: Name of the model release.
        software: Version of this program.
        instance_number: 1, and one more for each later version of what went to the PACS.
    """
    return _segmentation(
        headers,
        mask,
        _Maker(release, SegmentAlgorithmTypeValues.AUTOMATIC),
        software=software,
        instance_number=instance_number,
    )


def make_corrected_segmentation(
    headers: Sequence[Dataset],
    labels: NDArray[np.uint8],
    affine: NDArray[np.float64],
    *,
    author: str,
    release: str,
    software: str,
) -> Segmentation:
    """Return the SEG object of a mask that a person corrected.

    Args:
        headers: Of the measured slices, without pixels.
        labels: 1 ground glass, 2 consolidation, (Z, Y, X) on a grid of its own.
        affine: From its index to LPS in mm.
        author: Who corrected it: Content Creator's Name.
        release: Name of the model release whose mask was corrected.
        software: Version of this program.
    """
    volume = highdicom.Volume(
        labels, affine, coordinate_system="PATIENT", frame_of_reference_uid=completed(headers)[0].FrameOfReferenceUID
    )
    return _segmentation(
        headers, volume, _Maker(release, SegmentAlgorithmTypeValues.SEMIAUTOMATIC, author), software=software
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    """Who made the segments, and how."""

    release: str
    kind: SegmentAlgorithmTypeValues
    author: str | None = None


def _segmentation(
    headers: Sequence[Dataset],
    mask: NDArray[np.uint8] | highdicom.Volume,
    by: _Maker,
    *,
    software: str,
    instance_number: int = 1,
) -> Segmentation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom warns about long names of source series, and quotes them
        return Segmentation(
            source_images=completed(headers),
            pixel_array=mask,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _description(number, label, kind, by) for number, (label, kind) in enumerate(_SEGMENTS, start=1)
            ],
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER if by.author is None else _CORRECTED_SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=instance_number,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL,
            software_versions=software,
            device_serial_number="0",
            content_label="GROUND_GLASS",
            content_description="Ground glass and consolidation",
            content_creator_name=by.author,
            series_description=_DESCRIPTIONS[by.author is None],
            omit_empty_frames=False,  # viewers that expect a frame for each slice fail on sparse objects
        )


def _description(number: int, label: str, kind: Code, by: _Maker) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=ABNORMAL,
        segmented_property_type=kind,
        algorithm_type=by.kind,
        algorithm_identification=algorithm(by.release),
        anatomic_regions=[LUNG],
    )
