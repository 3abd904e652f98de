"""Answers given again: the same bytes without the application, for a few seconds, counted, and never to another key."""

from datetime import timedelta

import pytest

from registry_api.api.quick import HELD_FOR, Quick
from registry_api.main import create_app
from registry_api.people.keys import add_key, revoke_key
from registry_api.people.pace import Pace
from registry_api.people.roles import Role, Scope
from registry_api.witness import Witness
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import ORIGIN, Registry

COUNTS = "/v1/registry/counts?by=region"


class Counting:
    """An application that counts how often it is asked."""

    def __init__(self, app) -> None:
        self.app, self.asked = app, 0

    async def __call__(self, scope, receive, send) -> None:
        self.asked += 1
        await self.app(scope, receive, send)


@pytest.fixture
def counted(registry: Registry) -> Registry:
    for site in ("north-a", "north-b"):
        registry.enrol(site)
        registry.cases(site, 20)
    registry.build()
    return registry


@pytest.fixture
def inner(counted: Registry) -> Counting:
    return Counting(create_app(counted.runtime))


@pytest.fixture
def client(counted: Registry, inner: Counting):
    with AsgiClient(Quick(inner, counted.runtime), base_url=ORIGIN) as opened:
        yield opened


def test_the_same_question_is_answered_once_and_given_again(
    counted: Registry, client: AsgiClient, inner: Counting
) -> None:
    headers = counted.key_of(Role.MINISTRY)
    first, again = (client.get(COUNTS, headers=headers) for _ in "ab")
    assert inner.asked == 1
    assert (again.status_code, again.content, dict(again.headers)) == (200, first.content, dict(first.headers))
    assert "Content-Security-Policy" in again.headers


def test_who_has_it_gets_304(counted: Registry, client: AsgiClient, inner: Counting) -> None:
    headers = counted.key_of(Role.MINISTRY)
    tag = client.get(COUNTS, headers=headers).headers["ETag"]
    answer = client.get(COUNTS, headers={**headers, "If-None-Match": f'"other", {tag}'})
    assert (answer.status_code, answer.content, answer.headers["ETag"], inner.asked) == (304, b"", tag, 1)
    assert client.get(COUNTS, headers={**headers, "If-None-Match": '"other"'}).status_code == 200


def test_another_key_address_question_or_method_is_asked_anew(
    counted: Registry, client: AsgiClient, inner: Counting
) -> None:
    headers = counted.key_of(Role.MINISTRY)
    client.get(COUNTS, headers=headers)
    client.get(COUNTS, headers=counted.key_of(Role.MINISTRY, region="XA-S"))
    client.get(f"{COUNTS}&limit=1", headers=headers)
    client.request("HEAD", COUNTS, headers=headers)
    assert client.get(COUNTS).status_code == 401
    assert inner.asked == 5


def test_after_some_seconds_the_application_is_asked_again(
    counted: Registry, client: AsgiClient, inner: Counting
) -> None:
    person = counted.add(Role.AUDITOR).person_id
    with counted.runtime.database.writing() as session:
        key = add_key(session, person, label="x", scopes=[Scope.COUNTS], days=None, now=counted.clock())
    headers = {"Authorization": f"Bearer {key.api_key}"}
    client.get(COUNTS, headers=headers)
    with counted.runtime.database.writing() as session:
        revoke_key(session, key.key_id, now=counted.clock())
    counted.clock.now += HELD_FOR - timedelta(seconds=1)
    assert client.get(COUNTS, headers=headers).status_code == 200
    counted.clock.pass_(seconds=1)
    assert client.get(COUNTS, headers=headers).status_code == 401
    assert inner.asked == 2


def test_a_refusal_and_a_route_without_a_reading_are_not_held(
    counted: Registry, client: AsgiClient, inner: Counting
) -> None:
    headers = counted.key_of(Role.MINISTRY)
    for path in ("/v1/registry/counts?by=nothing", "/v1/registry/dimensions", "/v1/registry/releases/9/export.csv"):
        assert {client.get(path, headers=headers).status_code for _ in "ab"} <= {200, 404, 422}
    assert inner.asked == 6


def test_every_answer_is_counted_against_the_pace_and_in_the_log(counted: Registry, client: AsgiClient) -> None:
    object.__setattr__(counted.runtime, "pace", Pace(10))
    headers = counted.key_of(Role.MINISTRY)
    assert [client.get(COUNTS, headers=headers).status_code for _ in range(12)] == [200] * 10 + [429] * 2
    counted.runtime.read_log.flush()
    entries = client.get("/v1/registry/read-log", headers=counted.key_of(Role.AUDITOR)).json()
    assert [entry["times"] for entry in entries] == [10]


def test_at_midnight_a_new_line_begins(counted: Registry, client: AsgiClient, inner: Counting) -> None:
    counted.clock.now = counted.clock.now.replace(hour=23, minute=59, second=58)
    headers = counted.key_of(Role.MINISTRY)
    client.get(COUNTS, headers=headers)
    counted.clock.pass_(seconds=3)
    client.get(COUNTS, headers=headers)
    assert inner.asked == 2


def test_a_witness_sees_everything(counted: Registry, inner: Counting, client: AsgiClient, tmp_path) -> None:
    object.__setattr__(counted.runtime, "witness", Witness(tmp_path / "witness"))
    headers = counted.key_of(Role.MINISTRY)
    for _ in "ab":
        client.get(COUNTS, headers=headers)
    assert inner.asked == 2


def test_old_answers_make_room(
    counted: Registry, client: AsgiClient, inner: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry_api.api.quick._HELD_MOST", 1)
    headers = counted.key_of(Role.MINISTRY)
    for path in (COUNTS, f"{COUNTS}&limit=1", COUNTS):
        client.get(path, headers=headers)
    assert inner.asked == 3
