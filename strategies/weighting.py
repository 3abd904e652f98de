"""How much each site's update counts: public constants, never a private number of patients."""


def uniform(sites: int) -> float:
    """Return the weight of each of `sites` updates, 1/sites.

    Counts of patients would be a better weight and a leak: the weight of a site would tell how many patients it holds.

    Raises:
        ValueError: If `sites` is not positive.

    >>> uniform(4)
    0.25
    """
    if sites < 1:
        raise ValueError("there is no weight for no sites")
    return 1.0 / sites
