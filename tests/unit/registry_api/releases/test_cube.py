"""The closed cube: what is counted where, and which sums the cells are in."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.case import AgeBand, CaseRecord, SeverityBand
from registry_api.releases.build import COLUMNS
from registry_api.releases.cube import (
    ALONE,
    DIMENSIONS,
    GGO_BANDS,
    MOST_DIMENSIONS,
    SPLITS,
    UNIT,
    Group,
    beside,
    country_of,
    is_country,
    is_published,
    lines,
    tally,
)

VALUES = ("mild", "40-49", "female", "unknown", "unread", "5-25")

groups = st.builds(
    Group,
    site=st.sampled_from(["a", "b", "c"]),
    region=st.sampled_from(["XA-N", "XA-S", "XA"]),
    values=st.tuples(*(st.sampled_from(values) for values in SPLITS.values())),
    studies=st.integers(1, 30),
)


def test_a_study_is_counted_at_country_and_region_in_every_table_of_two_dimensions() -> None:
    cells = tally([Group("a", "XA-N", VALUES, 3)])
    pairs = SPLITS.keys() - ALONE
    tables = sum(1 for size in range(MOST_DIMENSIONS + 1) for _ in combinations(pairs, size)) + len(
        ALONE & SPLITS.keys()
    )
    assert len(cells) == 2 * tables == 34
    assert all(cell == {"a": 3} for cell in cells.values())
    assert cells["XA-N", (("severity", "mild"), ("sex", "female"))] == {"a": 3}


def test_hospitals_are_kept_apart_within_a_cell() -> None:
    cells = tally([Group("a", "XA-N", VALUES, 3), Group("b", "XA-N", VALUES, 4), Group("a", "XA-N", VALUES, 1)])
    assert cells["XA", ()] == {"a": 4, "b": 4}


def test_a_site_without_a_region_counts_for_its_country_and_is_no_region_of_its_own() -> None:
    cells = tally([Group("a", "XA", VALUES, 3)])
    assert cells["XA", ()] == {"a": 3}
    assert {place for place, _ in cells if is_published(place)} == {"XA"}


def test_places() -> None:
    assert country_of("XA-N") == country_of("XA") == "XA"
    assert is_country("XA")
    assert not is_country("XA-N")


@settings(max_examples=30, deadline=None)
@given(st.lists(groups, min_size=1, max_size=8))
def test_a_cell_holds_the_studies_of_its_place_that_have_its_values(some: list[Group]) -> None:
    for (place, categories), cell in tally(some).items():
        fits = [
            group
            for group in some
            if place in (group.region, country_of(group.region), f"{group.region}-*")
            and dict(categories).items() <= dict(zip(SPLITS, group.values, strict=True)).items()
        ]
        inside = [group for group in fits if not (place.endswith("-*") and group.region != "XA")]
        assert sum(cell.values()) == sum(group.studies for group in inside)
        assert cell.keys() == {group.site for group in inside}


@settings(max_examples=50, deadline=None)
@given(st.lists(groups, min_size=1, max_size=12))
def test_every_line_adds_up(some: list[Group]) -> None:
    cells = tally(some)
    count = {key: sum(cell.values()) for key, cell in cells.items()}
    found = lines(cells)
    assert found
    for line in found:
        assert count[line.total] == sum(count.get(part, 0) for part in line.parts)


@settings(max_examples=20, deadline=None)
@given(st.lists(groups, min_size=1, max_size=6))
def test_every_cell_is_in_a_line_with_each_dimension_it_lacks_and_has(some: list[Group]) -> None:
    cells = tally(some)
    found = lines(cells)
    for key in cells:
        place, categories = key
        as_total = sum(line.total == key for line in found)
        as_part = sum(key in line.parts for line in found)
        assert as_total == len(set(beside([name for name, _ in categories])) - {UNIT}) + is_country(place)
        assert as_part == len(categories) + (not is_country(place))


def test_the_cube_knows_every_value_that_a_record_can_have() -> None:
    assert set(DIMENSIONS["age"]) == set(AgeBand)
    assert set(DIMENSIONS["severity"]) == set(SeverityBand)
    assert list(COLUMNS) == list(SPLITS)  # a group's values stand in this order
    fields = CaseRecord.model_fields
    assert {"severity_band", "age_band", "sex", "pcr", "rsna_class", "ggo_percent"} <= fields.keys()


def test_what_may_stand_beside_what() -> None:
    assert beside([]) == list(DIMENSIONS)
    assert beside(["sex"]) == ["severity", "age", "pcr", "rsna"]
    assert beside(["ggo"]) == beside(["age", "sex"]) == []


def test_the_bands_of_ground_glass_cover_every_whole_percent_once() -> None:
    edges = [(int(band.partition("-")[0]), most) for band, most in GGO_BANDS.items()]
    covered = [percent for low, high in edges for percent in range(low, high + 1)]
    assert covered == list(range(101))
