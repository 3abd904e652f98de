"""Every route of counts for every place that a caller may belong to: no answer speaks of anywhere else."""

import re

import pytest

from registry_api.people.roles import Role
from registry_api.releases.build import build_release
from registry_api.runtime import disclosure_rule
from registry_api.units.service import add_unit, ensure_unit, set_population
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import Registry

PLACES = ("XA", "XA-N", "XA-S", "XB", "XB-W")
VISIBLE = {
    "XA": {"XA", "XA-N", "XA-S"},
    "XA-N": {"XA-N"},
    "XA-S": {"XA-S"},
    "XB": {"XB", "XB-W"},
    "XC": set(),
    None: set(PLACES),
}
"""What a ministry of each place sees; None stands for the coordinator."""
ROUTES = (
    "/registry",
    "/v1/registry/counts?by=week,{level}",
    "/v1/registry/series?by={level}",
    "/v1/registry/comparison?by={level}",
    "/v1/registry/distribution?by=week,{level},ggo",
    "/v1/registry/releases/1",
    "/v1/registry/releases/2/changes?by=week,{level}",
    "/v1/registry/releases/1/export.csv?by=week,{level}",
    "/v1/registry/releases/1/dhis2.json?by=week,{level}",
    "/v1/registry/releases/1/measurereport.json?by=week,{level}",
)


@pytest.fixture
def two_countries(registry: Registry) -> Registry:
    """Two releases; the second one revises every place."""
    with registry.runtime.database.writing() as session:
        for place in PLACES:
            ensure_unit(session, place)
            set_population(session, place, year=2025, persons=50_000)
        add_unit(session, "XA-N01", parent="XA-N", system="own", name="First district")
    regions = {"a": "XA-N", "b": "XA-N01", "c": "XA-S", "d": "XA-S", "e": "XB-W", "f": "XB-W"}
    for number, (site, region) in enumerate(regions.items()):
        registry.enrol(f"site-{site}", region)
        registry.cases(f"site-{site}", 15 + number // 2)
    build(registry)
    for site in regions:
        registry.cases(f"site-{site}", 5)
    build(registry)
    return registry


def build(registry: Registry) -> None:
    runtime = registry.runtime
    build_release(runtime.database, disclosure_rule(runtime.settings), key=runtime.counts_key, now=registry.clock())


def headers_of(registry: Registry, region: str | None) -> dict[str, str]:
    role = Role.COORDINATOR if region is None else Role.MINISTRY
    return {"Authorization": f"Bearer {registry.add(role, region=region).api_key}"}


def test_an_answer_speaks_of_the_callers_own_places_only(two_countries: Registry, client: AsgiClient) -> None:
    spoken_of = {}
    for region, visible in VISIBLE.items():
        headers = headers_of(two_countries, region)
        for route in ROUTES:
            levels = ("country", "region") if "{level}" in route else ("",)
            texts = [client.get(route.format(level=level), headers=headers).text for level in levels]
            found = set(re.findall(r"\bX[A-C](?:-[NSW])?\b(?!-)", " ".join(texts)))
            unseen = {region} - visible  # a page may greet its caller by a place that has no counts
            spoken_of[route, region] = found - unseen
    assert spoken_of == {(route, region): visible for route in ROUTES for region, visible in VISIBLE.items()}


def test_rates_are_formed_from_the_number_that_is_shown(two_countries: Registry, client: AsgiClient) -> None:
    answer = client.get("/v1/registry/counts?by=week,region", headers=headers_of(two_countries, "XA"))
    cells = {cell["region"]: (cell["count"], cell["per_100k"]) for cell in answer.json()["cells"]}
    assert cells == {"XA-N": (40, 80.0), "XA-S": (40, 80.0)}  # 40 and 42 studies of 50,000 people
