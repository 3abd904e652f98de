"""Every route for every role: a cell that is not declared here fails. Then keys, cookies, forms and log-ins."""

import re

import pytest

from registry_api.api.access import COOKIE
from registry_api.main import create_app
from registry_api.people.roles import Role
from registry_api.people.service import disable_person
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.centre_home import SERVICE_TOKEN
from tests.unit.registry_api.conftest import ORIGIN, Registry

EVERYONE = frozenset({"nobody", *Role})
COUNTS = frozenset({Role.MINISTRY, Role.COORDINATOR, Role.AUDITOR})
ALLOWED: dict[tuple[str, str], frozenset[str]] = {
    ("GET", "/"): EVERYONE,
    ("GET", "/login"): EVERYONE,
    ("POST", "/login"): EVERYONE,
    ("POST", "/logout"): EVERYONE,
    ("GET", "/language"): EVERYONE,
    ("GET", "/registry"): COUNTS,
    ("GET", "/registry/releases/{number}/{name}.svg"): COUNTS,
    ("POST", "/v1/enrolments"): EVERYONE,
    ("GET", "/v1/ca.pem"): EVERYONE,
    ("GET", "/v1/health"): EVERYONE,
    ("GET", "/v1/sites"): frozenset({Role.SERVICE, Role.COORDINATOR}),
    ("POST", "/v1/models"): frozenset({Role.SERVICE}),
    ("GET", "/v1/models/standings"): frozenset({Role.SERVICE}),
    ("GET", "/v1/registry/dimensions"): COUNTS,
    ("GET", "/v1/registry/releases"): COUNTS,
    ("GET", "/v1/registry/releases/{number}"): COUNTS,
    ("GET", "/v1/registry/releases/{number}/body.json"): frozenset({Role.COORDINATOR, Role.AUDITOR}),
    ("GET", "/v1/registry/releases/{number}/changes"): COUNTS,
    ("GET", "/v1/registry/releases/{number}/export.csv"): COUNTS,
    ("GET", "/v1/registry/releases/{number}/dhis2.json"): COUNTS,
    ("GET", "/v1/registry/releases/{number}/measurereport.json"): COUNTS,
    ("GET", "/v1/registry/counts"): COUNTS,
    ("GET", "/v1/registry/series"): COUNTS,
    ("GET", "/v1/registry/comparison"): COUNTS,
    ("GET", "/v1/registry/distribution"): COUNTS,
    ("GET", "/v1/registry/quality"): frozenset({Role.HOSPITAL}),
    ("GET", "/quality"): frozenset({Role.HOSPITAL}),
}
READING = (
    "/v1/reads", "/v1/claims", "/v1/grants", "/v1/receipts", "/v1/readers", "/v1/credentials", "/worklist", "/availability",
    "/v1/peer-reviews", "/v1/events", "/v1/fhir", "/v1/dicom-web",
)  # fmt: skip
"""Routes of the reading exchange have a table of their own, beside their tests."""


def routes(registry: Registry) -> list[tuple[str, str]]:
    paths = create_app(registry.runtime).openapi()["paths"]
    return [
        (method.upper(), path) for path, methods in paths.items() if not path.startswith(READING) for method in methods
    ]


def test_every_route_is_declared(registry: Registry) -> None:
    assert set(routes(registry)) == ALLOWED.keys()


@pytest.mark.parametrize("who", sorted(EVERYONE))
@pytest.mark.parametrize(("method", "path"), sorted(ALLOWED))
def test_who_may_call_what(registry: Registry, client: AsgiClient, bearer, who: str, method: str, path: str) -> None:
    headers = {}
    if who == Role.SERVICE:
        headers = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
    elif who != "nobody":
        headers = bearer(Role(who))
    answer = client.request(method, re.sub(r"\{\w+\}", "1", path), headers=headers)
    if who in ALLOWED[method, path]:
        assert answer.status_code not in (401, 403), answer.text
    elif who == "nobody":
        assert answer.status_code in (401, 303)
    else:
        assert answer.status_code == 403


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
