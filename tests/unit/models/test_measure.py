"""A measurement from end to end, with the shipped weights, on phantoms whose truth is known."""

import dataclasses

import numpy as np
import pytest
import torch

from models.evaluate import evaluate, evaluation_phantoms
from models.measure import measure
from models.quantify import quantify
from models.volume import Volume
from protocol.case import QualityFlag, SeverityBand
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.unit.models.grids import SPACING, phantom, starting_net


def truth(made):
    return quantify(made.lungs, made.opacity, made.volume.spacing_mm)


FAINT_AND_EVEN = pytest.mark.xfail(
    strict=True,
    reason="wide, even and faint haze is read low, as docs/model-card.md says: 17 of the 30 points are found",
)


@pytest.mark.parametrize(
    ("seed", "disease", "profile"),
    [(11, 0.08, "ge-standard"), (16, 0.3, "philips-b"), pytest.param(14, 0.3, "philips-b", marks=FAINT_AND_EVEN)],
)
def test_ill_phantoms_come_out_within_a_few_points(seed, disease, profile):
    made = phantom(seed, disease, profile)
    found, wanted = measure(made.volume, starting_net()), truth(made)
    assert found.numbers.whole.opacity_fraction == pytest.approx(wanted.whole.opacity_fraction, abs=0.04)
    assert found.numbers.whole.lung_volume_ml == pytest.approx(wanted.whole.lung_volume_ml, rel=0.06)
    for side in ("right", "left"):
        assert found.numbers.per_lung[side].opacity_fraction == pytest.approx(
            wanted.per_lung[side].opacity_fraction, abs=0.05
        )
    low, high = found.opacity_interval
    assert low <= found.numbers.whole.opacity_fraction <= high


@pytest.mark.slow
def test_the_interval_holds_nine_of_ten_known_truths():
    """On phantoms that nothing was fitted to; the network's own hesitation held every other one."""
    held = []
    for made in evaluation_phantoms(10):
        low, high = measure(made.volume, starting_net()).opacity_interval
        held.append(low <= truth(made).whole.opacity_fraction <= high)
    assert sum(held) >= 9


def test_healthy_phantoms_stay_healthy():
    found = measure(phantom(12, 0.0).volume, starting_net())
    assert found.numbers.whole.opacity_fraction < 0.015
    assert found.severity.score <= 2
    assert found.severity.band in {SeverityBand.NONE, SeverityBand.MILD}


def test_masks_lie_on_the_grid_of_the_scan_and_opacity_in_the_lungs():
    made = phantom(11, 0.08, "ge-standard")
    found = measure(made.volume, starting_net())
    assert found.lungs.shape == found.opacity.shape == made.volume.hu.shape
    assert found.lungs.dtype == found.opacity.dtype == np.uint8
    assert not found.opacity[found.lungs == 0].any()
    assert found.numbers == quantify(found.lungs, found.opacity, made.volume.spacing_mm)


def test_the_same_twice():
    made = phantom(11, 0.08, "ge-standard")
    first, again = measure(made.volume, starting_net()), measure(made.volume, starting_net())
    assert np.array_equal(first.opacity, again.opacity)
    assert first.opacity_interval == again.opacity_interval
    assert set(first.seconds) == {"lungs", "network", "numbers"}


def test_disease_is_found_on_its_own_side():
    made = phantom(14, 0.3, "philips-b")
    one_sided = made.volume.hu.copy()
    healthy = phantom(14, 0.0, "philips-b").volume.hu
    one_sided[:, :, :64] = healthy[:, :, :64]  # the right half of the patient is healthy
    found = measure(Volume(one_sided, SPACING), starting_net())
    assert found.numbers.per_lung["left"].opacity_fraction > 0.15
    assert found.numbers.per_lung["right"].opacity_fraction < 0.05


def test_one_slice_is_measured_and_flagged():
    made = phantom(14, 0.3, "philips-b")
    found = measure(Volume(made.volume.hu[15:16].copy(), SPACING), starting_net())
    assert {QualityFlag.SINGLE_SLICE, QualityFlag.INCOMPLETE_COVERAGE} <= set(found.flags)
    assert found.numbers.whole.lung_volume_ml > 0


@pytest.mark.parametrize(("code", "values"), [(Code.NOT_HU, "labels"), (Code.NO_LUNG, "belly")])
def test_what_cannot_be_measured_is_refused(code, values):
    made = phantom(1, 0.0)
    volume = (
        Volume(made.lungs.astype(np.int16), SPACING)
        if values == "labels"
        else Volume(made.volume.hu[:2].copy(), SPACING)
    )
    with pytest.raises(InvalidInputError) as error:
        measure(volume, starting_net())
    assert error.value.code is code


def test_evaluation_compares_with_the_truth():
    ill, healthy = phantom(16, 0.3, "philips-b"), phantom(12, 0.0)
    scores = evaluate(starting_net(), [ill, healthy])
    assert scores.cases == 2
    assert scores.dice > 0.8
    assert scores.ggo_error_points < 4
    assert scores.false_opacity_points < 1.5


def test_evaluation_notices_a_net_that_sees_disease_everywhere():
    loud = starting_net().__class__().eval()
    loud.load_state_dict(starting_net().state_dict())
    with torch.no_grad():
        loud.head.weight.zero_()
        loud.head.bias.zero_()
        loud.head.bias[4:8] = 5.0  # class 1 at all four sub-pixels
    scores = evaluate(loud, [phantom(12, 0.0)])
    assert scores.false_opacity_points > 99
    assert dataclasses.is_dataclass(phantom(12, 0.0))


def test_an_evaluation_of_nothing_is_refused():
    with pytest.raises(ValueError):
        evaluate(starting_net(), [])
