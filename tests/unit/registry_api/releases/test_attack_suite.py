"""Eleven kinds of attack on releases. None may do better than a guess by more than two points; a plain threshold must fail them."""

import random
from collections.abc import Mapping, Sequence
from functools import cache

import pytest

from registry_api.releases.disclosure import Cell, Key, Line, Rule, Status, Tally, protect, rounded
from registry_api.releases.export import combination
from registry_api.releases.steady import steady
from tests.unit.registry_api.releases.attacks import (
    ATTACKS,
    Keeping,
    Score,
    World,
    anew,
    parts_of_true_share,
    play,
    world_of,
)
from tests.unit.registry_api.releases.formats import read_all
from tests.unit.registry_api.releases.tables_of_studies import EXACT, RULE, Protection, plain_threshold

MARGIN = 0.02
"""Two points."""
FEW, MANY = 2, 24
"""Worlds in `make test` and at night."""


@cache
def world(seed: int, protection: Protection, rule: Rule = RULE, keep: Keeping = steady) -> World:
    return world_of(seed, protection, rule=rule, keep=keep)


def score(
    name: str, protection: Protection, *, worlds: int, tries: int, rule: Rule = RULE, keep: Keeping = steady
) -> Score:
    return play([world(seed, protection, rule, keep) for seed in range(worlds)], name, tries=tries)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_does_better_than_a_guess(name: str) -> None:
    found = score(name, protect, worlds=FEW, tries=400)
    assert found.gain <= MARGIN, found


@pytest.mark.nightly
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_does_better_than_a_guess_ten_thousand_times(name: str) -> None:
    found = score(name, protect, worlds=MANY, tries=10_000)
    assert found.gain <= MARGIN, found


FEW_RECORDS = 4
"""So many records a hospital sends or takes back at most between two releases."""


@cache
def known(*, worlds: int, tries: int, keep: Keeping) -> Score:
    """A hospital that knows its own few late records, and looks for the others' in cells that it shares with them."""
    made = [world_of(seed, protect, keep=keep, most=FEW_RECORDS) for seed in range(worlds)]
    return play(made, "known changes", tries=tries)


@pytest.mark.nightly
def test_a_hospital_that_knows_its_own_late_records_does_no_better_than_a_guess() -> None:
    assert known(worlds=MANY, tries=10_000, keep=steady).gain <= MARGIN


@pytest.mark.nightly
def test_with_rounding_alone_it_would() -> None:
    assert known(worlds=FEW, tries=1000, keep=anew).gain > 3 * MARGIN


@pytest.mark.parametrize(
    "name",
    [
        "subtraction",
        "overlapping bands",
        "release differences",
        "single-site cells",
        "percentages inverted",
        "version differences",
        "known changes",
        "averaging over versions",
        "re-rounding",
    ],
)
def test_a_plain_threshold_fails_the_suite(name: str) -> None:
    found = score(name, plain_threshold, worlds=1, tries=200, rule=EXACT, keep=anew)
    assert found.gain > MARGIN, found


@pytest.mark.parametrize("name", ["version differences", "known changes"])
def test_rounding_every_version_anew_fails_the_suite(name: str) -> None:
    """A number that crosses an edge of the grid when one study came or went says where the count stands."""
    found = score(name, protect, worlds=FEW, tries=400, keep=anew)
    assert found.gain > MARGIN, found


def test_a_single_study_moves_no_number() -> None:
    """Whatever came or went in four revisions: who knows of it has no more than the first version said."""
    for seed in range(FEW):
        first, *others = world(seed, protect).versions
        for key, cell in first.cells.items():
            assert {other.cells[key].count for other in others if key in other.cells} <= {
                cell.count,
                None,
            } or not cell.count


NOISE = random.Random(3)


def fresh_noise(tallies: Mapping[Key, Tally], _: Sequence[Line], __: Rule) -> dict[Key, Cell]:
    """A new Gaussian of 1.33, cut at 3, for every question: what averaging is made for."""
    drawn = {key: min(max(round(NOISE.gauss(0, 1.33)), -3), 3) for key in tallies}
    return {key: Cell(sum(one.values()) + drawn[key], Status.PUBLISHED) for key, one in tallies.items()}


def test_fresh_noise_fails_averaging() -> None:
    found = score("averaging", fresh_noise, worlds=1, tries=200)
    assert found.gain > 0.5, found


def test_a_grid_drawn_anew_for_each_version_fails_averaging_over_versions() -> None:
    def fresh_grid(tallies: Mapping[Key, Tally], _: Sequence[Line], rule: Rule) -> dict[Key, Cell]:
        """Round to a grid of five whose origin is drawn anew for each release."""
        origin = NOISE.randrange(rule.rounding)
        counts = {key: sum(one.values()) for key, one in tallies.items()}
        step = rule.rounding
        return {
            key: Cell((count + origin + step // 2) // step * step - origin, Status.PUBLISHED)
            for key, count in counts.items()
        }

    found = score("averaging over versions", fresh_grid, worlds=1, tries=400, keep=anew)
    assert found.gain > 0.2, found


def test_publishing_a_week_again_by_other_thresholds_fails_the_rerounding() -> None:
    careful = world(0, protect)
    careless = World(careful.earlier, careful.after, protect, keep=anew, again=lambda _week, _before, rule: rule)
    assert play([careless], "re-rounding", tries=200).gain > 2 * MARGIN


def test_a_format_that_shows_what_another_hides_fails_the_mismatch() -> None:
    careful = world(0, protect)

    def careless(document, found):
        true_counts = {
            (one.week, one.place, combination(one)): (true_count(one.place, one.categories), "published")
            for one in found
        }
        return {**read_all(document, found), "careless": true_counts}

    def true_count(place, categories):
        return careful.after.count((place, categories)) if (place, categories) in careful.after.tallies else 0

    leaky = World(careful.earlier, careful.after, protect, formats=careless)
    assert play([leaky], "export mismatch", tries=50).gain > 0.8


def test_shares_of_true_counts_could_be_turned_back() -> None:
    """Why shares are formed from shown numbers: to a tenth of a percent, true ones leave one part in most cases."""
    left = []
    for part in range(40, 60):
        for whole in range(190, 230):
            shown = rounded(part, RULE), rounded(whole, RULE)
            found = parts_of_true_share(*shown, share=part / whole, rule=RULE, digits=3)
            assert part in found
            left.append(len(found))
    assert sum(left) / len(left) < 0.5 * RULE.rounding
