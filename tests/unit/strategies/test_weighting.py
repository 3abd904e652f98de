"""The weight of a site tells nothing of how many patients it has."""

import doctest
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import weighting


def test_the_example_in_the_documentation_runs() -> None:
    assert doctest.testmod(weighting).attempted == 1
    assert doctest.testmod(weighting).failed == 0


@given(st.integers(1, 10_000))
def test_weights_are_equal_and_make_one(sites: int) -> None:
    assert weighting.uniform(sites) * sites == pytest.approx(1)


@pytest.mark.parametrize("sites", [0, -1])
def test_nobody_has_no_weight(sites: int) -> None:
    with pytest.raises(ValueError, match="no sites"):
        weighting.uniform(sites)


def test_nothing_of_a_site_goes_in() -> None:
    assert list(inspect.signature(weighting.uniform).parameters) == ["sites"]
