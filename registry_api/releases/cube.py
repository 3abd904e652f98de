"""The closed cube: week × place × at most two of five dimensions, or the band of ground glass alone. What is not in it cannot be asked for. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, combinations, groupby, repeat
from operator import attrgetter

from protocol.case import AgeBand, PcrStatus, RsnaClass, SeverityBand, Sex
from registry_api.releases.disclosure import Key, Line
from registry_api.units.tree import country_of

UNREAD = "unread"
"""The RSNA class of a study that no radiologist has read."""

GGO_BANDS: dict[str, int] = {"0": 0, "1-4": 4, "5-25": 25, "26-50": 50, "51-75": 75, "76-100": 100}
"""Ground glass in whole percent of the lungs, each band with its greatest value: the edges of the CT severity score (Pan et al. 2020)."""

SPLITS: dict[str, tuple[str, ...]] = {
    "severity": tuple(SeverityBand),
    "age": tuple(AgeBand),
    "sex": tuple(Sex),
    "pcr": tuple(PcrStatus),
    "rsna": (*RsnaClass, UNREAD),
    "ggo": tuple(GGO_BANDS),
}
"""What studies are split by beside week and place, each with its closed list of values. A new one is one line here and one in `build.COLUMNS`."""

UNIT = "unit"
DIMENSIONS: dict[str, tuple[str, ...]] = {**SPLITS, UNIT: ("patients",)}
"""All that can be asked for beside week and place. A cell counts studies, unless its unit says patients (`patients.py`)."""

PATIENTS = ((UNIT, "patients"),)
"""The categories of the cell that counts a place's patients."""

MOST_DIMENSIONS = 2

ALONE = frozenset({"ggo", UNIT})
"""Dimensions that stand beside no other one: ground glass and severity say nearly the same, and a table of both would be mostly masks. Patients
are counted by place only: how many studies are a further one is a small number wherever there is a finer one."""

_COMBINATIONS = tuple(
    names
    for size in range(MOST_DIMENSIONS + 1)
    for names in combinations(SPLITS, size)
    if size <= 1 or not ALONE & set(names)
)
_ELSEWHERE = "-*"
"""Stands for the sites of a country that belong to no region of it; never published, but part of the country's sum."""


@dataclass(frozen=True, slots=True)
class Group:
    """Studies of one hospital in one week that agree in every dimension; `values` stand in the order of `SPLITS`."""

    site: str
    region: str
    values: tuple[str, ...]
    studies: int


def beside(names: Sequence[str]) -> list[str]:
    """Return the dimensions that a table by `names` may have besides, in the order of the cube."""
    if len(names) >= MOST_DIMENSIONS or ALONE & set(names):
        return []
    return [name for name in DIMENSIONS if name not in names and not (names and name in ALONE)]


def is_country(place: str) -> bool:
    """Say whether the place is a whole country."""
    return "-" not in place


def is_published(place: str) -> bool:
    """Say whether cells of this place go into a release."""
    return not place.endswith(_ELSEWHERE)


def places_of(region: str) -> tuple[str, str]:
    """Return where the studies of a hospital count: in its country, and in its region or the country's hidden rest."""
    country = country_of(region)
    return country, region if region != country else country + _ELSEWHERE


def tally(groups: Iterable[Group]) -> dict[Key, dict[str, int]]:
    """Count one week's studies into every cell of the cube that has any, by hospital.

    It is fastest where the groups of a hospital come one after the other: they are added up before they go into the cells.
    """
    tallies: dict[Key, dict[str, int]] = {}
    for (site, region), own in groupby(groups, key=attrgetter("site", "region")):
        places = places_of(region)
        for categories, studies in _by_categories(own).items():
            for place in places:
                cell = tallies.setdefault((place, categories), {})
                cell[site] = cell.get(site, 0) + studies
    return tallies


def _by_categories(groups: Iterable[Group]) -> dict[tuple[tuple[str, str], ...], int]:
    """Count the studies of one hospital into every table of the cube, a column of values at a time: there are millions of studies."""
    studies = list(chain.from_iterable(repeat(group.values, group.studies) for group in groups))
    columns = dict(zip(SPLITS, zip(*studies, strict=True), strict=True))
    counted: dict[tuple[tuple[str, str], ...], int] = {(): len(studies)}
    for names in _COMBINATIONS:
        if names:
            found = Counter(zip(*(columns[name] for name in names), strict=True))
            counted.update((_categories(names, values), count) for values, count in found.items())
    return counted


@cache
def _categories(names: tuple[str, ...], values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return what a cell's key says of its values; one object for all weeks and places."""
    return tuple(zip(names, values, strict=True))


def lines(keys: Iterable[Key]) -> list[Line]:
    """Return every total among `keys` with its parts: over the values of each further dimension, and over the regions of a country."""
    present = sorted(keys)
    return [*_lines_over_values(present), *_lines_over_regions(present)]


def _lines_over_values(keys: Sequence[Key]) -> list[Line]:
    found = []
    for place, categories in keys:
        for name in beside([name for name, _ in categories]):
            if name == UNIT:  # patients are no part of the studies
                continue
            parts = tuple((place, _with(categories, name, value)) for value in DIMENSIONS[name])
            found.append(Line((place, categories), parts))
    return sorted(found, key=lambda line: (line.total, line.parts))


@cache
def _with(categories: tuple[tuple[str, str], ...], name: str, value: str) -> tuple[tuple[str, str], ...]:
    """Add a category, in the order of `DIMENSIONS`."""
    added = {**dict(categories), name: value}
    return tuple((one, added[one]) for one in DIMENSIONS if one in added)


def _lines_over_regions(keys: Sequence[Key]) -> list[Line]:
    regions: dict[str, list[str]] = {}
    for place in sorted({place for place, _ in keys}):
        if not is_country(place):
            regions.setdefault(country_of(place), []).append(place)
    return [
        Line((place, categories), tuple((region, categories) for region in regions.get(place, [])))
        for place, categories in keys
        if is_country(place)
    ]
