"""Flags from headers."""

import pytest

from client.infer.flags import header_flags, is_sharp, merged
from client.infer.slices import read_slices
from protocol.case import QualityFlag as Flag
from tests.fakes.ct_series import as_bytes, plain_series


@pytest.mark.parametrize(
    ("kernel", "maker", "sharp"),
    [
        ("B31f", "SIEMENS", False), ("B70f", "SIEMENS", True), ("I50s", "Siemens Healthineers", False), ("Br59d", "SIEMENS", True),
        ("Bl57d", "SIEMENS", True), ("STANDARD", "GE MEDICAL SYSTEMS", False), ("LUNG", "GE MEDICAL SYSTEMS", True),
        ("B", "Philips", False), ("YC", "Philips", True), ("FC08", "TOSHIBA", False), ("FC51", "TOSHIBA", True),
        ("FC86", "Canon Medical Systems", True), ("", "SIEMENS", False), ("EXOTIC", "NOBODY", False),
    ],
)  # fmt: skip
def test_kernels(kernel: str, maker: str, sharp: bool) -> None:
    assert is_sharp(kernel, maker) is sharp


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({"SliceThickness": 1.0}, ()),
        ({"SliceThickness": 5.0}, (Flag.THICK_SLICES,)),
        ({"SliceThickness": 1.0, "ContrastBolusAgent": "OMNIPAQUE"}, (Flag.CONTRAST,)),
        ({"SliceThickness": 1.0, "ContrastBolusAgent": " "}, ()),
        ({"SliceThickness": 1.0, "ConvolutionKernel": "B80f"}, (Flag.SHARP_KERNEL,)),
        ({"SliceThickness": 1.0, "ConvolutionKernel": None}, (Flag.UNKNOWN_ACQUISITION,)),
        ({"SliceThickness": 1.0, "ConvolutionKernel": ["B31f", "3"]}, ()),
    ],
)
def test_headers(changes: dict[str, object], flags: tuple[Flag, ...]) -> None:
    (one,) = read_slices(as_bytes(plain_series(1).dataset(0, **changes)))
    assert header_flags(one, spacing_mm=1.0) == flags


def test_flags_merge_in_one_order() -> None:
    assert merged((Flag.CONTRAST,), (Flag.THICK_SLICES, Flag.CONTRAST)) == (Flag.THICK_SLICES, Flag.CONTRAST)
