"""Who pads with whom: a graph with few lines that no loss and no collusion within the terms can pull apart.

Harary's graph (1962) on n places with k lines at each has the greatest connectivity that so few lines allow: whichever k - 1 places are
taken away, the rest hang together. With k = d + c + 1 every sum of honest summands that opens is the sum of all of them (ADR 0091).
"""


def neighbours(place: int, *, places: int, degree: int) -> frozenset[int]:
    """Return the places to which `place` has a line, of the places 0 ... `places` - 1 on a circle.

    Args:
        place: Whose lines.
        places: n.
        degree: k, at least 2. With an odd k and an odd n every place has k + 1 lines; with k ≥ n - 1 it has one to every other.

    >>> sorted(neighbours(0, places=8, degree=5))
    [1, 2, 4, 6, 7]
    """
    each_side = degree // 2 if places % 2 == 0 or degree % 2 == 0 else degree // 2 + 1
    lines = {step for size in range(1, each_side + 1) for step in (size, -size)}
    if degree % 2 == 1 and places % 2 == 0:
        lines.add(places // 2)
    return frozenset((place + step) % places for step in lines) - {place}


def neighbours_of(site: str, sites: list[str], *, degree: int) -> list[str]:
    """Return the sites with which a site pads, sorted; `sites` is the circle, sorted."""
    return sorted(sites[at] for at in neighbours(sites.index(site), places=len(sites), degree=degree))
