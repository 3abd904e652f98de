"""Credentials, shifts, declarations and conflicts over HTTPS: who may do what, and whose it is."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.routing import APIRoute

from registry_api.api import readers
from registry_api.main import create_app
from registry_api.people.roles import Role
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.centre_home import SERVICE_TOKEN
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import ORIGIN, Registry

BOTH = frozenset({Role.READER, Role.COORDINATOR})
ALLOWED: dict[tuple[str, str], frozenset[Role]] = {
    ("GET", "/v1/credentials"): BOTH,
    ("POST", "/v1/credentials"): frozenset({Role.COORDINATOR}),
    ("POST", "/v1/reads/matches"): frozenset({Role.COORDINATOR}),
    ("GET", "/v1/readers/load"): frozenset({Role.COORDINATOR}),
    ("GET", "/v1/readers/{reader_id}/availability"): BOTH,
    ("PUT", "/v1/readers/{reader_id}/shifts"): BOTH,
    ("PUT", "/v1/readers/{reader_id}/declaration"): BOTH,
    ("PUT", "/v1/readers/{reader_id}/conflicts/{site}"): BOTH,
    ("DELETE", "/v1/readers/{reader_id}/conflicts/{site}"): BOTH,
}
SHIFTS = {
    "time_zone": "Europe/Lisbon",
    "shifts": [{"starts_at": "2026-03-02T08:00:00Z", "ends_at": "2026-03-02T16:00:00Z", "rule": "FREQ=WEEKLY;BYDAY=MO,WE", "capacity": 3}],
}  # fmt: skip


@pytest.fixture
def client(registry: Registry) -> Iterator[AsgiClient]:
    with AsgiClient(create_app(registry.runtime), base_url=ORIGIN) as opened:
        yield opened


@pytest.fixture
def reader(registry: Registry) -> tuple[str, dict[str, str]]:
    registry.enrol("northport")
    with registry.runtime.database.writing() as session:
        made = ready_reader(session, now=registry.clock())
    return made.person_id, {"Authorization": f"Bearer {made.api_key}"}


def test_every_route_is_declared() -> None:
    routes = [route for route in readers.router.routes if isinstance(route, APIRoute)]
    assert {(method, route.path) for route in routes for method in route.methods} == set(ALLOWED)


def test_every_role_gets_what_is_declared(client: AsgiClient, bearer: Callable[..., dict[str, str]]) -> None:
    callers: dict[str, dict[str, str]] = {role: bearer(role) for role in Role if role is not Role.SERVICE}
    callers |= {"nobody": {}, Role.SERVICE: {"Authorization": f"Bearer {SERVICE_TOKEN}"}}
    for (method, path), roles in ALLOWED.items():
        where = path.replace("{reader_id}", "a" * 32).replace("{site}", "nowhere")
        body = {} if method in {"GET", "DELETE"} else {"json": {}}
        for role, headers in callers.items():
            status = client.request(method, where, headers=headers, **body).status_code
            if role == "nobody":
                assert status == 401, (method, path)
            elif role in roles:
                assert status in {200, 204, 404, 422}, (method, path, role)
            else:
                assert status == 403, (method, path, role)


@pytest.mark.parametrize(
    "span",
    [("0001-01-01T00:00:00Z", "0001-01-01T05:00:00Z"), ("9999-12-31T10:00:00-12:00", "9999-12-31T23:00:00-12:00")],
)
def test_a_time_at_an_end_of_the_calendar_is_a_bad_request(
    client: AsgiClient, reader: tuple[str, dict[str, str]], bearer: Callable[..., dict[str, str]], span: tuple[str, str]
) -> None:
    """In another time zone it is no time any more."""
    person, headers = reader
    shifts = {"time_zone": "America/New_York", "shifts": [{"starts_at": span[0], "ends_at": span[1]}]}
    licence = {"reader_id": person, "jurisdiction": "XA", "valid_until": span[1], "evidence": "GMC:1"}
    for method, path, who, body in (
        ("PUT", f"/v1/readers/{person}/shifts", headers, shifts),
        ("POST", "/v1/credentials", bearer(Role.COORDINATOR), licence),
    ):
        answer = client.request(method, path, headers=who, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad-request"), path


def test_a_reader_keeps_their_own_shifts(
    client: AsgiClient, reader: tuple[str, dict[str, str]], registry: Registry
) -> None:
    person, headers = reader
    assert client.request("PUT", f"/v1/readers/{person}/shifts", headers=headers, json=SHIFTS).status_code == 204
    told = client.get(f"/v1/readers/{person}/availability", headers=headers).json()
    assert (told["presence"], told["time_zone"], told["until"]) == ("on-shift", "Europe/Lisbon", "2026-03-04T16:00:00Z")
    assert told["shifts"] == [SHIFTS["shifts"][0] | {"repeats_until": None}]  # type: ignore[operator]
    registry.clock.pass_(days=1)
    assert client.get(f"/v1/readers/{person}/availability", headers=headers).json()["presence"] == "off-shift"
    said = {"says": "available", "until": "2026-03-05T18:00:00Z"}
    assert client.request("PUT", f"/v1/readers/{person}/declaration", headers=headers, json=said).status_code == 204
    told = client.get(f"/v1/readers/{person}/availability", headers=headers).json()
    assert (told["presence"], told["declared"], told["declared_until"]) == ("available", "available", said["until"])
    assert (
        client.request(
            "PUT", f"/v1/readers/{person}/declaration", headers=headers, json={"says": "nothing"}
        ).status_code
        == 204
    )
    assert client.get(f"/v1/readers/{person}/availability", headers=headers).json()["declared"] is None


def test_another_readers_settings_look_absent(
    client: AsgiClient, reader: tuple[str, dict[str, str]], bearer: Callable[..., dict[str, str]]
) -> None:
    person, _ = reader
    stranger = bearer(Role.READER)
    answers = [
        client.get(f"/v1/readers/{person}/availability", headers=stranger),
        client.request("PUT", f"/v1/readers/{person}/shifts", headers=stranger, json=SHIFTS),
        client.request("PUT", f"/v1/readers/{person}/declaration", headers=stranger, json={"says": "nothing"}),
        client.request("PUT", f"/v1/readers/{person}/conflicts/northport", headers=stranger),
        client.request("DELETE", f"/v1/readers/{person}/conflicts/northport", headers=stranger),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert client.get("/v1/credentials", headers=stranger).json() == []


@pytest.mark.parametrize("who", ["nobody", "somebody else"])
def test_to_a_coordinator_whoever_is_no_reader_looks_absent(
    client: AsgiClient, registry: Registry, bearer: Callable[..., dict[str, str]], who: str
) -> None:
    registry.enrol("northport")
    coordinator = bearer(Role.COORDINATOR)
    person = registry.add(Role.AUDITOR).person_id if who == "somebody else" else "a" * 32
    asked: list[tuple[str, str, dict[str, object]]] = [
        ("GET", "availability", {}),
        ("PUT", "shifts", {"json": SHIFTS}),
        ("PUT", "declaration", {"json": {"says": "nothing"}}),
        ("PUT", "conflicts/northport", {}),
        ("DELETE", "conflicts/northport", {}),
    ]
    answers = [client.request(m, f"/v1/readers/{person}/{p}", headers=coordinator, **body) for m, p, body in asked]
    assert [(one.status_code, one.json()["code"]) for one in answers] == [(404, "not-found")] * 5


def test_a_conflict_is_declared_and_taken_back(client: AsgiClient, reader: tuple[str, dict[str, str]]) -> None:
    person, headers = reader
    path = f"/v1/readers/{person}/conflicts/northport"
    assert client.request("PUT", path, headers=headers).status_code == 204
    assert client.get(f"/v1/readers/{person}/availability", headers=headers).json()["conflicts"] == ["northport"]
    assert client.request("DELETE", path, headers=headers).status_code == 204
    assert client.get(f"/v1/readers/{person}/availability", headers=headers).json()["conflicts"] == []


def test_the_coordinator_writes_down_whose_evidence_they_saw(
    client: AsgiClient, reader: tuple[str, dict[str, str]], bearer: Callable[..., dict[str, str]]
) -> None:
    person, headers = reader
    coordinator = bearer(Role.COORDINATOR)
    seen = {"reader_id": person, "valid_until": "2027-01-01T00:00:00Z", "evidence": "sha256:" + "ab" * 32}
    for what in ({"jurisdiction": "XB", "language": "pt"}, {"subspecialty": "thoracic"}):
        assert client.post("/v1/credentials", headers=coordinator, json=seen | what).status_code == 204
    shown = client.get("/v1/credentials", headers=headers).json()
    assert [(one["what"], one["language"]) for one in shown] == [("XA", "en"), ("XB", "pt"), ("thoracic", None)]
    assert shown[1]["valid_until"] == "2027-01-01T00:00:00Z"
    assert client.get("/v1/credentials", headers=coordinator).json() == shown


@pytest.mark.parametrize(
    "body",
    [
        {"evidence": "scan of the diploma.pdf", "jurisdiction": "XB"},
        {"evidence": "X:1"},
        {"evidence": "X:1", "jurisdiction": "XB", "subspecialty": "thoracic"},
        {"evidence": "X:1", "jurisdiction": "XB", "valid_until": "2026-01-01T00:00:00Z"},
        {"evidence": "X:1", "jurisdiction": "XB", "valid_until": "2027-01-01T00:00:00"},
    ],
)
def test_a_credential_without_all_it_needs_is_refused(
    client: AsgiClient, reader: tuple[str, dict[str, str]], bearer: Callable[..., dict[str, str]], body: dict[str, str]
) -> None:
    whole = {"reader_id": reader[0], "valid_until": "2027-01-01T00:00:00Z"} | body
    answer = client.post("/v1/credentials", headers=bearer(Role.COORDINATOR), json=whole)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")
