"""Which series of a study is measured, why, and with which code a hopeless one ends."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.infer.scan import dicom_scan
from client.infer.series import choose
from protocol.codes import Code
from tests.fakes.ct_series import CtSeries, plain_series
from tests.fakes.outcomes import code_of
from tests.shared import SHARED, needs_shared


def put(folder: Path, *series: CtSeries) -> list[Path]:
    return [path for one in series for path in one.write(folder / one.name)]


def named(name: str, slices: int = 12, **rest: Any) -> CtSeries:
    return plain_series(slices, name=name, **rest)


def chosen(paths: list[Path]) -> tuple[str, str]:
    choice = choose(paths)
    file = choice.stack.slices[0].content
    assert isinstance(file, Path)
    return file.parent.name, choice.why


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        (named("full", 20), named("part", 6), "covers more"),
        (named("original"), named("mip", header={"ImageType": ["DERIVED", "SECONDARY", "MIP"]}), "original"),
        (named("thin", 30, step_mm=2.0), named("thick", 12), "thinner"),
        (named("soft"), named("sharp", header={"ConvolutionKernel": "B80f"}), "softer"),
        (named("lungs", 20), named("belly", 60, header={"BodyPartExamined": "ABDOMEN"}), "of the chest"),
        (named("chest", 80, step_mm=4.5), named("trunk", 130, step_mm=5.5), "thinner"),
        (named("native"), named("contrast", header={"ContrastBolusAgent": "X"}), "without contrast"),
        (named("more", 24, step_mm=2.5), named("fewer", 22, step_mm=2.5), "more slices"),
    ],
)
def test_the_better_series_wins_and_says_why(tmp_path: Path, good: CtSeries, bad: CtSeries, why: str) -> None:
    for order in ((good, bad), (bad, good)):
        name, reason = chosen(put(tmp_path, *order))
        assert name == good.name
        assert why in reason


def test_the_document_says_which_and_why_without_an_identifier(tmp_path: Path) -> None:
    best = named("thin", 30, step_mm=2.0, header={"SeriesNumber": 4})
    sharp = named("sharp", 30, step_mm=2.0, header={"SeriesNumber": 5, "ConvolutionKernel": "B80f"})
    thick = named("thick", 12, header={"SeriesNumber": 6, "SeriesDescription": "CANARY"})
    series = dicom_scan(put(tmp_path, thick, sharp, best)).series
    assert (series["number"], series["slices"], series["spacing_mm"], series["kernel"]) == (4, 30, 2.0, "soft")
    assert [(one["number"], one["lost_because"]) for one in series["rivals"]] == [
        (5, "its kernel is softer"), (6, "its slices are thinner"),
    ]  # fmt: skip
    assert series["chosen_because"] == "its kernel is softer"
    assert series["passed_over"] == {"usable": 2}
    assert "CANARY" not in str(series)
    assert str(best.dataset(0).SeriesInstanceUID) not in str(series)


def test_what_cannot_be_measured_is_passed_over_with_its_code(tmp_path: Path) -> None:
    paths = put(
        tmp_path, named("axial"), named("coronal", orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0)),
        named("scout", 1, header={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    )  # fmt: skip
    choice = choose(paths)
    assert choice.why == "it is the only series that can be measured"
    assert choice.passed_over == {"localizer": 1, "not-axial": 1}


def test_a_study_without_a_usable_series_ends_with_the_code_of_the_largest(tmp_path: Path) -> None:
    gap = named("gap", 12)
    paths = [path for index, path in enumerate(gap.write(tmp_path / "gap")) if index != 5]
    paths += put(tmp_path, named("coronal", 3, orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0)))
    assert code_of(lambda: choose(paths)) is Code.MISSING_SLICES
    assert choose(paths, allow_gaps=True).stack.depth == 12


def test_only_localizers_are_localizers(tmp_path: Path) -> None:
    paths = put(tmp_path, named("scout", 2, header={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}))
    assert code_of(lambda: choose(paths)) is Code.LOCALIZER


def test_nothing_is_unreadable() -> None:
    assert code_of(lambda: choose([])) is Code.UNREADABLE


def test_more_slices_than_any_study_has_are_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = put(tmp_path, named("one", 6), named("two", 6))
    monkeypatch.setattr("client.infer.series.MOST_SLICES", 11)
    assert code_of(lambda: choose(paths)) is Code.UNREADABLE
    assert len(choose(paths[:11]).stack.slices) == 6


def test_copies_under_new_uids_are_dropped_but_phases_are_refused(tmp_path: Path) -> None:
    series = named("one", 6)
    paths = put(tmp_path, series)
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(_with_uid(series, 2, "2.25.777"))
    assert len(choose([*paths, copy]).stack.slices) == 6
    other = CtSeries(hu=(series.hu + np.int16(5)), name="one")
    phase = tmp_path / "phase.dcm"
    phase.write_bytes(_with_uid(other, 2, "2.25.778"))
    assert code_of(lambda: choose([*paths, phase])) is Code.MIXED_GEOMETRY


def _with_uid(series: CtSeries, index: int, uid: str) -> bytes:
    from tests.fakes.ct_series import as_bytes

    return as_bytes(series.dataset(index, SOPInstanceUID=uid))


@needs_shared
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("dicom_stress/dcmqi_liver_SEG.dcm", Code.NOT_CT),
        ("dicom_stress/py_rtplan.dcm", Code.NOT_CT),
        ("dicom_stress/hd_dx_image.dcm", Code.NOT_CT),
        ("dicom_stress/fo_GH178.dcm", Code.UNREADABLE),
        ("dicom_stress/barre_CT_chest_JPEG70.dcm", Code.LOCALIZER),
        ("dicom_stress/cs_CTImage_JPEGProcess1_1.2.840.10008.1.2.4.50.dcm", Code.NOT_HU),
        ("dicom_stress/py_no_meta.dcm", Code.UNREADABLE),
        ("covid_ct_slices/A002304_coronal_19010112-124.dcm", Code.NOT_AXIAL),
        ("dicom_stress/gantry_tilt_GE.zip", Code.GANTRY_TILT),
        ("dicom_stress/not_really_ct", Code.UNREADABLE),
        ("cxr/hannover_1d435a4b.png", Code.NOT_CT),
        ("cxr", Code.UNREADABLE),
    ],
)
def test_real_refusals(name: str, code: Code) -> None:
    from client.infer.scan import read_scan

    assert code_of(lambda: read_scan(SHARED / "data" / name)) is code


@needs_shared
def test_every_stress_file_ends_in_a_volume_or_a_code() -> None:
    from client.infer.scan import read_scan

    outcomes = [
        code_of(lambda p=path: read_scan(p)) for path in sorted((SHARED / "data" / "dicom_stress").rglob("*.*"))
    ]
    assert len(outcomes) > 40
    assert outcomes.count(None) >= 17
