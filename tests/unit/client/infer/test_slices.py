"""What a header must say before its pixels are looked at, and with which code it is turned away."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, RTPlanStorage, SecondaryCaptureImageStorage

from client.infer.pixels import fill
from client.infer.slices import read_slices
from client.infer.stack import assemble
from protocol.codes import Code
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.outcomes import code_of


def code_with(**changes: object) -> Code | None:
    return code_of(lambda: read_slices(as_bytes(plain_series(1).dataset(0, **changes))))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"Modality": "MR"}, Code.NOT_CT),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, Code.NOT_CT),
        ({"SOPClassUID": RTPlanStorage, "Modality": "RTPLAN"}, Code.NOT_CT),
        ({"SOPClassUID": SecondaryCaptureImageStorage, "PixelData": None}, Code.UNREADABLE),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Code.LOCALIZER),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, Code.NOT_HU),
        ({"PhotometricInterpretation": "MONOCHROME1"}, Code.NOT_HU),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, Code.NOT_HU),
        ({"RescaleType": "OD"}, Code.NOT_HU),
        ({"RescaleType": "Houndsfield Unit"}, None),
        ({"RescaleType": None}, None),
        ({"Rows": 60_000, "Columns": 60_000}, Code.UNREADABLE),
        ({"Rows": 0}, Code.UNREADABLE),
        ({"NumberOfFrames": 2_000_000_000}, Code.UNREADABLE),
        ({"ImageOrientationPatient": None}, Code.UNREADABLE),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, Code.UNREADABLE),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, Code.UNREADABLE),
        ({"ImagePositionPatient": [0, 0]}, Code.UNREADABLE),
        ({"PixelSpacing": [0, 0]}, Code.UNREADABLE),
        ({"PixelSpacing": None}, Code.UNREADABLE),
    ],
)
def test_headers_are_taken_or_refused_by_name(changes: dict[str, object], code: Code | None) -> None:
    assert code_with(**changes) is code


def test_messages_never_quote_the_header() -> None:
    for changes in ({"Modality": "CANARY"}, {"RescaleType": "CANARY"}, {"ImageType": ["CANARY", "LOCALIZER"]}):
        with pytest.raises(Exception, match=r"^(?!.*CANARY)"):
            read_slices(as_bytes(plain_series(1).dataset(0, **changes)))


def enhanced(frames: int = 5) -> Dataset:
    """An enhanced multi-frame CT whose frames come from the head down."""
    series = plain_series(frames)
    ds = series.dataset(0)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
                    "RescaleIntercept", "RescaleType"):  # fmt: skip
        delattr(ds, keyword)
    ds.NumberOfFrames = frames
    order = list(range(frames))[::-1]
    ds.PixelData = b"".join(series.dataset(index).PixelData for index in order)
    ds.SharedFunctionalGroupsSequence = Sequence([groups(
        PixelMeasuresSequence={"PixelSpacing": [2, 2], "SliceThickness": 5},
        PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"},
    )])  # fmt: skip
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        [
            groups(PlanePositionSequence={"ImagePositionPatient": [round(float(v), 4) for v in series.position(index)]})
            for index in order
        ]
    )
    return ds


def groups(**sequences: dict[str, object]) -> Dataset:
    out = Dataset()
    for name, content in sequences.items():
        item = Dataset()
        for keyword, value in content.items():
            setattr(item, keyword, value)
        setattr(out, name, Sequence([item]))
    return out


def test_multi_frame_gives_the_same_volume_as_single_frames() -> None:
    stack = assemble(read_slices(as_bytes(enhanced())))
    assert np.array_equal(fill(stack), plain_series(5).hu)
    assert [one.frame for one in stack.slices] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_frames_on_another_scale_are_refused(where: str) -> None:
    """HU_MOD is made of HU (calcium or water taken out) and looks as plausible; an enhanced object says it of its frames alone."""
    dataset = enhanced()
    scale = groups(
        PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU_MOD"}
    )
    getattr(dataset, where)[0].PixelValueTransformationSequence = scale.PixelValueTransformationSequence
    assert code_of(lambda: read_slices(as_bytes(dataset))) is Code.NOT_HU


def test_frames_that_are_not_described_are_refused() -> None:
    dataset = enhanced()
    dataset.NumberOfFrames = 9
    assert code_of(lambda: read_slices(as_bytes(dataset))) is Code.UNREADABLE
