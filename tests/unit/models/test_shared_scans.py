"""Real scans beside the checkout: the numbers are of the right order, and what is no chest CT is refused.

None of the scans named imlab, inserted or P002 taught the shipped weights; of the others the model card says which did.
"""

import functools
import json
import zlib

import numpy as np
import pytest

from bench.intervals import auc
from bench.real_scans import DATA, slice_labels
from models.anatomy import read_nifti
from models.measure import Measurement, measure
from models.quantify import LEFT
from models.volume import Volume
from protocol.case import QualityFlag
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.shared import SHARED, needs_shared
from tests.unit.models.grids import starting_net

pytestmark = needs_shared
CT = SHARED / "data" / "ct_nifti"
INSERTED = SHARED / "data" / "inserted"


@functools.cache
def measured(path) -> Measurement:
    return measure(read_nifti(path), starting_net())


def truths():
    file = INSERTED / "truth.json"
    return [case for case in json.loads(file.read_text())["cases"] if case["expect"] == "ok"] if file.exists() else []


@pytest.mark.parametrize("case", truths(), ids=lambda case: case["case"])
def test_inserted_disease_within_the_goal(case):
    numbers = measured(INSERTED / case["path"]).numbers
    assert 100 * numbers.whole.opacity_fraction == pytest.approx(100 * case["opacity_fraction"], abs=4)
    assert 100 * numbers.whole.ggo_fraction == pytest.approx(100 * case["ggo_fraction"], abs=4)
    assert numbers.whole.lung_volume_ml == pytest.approx(case["lung_volume_ml"], rel=0.08)
    for group in ("per_lung", "per_third"):
        for part, truth in case.get(group, {}).items():
            found = getattr(numbers, group)[part].opacity_fraction
            assert 100 * found == pytest.approx(100 * truth["opacity_fraction"], abs=10), part


@pytest.mark.parametrize(
    "name",
    [
        "imlab1",
        "imlab2",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("cip_ct64", "lungdx_A0001", "covidctmd_normal002")),
    ],
)
def test_scans_without_disease_stay_nearly_free(name):
    assert measured(CT / f"{name}.nii.gz").numbers.whole.opacity_fraction <= 0.02


@pytest.mark.parametrize("name", ["imlab1", "imlab2", pytest.param("cip_ct64", marks=pytest.mark.slow)])
def test_lungs_agree_with_the_experts(name):
    truth = read_nifti(CT / f"{name}_lungmask.nii.gz").hu > 0
    found = measured(CT / f"{name}.nii.gz").lungs > 0
    assert 2 * np.count_nonzero(truth & found) / (truth.sum() + found.sum()) > 0.95


@pytest.mark.slow
def test_covid_is_seen_and_mostly_on_the_left():
    found = measured(CT / "covidctmd_P002.nii.gz")
    numbers = found.numbers
    assert numbers.whole.opacity_fraction > 0.005
    assert numbers.per_lung["left"].opacity_fraction > numbers.per_lung["right"].opacity_fraction
    with_lung = (found.lungs > 0).any(axis=(1, 2))
    shares = (found.opacity > 0).sum(axis=(1, 2))[with_lung] / (found.lungs > 0).sum(axis=(1, 2))[with_lung]
    assert auc(shares, np.array(slice_labels(DATA))[with_lung]) >= 0.9


def test_a_scan_cut_around_the_heart_is_measured_and_flagged():
    found = measured(CT / "totalseg_pulmonary" / "ct_cropped.nii.gz")
    assert {QualityFlag.TRUNCATED_FIELD_OF_VIEW, QualityFlag.INCOMPLETE_COVERAGE} <= set(found.flags)
    assert np.count_nonzero(found.lungs == LEFT) > 0


@pytest.mark.slow
def test_half_a_lung_is_flagged():
    assert QualityFlag.INCOMPLETE_COVERAGE in measured(CT / "pancreasctcb_001_lowerlungs.nii.gz").flags


def test_a_label_map_that_calls_itself_ct_is_refused():
    (header,) = (SHARED / "data" / "dicom_stress" / "not_really_ct").glob("*.mhd")
    fields = dict(line.split(" = ") for line in header.read_text().splitlines() if " = " in line)
    x, y, z = (int(n) for n in fields["DimSize"].split())
    raw = zlib.decompress((header.parent / fields["ElementDataFile"]).read_bytes())
    values = np.frombuffer(raw, np.uint8).reshape(z, y, x)[::4, ::4, ::4]
    with pytest.raises(InvalidInputError) as error:
        measure(Volume(values.astype(np.int16), (7.2, 2.6, 2.6)), starting_net())
    assert error.value.code is Code.NOT_HU
