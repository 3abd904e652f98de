"""Patients beside studies: shown where neither they nor the difference say what the rule hides, whatever the week."""

import random
from collections.abc import Mapping

import pytest

from registry_api.people.roles import Role
from registry_api.releases.cube import PATIENTS, places_of
from registry_api.releases.disclosure import Cell, Key, Line, Status, _narrowed, behind, protect
from registry_api.releases.patients import protect_patients
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import Registry
from tests.unit.registry_api.releases.tables_of_studies import RULE

MOST = 10**6

Sent = Mapping[str, tuple[str, int, int]]
"""By hospital: its region, its studies, and how many of them are a further one."""


def protected(sent: Sent) -> tuple[dict[Key, Cell], dict[Key, Cell], dict[str, dict[str, int]]]:
    """Return studies and patients as they are published, and the true numbers of further studies."""
    tallies: dict[Key, dict[str, int]] = {}
    further: dict[str, dict[str, int]] = {}
    for site, (region, count, again) in sent.items():
        for place in places_of(region):
            tallies.setdefault((place, ()), {})[site] = count
            further.setdefault(place, {})[site] = again
    regions = tuple(key for key in tallies if key[0] != "XA")
    studies = protect(tallies, [Line(("XA", ()), regions)], RULE)
    return studies, protect_patients(studies, tallies, further, RULE), further


@pytest.mark.parametrize(
    ("north", "south", "shown"),
    [
        ((0, 0), (0, 0), (150, 80, 70)),
        ((3, 4), (0, 0), (Status.WITHHELD, Status.WITHHELD, 70)),
        ((3, 0), (2, 2), (Status.WITHHELD, Status.WITHHELD, Status.WITHHELD)),
        ((8, 8), (9, 6), (120, 65, 55)),
        ((16, 0), (9, 6), (120, Status.WITHHELD, Status.WITHHELD)),
        ((40, 40), (35, 35), (0, 0, 0)),
        ((36, 36), (35, 35), (Status.MASKED, Status.MASKED, 0)),
    ],
)
def test_patients_are_shown_where_the_difference_could_be(
    north: tuple[int, int], south: tuple[int, int], shown: tuple[int | Status, ...]
) -> None:
    sent = {f"n{number}": ("XA-N", 40, again) for number, again in enumerate(north)}
    sent |= {f"s{number}": ("XA-S", 35, again) for number, again in enumerate(south)}
    studies, patients, _ = protected(sent)
    assert [studies[place, ()].count for place in ("XA", "XA-N", "XA-S")] == [150, 80, 70]
    found = [patients[place, PATIENTS] for place in ("XA", "XA-N", "XA-S")]
    assert tuple(cell.status if cell.count is None else cell.count for cell in found) == shown


def test_patients_of_hidden_studies_are_hidden() -> None:
    _, patients, _ = protected({"a": ("XA-N", 40, 0), "b": ("XA-S", 40, 0), "c": ("XA-S", 40, 0)})
    assert patients["XA-N", PATIENTS].status is Status.WITHHELD


def test_no_small_number_of_further_studies_is_found_by_subtraction() -> None:
    """What all lines of studies, patients and their difference say together leaves every small difference three values, or what its zero leaves."""
    source = random.Random(20260304)
    hidden = 0
    for _ in range(100):
        sent = {
            f"site-{number}": (
                f"XA-{number % 3}",
                studies := source.randint(5, 60),
                source.randint(0, source.choice([1, 4, 12, studies]) % (studies + 1)),
            )
            for number in range(7)
        }
        studies, patients, further = protected(sent)
        bounds = differences(studies, patients)
        for place, tally in further.items():
            if 1 <= sum(tally.values()) <= RULE.minimum:
                low, high = bounds[place]
                assert high - low + 1 >= 3, (place, sent)
                assert patients[place, PATIENTS].status is not Status.PUBLISHED
                hidden += 1
    assert hidden > 60


def differences(studies: Mapping[Key, Cell], patients: Mapping[Key, Cell]) -> dict[str, tuple[int, int]]:
    """Return between which values the further studies of each place lie, for whoever takes everything together."""

    def own(cell: Cell) -> tuple[int, int]:
        if cell.count is not None:
            return behind(cell.count, RULE)
        return (1, RULE.minimum) if cell.status is Status.MASKED else (RULE.minimum + 1, MOST)

    places = [place for place, _ in studies]
    again = {place: (place, (("unit", "further"),)) for place in places}
    bounds = {key: own(cell) for key, cell in (*studies.items(), *patients.items())}
    bounds |= dict.fromkeys(again.values(), (0, MOST))
    lines = [Line((place, ()), ((place, PATIENTS), again[place])) for place in places]
    lines += [
        Line(("XA", categories), tuple((place, categories) for place in places if place != "XA"))
        for categories in ((), PATIENTS, (("unit", "further"),))
    ]
    narrowed = _narrowed(bounds, lines)
    return {place: narrowed[again[place]] for place in places}


def test_a_release_counts_patients_and_every_way_out_shows_them(registry: Registry, client: AsgiClient, bearer) -> None:
    for site in ("north-a", "north-b"):
        registry.enrol(site)
        registry.cases(site, 30, first_in_week=True)
        registry.cases(site, 10, first_in_week=None)
        registry.cases(site, 15, first_in_week=False)
        registry.cases(site, 20, week="2026-W07")
        registry.cases(site, 2, week="2026-W07", first_in_week=False)
    registry.build()
    headers = bearer(Role.MINISTRY)
    body = client.get("/v1/registry/counts?by=week,region,unit", headers=headers).json()
    assert [(one["week"], one["unit"], one["count"], one["status"]) for one in body["cells"]] == [
        ("2026-W07", "patients", None, "withheld"),
        ("2026-W08", "patients", 80, "published"),
    ]
    text = client.get("/v1/registry/releases/1/export.csv?by=region,unit", headers=headers).text
    assert [row.split(",")[10:13] for row in text.splitlines()[1:]] == [
        ["patients", "", "withheld"],
        ["patients", "80", "published"],
    ]
    [value] = client.get("/v1/registry/releases/1/dhis2.json?by=region,unit", headers=headers).json()["import"][
        "dataValues"
    ]
    assert (value["dataElement"], value["categoryOptionCombo"], value["value"]) == ("ACINUS_PATIENTS", "all", "80")
    page = client.get("/registry?by=unit", headers=headers).text
    assert '<dd class="figure">80</dd><dd class="faint">of each hospital</dd>' in page


def test_patients_stand_beside_no_dimension(client: AsgiClient, bearer) -> None:
    answer = client.get("/v1/registry/counts?by=week,region,sex,unit", headers=bearer(Role.MINISTRY))
    assert (answer.status_code, answer.json()["code"]) == (422, "too-fine")
