"""The picture as a DICOM Secondary Capture (PS3.3 A.8), for viewers that show neither SEG nor SR. It shows no identifier."""

import warnings
from io import BytesIO

import highdicom
import numpy as np
from highdicom.sc import SCImage
from PIL import Image
from pydicom.dataset import Dataset

from client.report.concepts import BANNER, MANUFACTURER
from client.report.sources import completed

_SERIES_NUMBER = 9003


def make_capture(header: Dataset, picture: bytes, *, instance_number: int = 1) -> SCImage:
    """Return the picture as an object of the same patient and study.

    Args:
        header: Of one of the measured slices, without pixels.
        picture: PNG, as `client.report.picture` draws it.
        instance_number: The version of the measurement.
    """
    source = completed([header])[0]
    with Image.open(BytesIO(picture)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        capture = SCImage.from_ref_dataset(
            source,
            pixel_array=pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),  # of each of its panels
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=instance_number,
            manufacturer=MANUFACTURER,
        )
    capture.copy_patient_and_study_information(
        source
    )  # all of it: some archives tell patients apart by the number's issuer
    capture.SeriesDescription = f"Acinus: {BANNER[0].lower()}{BANNER[1:]}"
    capture.BodyPartExamined = "CHEST"  # no paired part, so no laterality is asked for
    capture.BurnedInAnnotation = "NO"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    return capture
