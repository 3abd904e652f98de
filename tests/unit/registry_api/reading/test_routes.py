"""The exchange over HTTPS: who may do what, codes and statuses, and a whole read by a program and by the page's forms."""

import asyncio
import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from joserfc import jws

from protocol.reading import ReadPost
from registry_api import serve
from registry_api.api import events, facade, reads, reviews
from registry_api.main import create_app
from registry_api.pages import statistics, worklist
from registry_api.people.roles import Role
from registry_api.reading.claims import claim, sweep
from registry_api.reading.lifecycle import HEARTBEAT
from registry_api.reading.reviews import draw
from registry_api.reading.tables import SlotRow
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.centre_home import SERVICE_TOKEN
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import ORIGIN, Registry
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import ACCEPT, HASH, acknowledged, delivered, opened, receipt

READERS = frozenset({Role.READER})
COORDINATORS = frozenset({Role.COORDINATOR})
BOTH = frozenset({Role.READER, Role.COORDINATOR})
SEEING = frozenset({Role.READER, Role.HOSPITAL, Role.COORDINATOR})
ALLOWED: dict[tuple[str, str], frozenset[Role]] = {
    ("GET", "/v1/reads"): BOTH,
    ("GET", "/v1/reads/next"): READERS,
    ("POST", "/v1/reads/{request_id}:skip"): READERS,
    ("GET", "/v1/reads/{request_id}"): BOTH,
    ("POST", "/v1/reads/{request_id}/claims"): READERS,
    ("POST", "/v1/reads/{request_id}/slots/{number}:reassign"): COORDINATORS,
    ("PUT", "/v1/claims/{claim_id}/heartbeat"): READERS,
    ("POST", "/v1/claims/{claim_id}/grants"): READERS,
    ("POST", "/v1/claims/{claim_id}:release"): READERS,
    ("POST", "/v1/claims/{claim_id}:sign"): READERS,
    ("POST", "/v1/claims/{claim_id}:amend"): READERS,
    ("DELETE", "/v1/grants/{jti}"): BOTH,
    ("POST", "/v1/peer-reviews"): READERS,
    ("GET", "/v1/fhir/metadata"): SEEING,
    ("GET", "/v1/fhir/{kind}"): SEEING,
    ("GET", "/v1/fhir/{kind}/{resource_id}"): SEEING,
    ("GET", "/v1/dicom-web/workitems"): SEEING,
    ("GET", "/v1/dicom-web/workitems/{uid}"): SEEING,
    ("GET", "/v1/events"): SEEING,
    ("GET", "/v1/reads/statistics"): SEEING,
    ("GET", "/v1/reads/statistics/group"): frozenset(),  # for who leads a group, which none of these does
    ("GET", "/statistics"): SEEING,
    ("GET", "/statistics/group"): frozenset(),
    ("GET", "/worklist"): BOTH,
    ("POST", "/worklist/claim"): READERS,
    ("POST", "/worklist/release"): READERS,
    ("POST", "/worklist/open"): READERS,
    ("POST", "/worklist/sign"): READERS,
    ("POST", "/worklist/amend"): READERS,
    ("POST", "/worklist/review"): READERS,
    ("POST", "/worklist/skip"): READERS,
    ("POST", "/worklist/reassign"): COORDINATORS,
}
JKT = "j" * 43
ID = "a" * 32
BODIES: dict[str, dict[str, object]] = {
    "grants": {"jkt": JKT},
    "sign": {"report_sha256": HASH},
    "reassign": {},
    "skip": {"reason": "no-time"},
    "peer-reviews": {"claim_id": ID, "score": 1},
}
FORM = {
    "request_id": ID,
    "claim_id": ID,
    "fence": "1",
    "jkt": JKT,
    "report_sha256": HASH,
    "number": "1",
    "reader_id": ID,
    "reason": "no-time",
    "score": "1",
}


@dataclass
class Reader:
    """A reader with a licence for XA who may read for northport."""

    person_id: str
    headers: dict[str, str]
    api_key: str


@pytest.fixture
def app(registry: Registry) -> FastAPI:
    return create_app(registry.runtime)


@pytest.fixture
def client(app: FastAPI) -> Iterator[AsgiClient]:
    with AsgiClient(app, base_url=ORIGIN) as opened_client:
        yield opened_client


@pytest.fixture
def reader(registry: Registry) -> Reader:
    registry.enrol("northport")
    return make_reader(registry)


def make_reader(registry: Registry) -> Reader:
    with registry.runtime.database.writing() as session:
        person = ready_reader(session, now=registry.clock())
    return Reader(person.person_id, {"Authorization": f"Bearer {person.api_key}"}, person.api_key)


def arrives(registry: Registry, parcel: object, site: str = "northport") -> None:
    with registry.runtime.database.writing() as session:
        ACCEPT[parcel.kind](session, site, parcel, registry.clock())  # type: ignore[attr-defined]


@dataclass
class Hold:
    """A claim as its holder got it, with the names that the parcels use."""

    claim_id: str
    request_id: str
    fence: int


def test_every_route_is_declared() -> None:
    found = [route for part in (reads, reviews, events, facade, worklist, statistics) for route in part.router.routes]
    assert {(method, r.path) for r in found if isinstance(r, APIRoute) for method in r.methods} == set(ALLOWED)


def test_the_registry_serves_the_routes(app: FastAPI) -> None:
    served = app.openapi()["paths"]
    assert {path for _, path in ALLOWED} <= set(served)


def test_a_connection_outlives_the_pause_between_two_heartbeats(registry: Registry) -> None:
    assert serve._web_config(registry.runtime).timeout_keep_alive > HEARTBEAT.total_seconds()


def test_leases_are_looked_at_while_the_registry_serves(
    app: FastAPI, registry: Registry, reader: Reader, post: Callable[..., ReadPost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "SWEEP_SECONDS", 0.01)
    arrives(registry, post())
    with registry.runtime.database.writing() as session:
        claim(session, REQUEST, reader.person_id, now=registry.clock())
    registry.clock.pass_(hours=3)

    async def serve_a_moment() -> None:
        async with app.router.lifespan_context(app):
            for _ in range(200):
                await asyncio.sleep(0.01)
                if state() == "open":
                    return

    def state() -> str:
        with registry.runtime.database.reading() as session:
            return session.get_one(SlotRow, (REQUEST, 1)).state

    assert state() == "claimed"
    asyncio.run(serve_a_moment())
    assert state() == "open"


@pytest.mark.parametrize("role", ["nobody", *Role])
def test_every_role_gets_what_is_declared(client: AsgiClient, bearer: Callable[..., dict[str, str]], role: str) -> None:
    headers = {} if role == "nobody" else {"Authorization": f"Bearer {SERVICE_TOKEN}"}
    if role not in {"nobody", Role.SERVICE}:
        headers = bearer(Role(role))
    wrong = {}
    for (method, path), roles in ALLOWED.items():
        expected = {401, 303} if role == "nobody" else {200, 404} if role in roles else {403}
        status = asked(client, method, path, headers).status_code
        if status not in expected:
            wrong[method, path] = status
    assert wrong == {}


def asked(client: AsgiClient, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """Ask one route for things that are not there."""
    path = path.replace("{number}", "1").replace("{kind}", "Task").replace("{uid}", "2.25.1")
    path = re.sub(r"\{\w+\}", ID, path)
    body = BODIES.get(re.sub(r".*[/:]", "", path), {})
    content = {"data": FORM} if path.startswith("/worklist") else {"json": body}
    extra = {} if method in {"GET", "DELETE"} else content
    query = {"params": {"follow": "false"}} if path == "/v1/events" else {}
    return client.request(method, path, headers=headers | {"If-Match": '"1"'}, **extra, **query)


def test_a_program_reads_from_claim_to_close(
    client: AsgiClient, registry: Registry, reader: Reader, post: Callable[..., ReadPost]
) -> None:
    arrives(registry, post())
    (offered,) = client.get("/v1/reads?eligible=me", headers=reader.headers).json()
    assert (offered["request_id"], offered["site"], offered["eligible"]) == (REQUEST, "northport", True)
    answer = client.post(f"/v1/reads/{REQUEST}/claims", headers=reader.headers)
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"')
    held = Hold(answer.json()["claim_id"], REQUEST, answer.json()["fence"])
    granted = client.post(f"/v1/claims/{held.claim_id}/grants", headers=reader.headers, json={"jkt": JKT}).json()
    assert (granted["gateway"], granted["request_id"]) == ("https://gateway.example:9443", REQUEST)
    said = json.loads(jws.extract_compact(granted["token"].encode()).payload)
    assert (said["aud"], said["cnf"], said["exp"] - said["iat"]) == ("northport", {"jkt": JKT}, 600)
    arrives(registry, opened(held))  # type: ignore[arg-type]
    beat = client.request("PUT", f"/v1/claims/{held.claim_id}/heartbeat", headers=reader.headers).json()
    assert beat["state"] == "reading"
    arrives(registry, receipt(held))  # type: ignore[arg-type]
    signing = {"headers": reader.headers | {"If-Match": '"1"'}, "json": {"report_sha256": HASH}}
    assert client.post(f"/v1/claims/{held.claim_id}:sign", **signing).json() == {"state": "signed"}
    arrives(registry, delivered(held))  # type: ignore[arg-type]
    arrives(registry, acknowledged(held))  # type: ignore[arg-type]
    view = client.get(f"/v1/reads/{REQUEST}", headers=reader.headers).json()
    assert (view["state"], view["slots"][0]["state"], view["task_status"]) == ("closed", "closed", "completed")
    assert [event["event"] for event in view["events"]][-2:] == ["delivered", "acknowledged"]


def test_faults_have_codes_and_statuses(
    client: AsgiClient, registry: Registry, reader: Reader, post: Callable[..., ReadPost]
) -> None:
    arrives(registry, post())
    other = make_reader(registry)
    held = client.post(f"/v1/reads/{REQUEST}/claims", headers=reader.headers).json()["claim_id"]

    def said(method: str, path: str, who: Reader = reader, **content: object) -> tuple[int, str]:
        answer = client.request(method, path, headers=who.headers | {"If-Match": '"7"'}, **content)
        return answer.status_code, answer.json()["code"]

    assert said("POST", f"/v1/reads/{REQUEST}/claims", other) == (409, "illegal-transition")
    assert said("POST", f"/v1/reads/{ID}/claims") == (404, "not-found")
    assert said("POST", "/v1/reads/not-an-id/claims") == (422, "bad-request")
    assert said("POST", f"/v1/claims/{held}:release") == (409, "stale-fence")
    assert said("POST", f"/v1/claims/{held}:sign", json={"report_sha256": HASH}) == (409, "stale-fence")
    assert said("POST", f"/v1/claims/{held}/grants", other, json={"jkt": JKT}) == (404, "not-found")
    assert said("POST", f"/v1/claims/{held}/grants", json={"jkt": "short"}) == (422, "bad-request")
    assert said("PUT", f"/v1/claims/{held}/heartbeat", other) == (404, "not-found")
    assert said("DELETE", f"/v1/grants/{ID}") == (404, "not-found")
    for fence in (b"x", b"", b'"-1"', "²".encode("latin-1")):
        answer = client.post(f"/v1/claims/{held}:release", headers=reader.headers | {"If-Match": fence})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")
    registry.clock.pass_(hours=3)
    assert said("PUT", f"/v1/claims/{held}/heartbeat") == (409, "stale-fence")


def test_a_lapsed_claim_is_free_again_without_anybody_claiming(
    client: AsgiClient, registry: Registry, reader: Reader, post: Callable[..., ReadPost]
) -> None:
    arrives(registry, post())
    client.post(f"/v1/reads/{REQUEST}/claims", headers=reader.headers)
    registry.clock.pass_(hours=3)
    with registry.runtime.database.writing() as session:
        assert sweep(session, now=registry.clock()) == 1
    assert len(client.get("/v1/reads?eligible=me", headers=reader.headers).json()) == 1


def logged_in(client: AsgiClient, reader: Reader) -> str:
    """Log in on the pages and return the form token."""
    assert client.post("/login", data={"api_key": reader.api_key}).status_code == 303
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/worklist").text)
    assert found is not None
    return html.unescape(found[1])


def test_a_person_reads_by_the_pages_forms(
    client: AsgiClient, registry: Registry, reader: Reader, post: Callable[..., ReadPost]
) -> None:
    arrives(registry, post())
    csrf = logged_in(client, reader)

    def send(step: str, **fields: object) -> int:
        return client.post(f"/worklist/{step}", data={"csrf": csrf} | fields).status_code

    assert send("claim", request_id=REQUEST) == 303
    page = client.get("/worklist").text
    held = Hold(re.findall(r'data-claim="([0-9a-f]{32})"', page)[0], REQUEST, 1)
    assert "https://gateway.example:9443/reader" in page
    shown = client.post("/worklist/open", data={"csrf": csrf, "claim_id": held.claim_id, "jkt": JKT})
    link = re.findall(r'href="(https://gateway[^"]+)"', shown.text)[0]
    assert link.startswith("https://gateway.example:9443/session#ey")
    assert shown.headers["Cache-Control"] == "no-store"
    assert shown.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}
    assert 'rel="noreferrer"' in shown.text
    assert JKT in client.get("/worklist").text
    arrives(registry, opened(held))  # type: ignore[arg-type]
    arrives(registry, receipt(held))  # type: ignore[arg-type]
    assert HASH in client.get("/worklist").text
    assert send("sign", claim_id=held.claim_id, fence=1, report_sha256=HASH) == 303
    assert "signed" in client.get("/worklist").text
    assert send("release", claim_id=held.claim_id, fence=1) == 409


def test_a_form_without_its_token_does_nothing(
    client: AsgiClient, registry: Registry, reader: Reader, post: Callable[..., ReadPost]
) -> None:
    arrives(registry, post())
    logged_in(client, reader)
    assert client.post("/worklist/claim", data={"request_id": REQUEST}).status_code == 403
    assert client.post("/worklist/claim", data={"request_id": REQUEST, "csrf": "x"}).status_code == 403
    assert "Waiting for a reader" in client.get("/worklist").text
    assert "data-claim" not in client.get("/worklist").text


def test_the_page_gives_reasons_and_the_coordinator_sees_states(
    client: AsgiClient,
    registry: Registry,
    reader: Reader,
    post: Callable[..., ReadPost],
    bearer: Callable[..., dict[str, str]],
) -> None:
    arrives(registry, post(language="pt"))
    text = client.get("/worklist", headers=reader.headers).text
    assert "You do not report in the language" in text
    assert "60-69" not in text
    seen = client.get("/worklist", headers=bearer(Role.COORDINATOR)).text
    assert REQUEST[:8] in seen
    assert "open" in seen
    assert client.get("/v1/reads", headers=bearer(Role.COORDINATOR)).json()[0]["site"] == "northport"


def test_nobody_is_led_to_the_log_in(client: AsgiClient) -> None:
    answer = client.get("/worklist")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=/worklist")


def test_the_coordinator_reassigns_by_program_and_by_page(
    client: AsgiClient, registry: Registry, reader: Reader, post: Callable[..., ReadPost]
) -> None:
    arrives(registry, post())
    other = make_reader(registry)
    key = registry.add(Role.COORDINATOR).api_key
    headers = {"Authorization": f"Bearer {key}"}
    client.post(f"/v1/reads/{REQUEST}/claims", headers=reader.headers)
    taken = client.post(f"/v1/reads/{REQUEST}/slots/1:reassign", headers=headers, json={"reader_id": other.person_id})
    (slot,) = taken.json()["slots"]
    assert (slot["state"], slot["reader_id"], slot["fence"]) == ("claimed", other.person_id, 2)
    assert client.get(f"/v1/reads/{REQUEST}", headers=other.headers).json()["slots"][0]["reader_id"] is None
    csrf = logged_in(client, Reader("", {}, key))
    assert "Take back" in client.get("/worklist").text
    fields = {"csrf": csrf, "request_id": REQUEST, "number": "1", "reader_id": ""}
    assert client.post("/worklist/reassign", data=fields).status_code == 303
    assert client.get(f"/v1/reads/{REQUEST}", headers=headers).json()["state"] == "open"
    assert client.post("/worklist/reassign", data=fields | {"reader_id": "x"}).status_code == 422


def test_the_sweep_looks_at_clocks_too(registry: Registry, reader: Reader, post: Callable[..., ReadPost]) -> None:
    arrives(registry, post())
    registry.clock.pass_(hours=12)
    reads._sweep_once(registry.runtime)
    with registry.runtime.database.reading() as session:
        assert session.get_one(SlotRow, (REQUEST, 1)).escalation == 1


def test_a_peer_review_by_program_and_what_becomes_of_it(
    client: AsgiClient, registry: Registry, reader: Reader, post: Callable[..., ReadPost]
) -> None:
    arrives(registry, post())
    made = client.post(f"/v1/reads/{REQUEST}/claims", headers=reader.headers).json()
    held = Hold(made["claim_id"], REQUEST, made["fence"])
    for parcel in (opened(held), receipt(held)):  # type: ignore[arg-type]
        arrives(registry, parcel)
    signing = {"headers": reader.headers | {"If-Match": "1"}, "json": {"report_sha256": HASH}}
    client.post(f"/v1/claims/{held.claim_id}:sign", **signing)
    arrives(registry, delivered(held))  # type: ignore[arg-type]
    with registry.runtime.database.writing() as session:
        draw(session, percent=100, now=registry.clock())
    reviewer = make_reader(registry)
    claimed = client.post(f"/v1/reads/{REQUEST}/claims", headers=reviewer.headers).json()
    arrives(registry, opened(Hold(claimed["claim_id"], REQUEST, claimed["fence"])))  # type: ignore[arg-type]
    headers = reviewer.headers | {"If-Match": "1"}
    for score, status in ((0, 422), (5, 422), (4, 201), (4, 409)):
        answer = client.post(
            "/v1/peer-reviews", headers=headers, json={"claim_id": claimed["claim_id"], "score": score}
        )
        assert answer.status_code == status, answer.text
    registry.clock.pass_(seconds=1)
    own = client.get("/v1/reads/statistics?days=7", headers=reader.headers).json()
    assert (own["overall"]["turnaround"]["reads"], own["overall"]["reviews"]["4"]) == (1, 1)
    assert own["hospitals"] == {}
    site = registry.add(Role.HOSPITAL, site="northport").api_key
    seen = client.get("/v1/reads/statistics", headers={"Authorization": f"Bearer {site}"}).json()
    assert seen["overall"]["turnaround"]["reads"] == 1
    coordinator = registry.add(Role.COORDINATOR).api_key
    whole = client.get("/v1/reads/statistics", headers={"Authorization": f"Bearer {coordinator}"}).json()
    assert list(whole["hospitals"]) == ["northport"]
    assert client.get("/v1/reads/statistics?days=0", headers=reader.headers).status_code == 422


def test_a_person_reviews_and_amends_by_the_pages_forms(
    client: AsgiClient, registry: Registry, reader: Reader, post: Callable[..., ReadPost]
) -> None:
    arrives(registry, post())
    made = client.post(f"/v1/reads/{REQUEST}/claims", headers=reader.headers).json()
    held = Hold(made["claim_id"], REQUEST, made["fence"])
    for parcel in (opened(held), receipt(held)):  # type: ignore[arg-type]
        arrives(registry, parcel)
    signing = {"headers": reader.headers | {"If-Match": "1"}, "json": {"report_sha256": HASH}}
    client.post(f"/v1/claims/{held.claim_id}:sign", **signing)
    arrives(registry, delivered(held))  # type: ignore[arg-type]
    fields = {"csrf": logged_in(client, reader), "claim_id": held.claim_id, "fence": 1}
    assert "Amend the report" in client.get("/worklist").text
    assert client.post("/worklist/amend", data=fields).status_code == 303
    page = client.get("/worklist").text
    assert "Leave it as signed" in page
    assert "Sign this report" not in page
    arrives(registry, receipt(held, version=2, report_sha256="5e" * 32))  # type: ignore[arg-type]
    assert "Sign this report" in client.get("/worklist").text
    assert client.post("/worklist/release", data=fields).status_code == 303
    with registry.runtime.database.writing() as session:
        draw(session, percent=100, now=registry.clock())
    reviewer = make_reader(registry)
    claimed = client.post(f"/v1/reads/{REQUEST}/claims", headers=reviewer.headers).json()
    arrives(registry, opened(Hold(claimed["claim_id"], REQUEST, claimed["fence"])))  # type: ignore[arg-type]
    csrf = logged_in(client, reviewer)
    page = client.get("/worklist").text
    assert "Under review: typical, CO-RADS 5, zone score 9/24." in page
    scored = {"csrf": csrf, "claim_id": claimed["claim_id"], "fence": claimed["fence"], "score": 2}
    assert client.post("/worklist/review", data=scored).status_code == 303
