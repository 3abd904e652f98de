"""Every route for every role in one table: a route on which nobody decided fails. Then keys, cookies, forms and log-ins."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from registry_api.api.access import COOKIE
from registry_api.main import create_app
from registry_api.people.roles import Role
from registry_api.people.service import disable_person
from registry_api.runtime import build_runtime
from registry_api.units.service import add_unit, ensure_unit
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.centre_home import SERVICE_TOKEN
from tests.unit.registry_api.conftest import ORIGIN, Clock, Registry, copied
from tests.unit.registry_api.reading.test_reader_routes import ALLOWED as READERS
from tests.unit.registry_api.reading.test_routes import ALLOWED as READING

EVERYONE = frozenset({"nobody", *Role})
COUNTS = frozenset({Role.MINISTRY, Role.COORDINATOR, Role.AUDITOR})
ALLOWED: dict[tuple[str, str], frozenset[str]] = {
    ("GET", "/"): EVERYONE,
    ("GET", "/login"): EVERYONE,
    ("POST", "/login"): EVERYONE,
    ("POST", "/logout"): EVERYONE,
    ("GET", "/language"): EVERYONE,
    ("GET", "/login/oidc"): EVERYONE,
    ("GET", "/login/oidc/callback"): EVERYONE,
    ("GET", "/registry"): COUNTS,
    ("GET", "/registry/releases/{number}/{name}.svg"): COUNTS,
    ("POST", "/v1/enrolments"): EVERYONE,
    ("GET", "/v1/ca.pem"): EVERYONE,
    ("GET", "/v1/health"): EVERYONE,
    ("GET", "/v1/public/weeks"): EVERYONE,
    ("GET", "/v1/public/weeks/{week}"): EVERYONE,
    ("GET", "/v1/sites"): frozenset({Role.SERVICE, Role.COORDINATOR}),
    ("POST", "/v1/models"): frozenset({Role.SERVICE}),
    ("PUT", "/v1/models/lists"): frozenset({Role.SERVICE}),
    ("GET", "/v1/models/standings"): frozenset({Role.SERVICE}),
    ("GET", "/v1/registry/dimensions"): COUNTS,
    ("GET", "/v1/registry/releases"): COUNTS,
    ("GET", "/v1/registry/releases/{number}"): COUNTS,
    ("GET", "/v1/registry/releases/{number}/body.json"): frozenset({Role.COORDINATOR, Role.AUDITOR}),
    ("GET", "/v1/registry/releases/{number}/changes"): COUNTS,
    ("GET", "/v1/registry/releases/{number}/export.csv"): COUNTS,
    ("GET", "/v1/registry/releases/{number}/export.parquet"): COUNTS,
    ("GET", "/v1/registry/releases/{number}/dhis2.json"): COUNTS,
    ("GET", "/v1/registry/releases/{number}/measurereport.json"): COUNTS,
    ("GET", "/v1/registry/counts"): COUNTS,
    ("GET", "/v1/registry/series"): COUNTS,
    ("GET", "/v1/registry/comparison"): COUNTS,
    ("GET", "/v1/registry/distribution"): COUNTS,
    ("GET", "/v1/registry/quality"): frozenset({Role.HOSPITAL}),
    ("GET", "/v1/registry/read-log"): frozenset({Role.HOSPITAL, Role.COORDINATOR, Role.AUDITOR}),
    ("GET", "/v1/registry/alerts"): frozenset({Role.MINISTRY, Role.COORDINATOR}),
    ("POST", "/v1/registry/alerts"): frozenset({Role.MINISTRY, Role.COORDINATOR}),
    ("DELETE", "/v1/registry/alerts/{rule_id}"): frozenset({Role.MINISTRY, Role.COORDINATOR}),
    ("GET", "/alerts"): frozenset({Role.MINISTRY, Role.COORDINATOR}),
    ("POST", "/alerts/add"): frozenset({Role.MINISTRY, Role.COORDINATOR}),
    ("POST", "/alerts/remove"): frozenset({Role.MINISTRY, Role.COORDINATOR}),
    ("GET", "/quality"): frozenset({Role.HOSPITAL}),
    ("GET", "/availability"): frozenset({Role.READER}),
    ("POST", "/availability/declare"): frozenset({Role.READER}),
    ("POST", "/availability/shifts"): frozenset({Role.READER}),
    ("POST", "/availability/shifts/remove"): frozenset({Role.READER}),
    ("POST", "/availability/conflicts"): frozenset({Role.READER}),
}
HIDDEN = {("GET", "/v1/openapi.json"): EVERYONE}
"""Served, and not in the document of the API itself."""
DECIDED: dict[tuple[str, str], frozenset[str]] = {**ALLOWED, **HIDDEN, **READING, **READERS}
"""Every route: those of the reading exchange are declared beside its tests."""


def served(routes: Iterable[BaseRoute]) -> set[tuple[str, str]]:
    """Every route of an application, with its methods, in whatever it is nested; files of /static are open to all."""
    found = set()
    for route in routes:
        if isinstance(route, Mount):
            assert route.path == "/static"
        elif isinstance(route, Route | APIRoute):
            found |= {(method, route.path) for method in route.methods or ()} - {("HEAD", route.path)}
        else:
            found |= served(route.original_router.routes)  # FastAPI nests what was included
    return found


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, centre_files: Path) -> Iterator[Registry]:
    clock = Clock()
    built = Registry(
        build_runtime(copied(centre_files, tmp_path_factory.mktemp("access") / "home"), clock=clock), clock
    )
    built.enrol("somewhere")
    yield built
    built.close()


def test_every_route_that_is_served_is_decided_on(own: Registry) -> None:
    app = create_app(own.runtime)
    documented = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    assert served(app.routes) | documented == DECIDED.keys()


@pytest.mark.parametrize("who", sorted(EVERYONE))
def test_who_may_call_what(own: Registry, who: str) -> None:
    """One role after the other at every route. What is let in may still be told that its values are wrong."""
    headers = {} if who == "nobody" else {"Authorization": f"Bearer {SERVICE_TOKEN}"}
    if who not in ("nobody", Role.SERVICE):
        site = "somewhere" if who == Role.HOSPITAL else None
        region = "XA" if who == Role.MINISTRY else None
        headers = {"Authorization": f"Bearer {own.add(Role(who), site=site, region=region).api_key}"}
    with AsgiClient(create_app(own.runtime), base_url=ORIGIN) as client:
        for (method, path), allowed in DECIDED.items():
            answer = client.request(method, re.sub(r"\{\w+\}", "1", path), headers={**headers, "If-Match": '"1"'})
            refused = (401, 303) if who == "nobody" else (403,)
            if who in allowed:
                assert answer.status_code not in (401, 403), (method, path, answer.text)
            else:
                assert answer.status_code in refused, (method, path, answer.text)


def test_a_coordinator_of_a_place_sees_the_sites_of_that_place(registry: Registry, client: AsgiClient) -> None:
    with registry.runtime.database.writing() as session:
        ensure_unit(session, "XA-N")
        add_unit(session, "XA-N01", parent="XA-N", system="urn:oid:1.2.3", name="First district")
    for site, region in {"north": "XA-N", "district": "XA-N01", "south": "XA-S", "abroad": "XB"}.items():
        registry.enrol(site, region)

    def seen(headers: dict[str, str]) -> list[str]:
        return [one["site"] for one in client.get("/v1/sites", headers=headers).json()]

    everything = ["abroad", "district", "north", "south"]
    by_place = {None: everything, "XA": everything[1:], "XA-N": ["district", "north"], "XB": ["abroad"], "XC": []}
    assert {place: seen(registry.key_of(Role.COORDINATOR, region=place)) for place in by_place} == by_place
    assert seen({"Authorization": f"Bearer {SERVICE_TOKEN}"}) == everything


def log_in(client: AsgiClient, api_key: str, **form: str):
    return client.post("/login", data={"api_key": api_key, **form})


def test_a_wrong_key_is_unauthenticated(client: AsgiClient) -> None:
    answer = client.get("/v1/sites", headers={"Authorization": "Bearer acn_wrong"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["code"] == "unauthenticated"


def test_another_scheme_is_unauthenticated(registry: Registry, client: AsgiClient) -> None:
    key = registry.add(Role.COORDINATOR).api_key
    assert client.get("/v1/sites", headers={"Authorization": f"Basic {key}"}).status_code == 401


def test_a_removed_persons_key_is_unauthenticated(registry: Registry, client: AsgiClient) -> None:
    added = registry.add(Role.COORDINATOR)
    with registry.runtime.database.writing() as session:
        disable_person(session, added.person_id, now=registry.clock())
    assert client.get("/v1/sites", headers={"Authorization": f"Bearer {added.api_key}"}).status_code == 401


def test_logging_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(
    registry: Registry, client: AsgiClient
) -> None:
    answer = log_in(client, registry.add(Role.MINISTRY, region="XA").api_key)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/registry")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(COOKIE + "=")
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"))
    assert "Domain" not in cookie
    assert client.get("/registry").status_code == 200


def test_without_a_login_pages_lead_to_it_and_back(registry: Registry, client: AsgiClient) -> None:
    answer = client.get("/registry")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=/registry")
    key = registry.add(Role.COORDINATOR).api_key
    assert log_in(client, key, next="/registry").headers["Location"] == "/registry"


@pytest.mark.parametrize(
    "away", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\n//x"]
)
def test_the_login_leads_nowhere_else(registry: Registry, client: AsgiClient, away: str) -> None:
    key = registry.add(Role.COORDINATOR).api_key
    assert log_in(client, key, next=away).headers["Location"] == "/"


def test_five_failed_logins_close_the_door_for_a_while(registry: Registry, client: AsgiClient) -> None:
    key = registry.add(Role.COORDINATOR).api_key
    for _ in range(5):
        assert log_in(client, "acn_wrong").status_code == 401
    assert log_in(client, key).status_code == 429
    assert client.get("/v1/sites", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    registry.clock.pass_(minutes=15)
    assert log_in(client, key).status_code == 303


def test_other_addresses_may_still_log_in(registry: Registry, client: AsgiClient) -> None:
    for _ in range(6):
        log_in(client, "acn_wrong")
    with AsgiClient(create_app(registry.runtime), base_url=ORIGIN, address="10.0.0.9") as other:
        assert log_in(other, registry.add(Role.COORDINATOR).api_key).status_code == 303


def test_many_wrong_api_keys_are_slowed_down(registry: Registry, client: AsgiClient) -> None:
    statuses = [client.get("/v1/sites", headers={"Authorization": "Bearer acn_wrong"}).status_code for _ in range(61)]
    assert statuses == [401] * 60 + [429]


def form_token(client: AsgiClient) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/").text)
    assert found
    return found[1]


def test_a_form_without_its_token_does_nothing(registry: Registry, client: AsgiClient) -> None:
    log_in(client, registry.add(Role.COORDINATOR).api_key)
    for form in ({}, {"csrf": "guess"}):
        assert client.post("/logout", data=form).status_code == 403
    assert client.get("/registry").status_code == 200


def test_a_form_of_another_site_does_nothing_even_with_the_token(registry: Registry, client: AsgiClient) -> None:
    log_in(client, registry.add(Role.COORDINATOR).api_key)
    form = {"csrf": form_token(client)}
    foreign = {"Origin": "https://evil.example"}
    assert client.post("/logout", data=form, headers=foreign).status_code == 403
    assert client.post("/logout", data=form, headers={"Origin": ORIGIN}).status_code == 303


def test_a_script_of_ours_may_send_the_token_as_a_header(registry: Registry, client: AsgiClient) -> None:
    log_in(client, registry.add(Role.COORDINATOR).api_key)
    assert client.post("/logout", headers={"X-CSRF-Token": form_token(client)}).status_code == 303


def test_a_login_form_of_another_site_is_refused(registry: Registry, client: AsgiClient) -> None:
    key = registry.add(Role.COORDINATOR).api_key
    answer = client.post("/login", data={"api_key": key}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_an_api_key_needs_no_form_token(client: AsgiClient, bearer) -> None:
    assert client.post("/logout", headers=bearer(Role.COORDINATOR)).status_code == 303


def test_logging_out_ends_it(registry: Registry, client: AsgiClient) -> None:
    log_in(client, registry.add(Role.COORDINATOR).api_key)
    cookie = client.cookies[COOKIE]
    client.post("/logout", data={"csrf": form_token(client)})
    answer = client.get("/registry", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert answer.status_code == 303
