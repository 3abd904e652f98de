"""The reference of `quantify` says everything that `quantify` can say."""

from pathlib import Path

import pytest

from client.infer.quantify import measure_scan
from client.infer.scan import dicom_scan
from client.store.results import LUNGS, MASK, PICTURE, REPORT, SEG, SR
from protocol.case import QualityFlag, SeverityBand
from protocol.codes import Code
from tests.fakes.ct_series import as_bytes
from tests.fakes.scans import chest_series, untrained

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "reference" / "quantify.md").read_text(encoding="utf-8")
CODES = (
    Code.NOT_CT, Code.NOT_HU, Code.NO_LUNG, Code.LOCALIZER, Code.NOT_AXIAL, Code.GANTRY_TILT, Code.MISSING_SLICES,
    Code.MIXED_GEOMETRY, Code.UNSUPPORTED_TRANSFER_SYNTAX, Code.UNREADABLE, Code.NOT_FOUND,
)  # fmt: skip


def test_every_key_of_the_answer_has_its_line() -> None:
    scan = dicom_scan([as_bytes(dataset) for dataset in chest_series().datasets()])
    document = measure_scan(scan, untrained, device="cpu", seconds={"read": 0.1}).document
    inner = [
        key for name in ("per_lung", "per_third", "per_zone", "severity", "series", "seconds") for key in document[name]
    ]
    missing = [key for key in (*document, *inner) if f"`{key}`" not in PAGE]
    assert not missing


@pytest.mark.parametrize("word", [*QualityFlag, *SeverityBand, *CODES, MASK, LUNGS, PICTURE, REPORT, SEG, SR])
def test_every_flag_band_code_and_file_has_its_line(word: str) -> None:
    assert f"`{word}`" in PAGE
