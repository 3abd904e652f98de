"""Whether scans changed: what is compared with what, that chance alone says nothing, that a new scanner shows."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.train.drift import FEWEST, INDEX_LIMIT, RECENT, REFERENCE, Seen, _chi_squared, drifts, stability_index

PLAIN = Seen(flags=frozenset(), maker="SIEMENS", slice_mm=1.0, lung_hu=-820.0)


def changed(studies: list[Seen]) -> set[str]:
    return {one.figure for one in drifts(studies) if one.changed}


def mixed(count: int, seed: int) -> list[Seen]:
    """A hospital's usual mixture."""
    rng = random.Random(seed)
    return [
        Seen(
            flags=frozenset({"contrast"}) if rng.random() < 0.3 else frozenset(),
            maker=rng.choice(["SIEMENS", "SIEMENS", "GE MEDICAL SYSTEMS"]),
            slice_mm=rng.choice([1.0, 1.25, 2.0, 5.0]), lung_hu=rng.gauss(-820, 40),
        )
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, REFERENCE, REFERENCE + FEWEST - 1])
def test_of_too_few_studies_nothing_is_said(count: int) -> None:
    assert drifts([PLAIN] * count) == []


def test_the_same_scans_have_not_changed() -> None:
    found = drifts([PLAIN] * (REFERENCE + RECENT))
    assert found
    assert not any(one.changed for one in found)


@pytest.mark.parametrize("seed", range(8))
def test_the_usual_mixture_is_no_drift(seed: int) -> None:
    assert changed(mixed(REFERENCE + RECENT, seed)) == set()


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"maker": "Philips"}, "maker"),
        ({"slice_mm": 5.5}, "slice-spacing"),
        ({"lung_hu": -650.0}, "lung-density"),
        ({"flags": frozenset({"low-dose"})}, "low-dose"),
    ],
)
def test_another_scanner_or_protocol_shows_in_its_own_figure(change: dict[str, object], figure: str) -> None:
    assert changed([PLAIN] * REFERENCE + [replace(PLAIN, **change)] * FEWEST) == {figure}  # type: ignore[arg-type]


def test_only_the_newest_studies_are_compared_with_the_first() -> None:
    episode = [replace(PLAIN, maker="Philips")] * 300
    assert changed([PLAIN] * REFERENCE + episode + [PLAIN] * RECENT) == set()
    assert changed([PLAIN] * REFERENCE + [PLAIN] * 300 + episode[:RECENT]) == {"maker"}


def test_the_index_is_the_textbooks() -> None:
    """Shares (0.5, 0.5) against (0.25, 0.75), with half a study in each bin."""
    p, q = (50.5 / 101, 50.5 / 101), (25.5 / 101, 75.5 / 101)
    by_hand = sum((a - b) * math.log(a / b) for a, b in zip(q, p, strict=True))
    assert stability_index("a" * 50 + "b" * 50, "a" * 25 + "b" * 75, "ab") == pytest.approx(by_hand)


@pytest.mark.parametrize(("degrees", "value"), [(1, 10.83), (3, 16.27), (5, 20.52)])
def test_the_quantile_of_chance_is_that_of_the_tables(degrees: int, value: float) -> None:
    assert _chi_squared(degrees) == pytest.approx(value, rel=0.035)


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.lists(st.sampled_from("abc"), min_size=1, max_size=60)
)
def test_the_index_is_symmetric_and_never_negative(one: list[str], other: list[str]) -> None:
    if len(one) == len(other):
        assert stability_index(one, other, "abc") == pytest.approx(stability_index(other, one, "abc"))
    assert stability_index(one, other, "abc") >= -1e-12


def test_no_limit_is_below_the_convention() -> None:
    assert all(one.limit >= INDEX_LIMIT for one in drifts(mixed(REFERENCE + FEWEST, 1)))
