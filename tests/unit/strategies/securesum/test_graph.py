"""Who pads with whom, against every way to take places away."""

from itertools import combinations

import pytest

from strategies.securesum.graph import neighbours, neighbours_of

CASES = [(places, degree) for places in range(3, 10) for degree in range(2, places + 1)]


@pytest.mark.parametrize(("places", "degree"), CASES)
def test_whoever_is_taken_away_the_rest_hang_together(places: int, degree: int) -> None:
    for taken in range(min(degree, places - 1)):
        for gone in combinations(range(places), taken):
            assert connected(set(range(places)) - set(gone), places, degree), gone


def connected(left: set[int], places: int, degree: int) -> bool:
    seen, ahead = set[int](), [min(left)]
    while ahead:
        place = ahead.pop()
        if place not in seen:
            seen.add(place)
            ahead += neighbours(place, places=places, degree=degree) & left
    return seen == left


@pytest.mark.parametrize(("places", "degree"), CASES)
def test_lines_are_mutual_and_few(places: int, degree: int) -> None:
    for place in range(places):
        lines = neighbours(place, places=places, degree=degree)
        assert place not in lines
        assert min(degree, places - 1) <= len(lines) <= degree + (degree % 2) * (places % 2)
        assert all(place in neighbours(other, places=places, degree=degree) for other in lines)


def test_one_line_fewer_would_not_do() -> None:
    """A ring falls apart when two of its places are taken away."""
    assert not connected({0, 2}, 4, 2)


def test_sites_stand_in_the_order_of_their_names() -> None:
    assert neighbours_of("b", ["a", "b", "c", "d", "e"], degree=2) == ["a", "c"]
    assert neighbours_of("a", ["a", "b", "c"], degree=7) == ["b", "c"]
