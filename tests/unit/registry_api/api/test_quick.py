"""Answers given again: the same bytes without the application, for a few seconds, counted, and never to another key."""

from datetime import timedelta

import pytest
from fastapi import FastAPI

from registry_api.api.quick import HELD_FOR, LOOK_AFTER, Quick
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


def beneath(counted: Registry) -> FastAPI:
    """Return the application without its own layer of answers given again."""
    app = create_app(counted.runtime)
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls is not Quick]
    return app


@pytest.fixture
def inner(counted: Registry) -> Counting:
    return Counting(beneath(counted))


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


def a_key(counted: Registry) -> tuple[str, dict[str, str]]:
    """Return a program's key by its id and as headers."""
    person = counted.add(Role.AUDITOR).person_id
    with counted.runtime.database.writing() as session:
        key = add_key(session, person, label="x", scopes=[Scope.COUNTS], days=None, now=counted.clock())
    return key.key_id, {"Authorization": f"Bearer {key.api_key}"}


def end_key(counted: Registry, key_id: str) -> None:
    with counted.runtime.database.writing() as session:
        revoke_key(session, key_id, now=counted.clock())


def test_after_some_seconds_the_application_is_asked_behind_an_answer_and_what_it_refuses_is_given_no_more(
    counted: Registry, client: AsgiClient, inner: Counting
) -> None:
    key_id, headers = a_key(counted)
    other = f"{COUNTS}&limit=1"
    for path in (COUNTS, other):
        client.get(path, headers=headers)
    end_key(counted, key_id)
    counted.clock.now += LOOK_AFTER - timedelta(seconds=1)
    assert client.get(COUNTS, headers=headers).status_code == 200
    counted.clock.pass_(seconds=1)
    assert client.get(COUNTS, headers=headers).status_code == 200
    client.settle()
    assert inner.asked == 3
    assert [client.get(path, headers=headers).status_code for path in (COUNTS, other)] == [401, 401]
    assert sum(times_read(counted, client)) == 4  # also the one behind which the key had ended


def test_an_ended_key_that_nobody_looked_at_opens_nothing_after_the_longest_time(
    counted: Registry, client: AsgiClient
) -> None:
    key_id, headers = a_key(counted)
    client.get(COUNTS, headers=headers)
    end_key(counted, key_id)
    counted.clock.now += HELD_FOR
    assert client.get(COUNTS, headers=headers).status_code == 401


def test_a_fault_while_looking_is_in_the_log_and_the_next_answer_is_the_applications(
    counted: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Counting):
        async def __call__(self, scope, receive, send) -> None:
            if self.asked == 1:
                self.asked += 1
                raise RuntimeError("secret words")
            await super().__call__(scope, receive, send)

    inner = Failing(beneath(counted))
    headers = counted.key_of(Role.MINISTRY)
    with AsgiClient(Quick(inner, counted.runtime), base_url=ORIGIN) as client:
        client.get(COUNTS, headers=headers)
        counted.clock.now += LOOK_AFTER
        assert client.get(COUNTS, headers=headers).status_code == 200
        client.settle()
        client.get(COUNTS, headers=headers)
    assert [(record.msg, record.fault) for record in caplog.records if record.name.endswith("quick")] == [
        ("quick.fault", "RuntimeError")
    ]
    assert "secret" not in caplog.text
    assert inner.asked == 3


def test_one_answer_vouches_for_the_others_of_its_key(counted: Registry, client: AsgiClient, inner: Counting) -> None:
    _, headers = a_key(counted)
    paths = [COUNTS, f"{COUNTS}&limit=1", f"{COUNTS}&release=1"]
    for _ in range(5):
        for path in paths:
            assert client.get(path, headers=headers).status_code == 200
            client.settle()
        counted.clock.now += LOOK_AFTER
    assert inner.asked == len(paths) + 4


def test_an_answer_to_another_key_vouches_for_nothing(counted: Registry, client: AsgiClient, inner: Counting) -> None:
    (first_id, first), (_, second) = a_key(counted), a_key(counted)
    for headers in (first, second):
        client.get(COUNTS, headers=headers)
    end_key(counted, first_id)
    counted.clock.now += LOOK_AFTER
    assert client.get(COUNTS, headers=second).status_code == 200
    client.settle()
    counted.clock.now += HELD_FOR - LOOK_AFTER
    assert client.get(COUNTS, headers=second).status_code == 200
    assert client.get(COUNTS, headers=first).status_code == 401


def test_a_named_release_vouches_for_no_newest_one(counted: Registry, client: AsgiClient) -> None:
    _, headers = a_key(counted)
    assert client.get(COUNTS, headers=headers).json()["release"] == 1
    counted.cases("north-a", 20)
    counted.build()
    counted.clock.now += HELD_FOR
    assert client.get(f"{COUNTS}&release=1", headers=headers).json()["release"] == 1
    assert client.get(COUNTS, headers=headers).json()["release"] == 2


def test_a_newer_release_shows_in_every_answer_once_one_has_seen_it_for_the_longest_time(
    counted: Registry, client: AsgiClient
) -> None:
    _, headers = a_key(counted)
    other = f"{COUNTS}&limit=1"
    for path in (COUNTS, other):
        client.get(path, headers=headers)
    counted.cases("north-a", 20)
    counted.build()
    counted.clock.now += LOOK_AFTER
    client.get(COUNTS, headers=headers)
    client.settle()
    assert client.get(COUNTS, headers=headers).json()["release"] == 2
    counted.clock.now += HELD_FOR - LOOK_AFTER
    assert client.get(other, headers=headers).json()["release"] == 2


def test_while_one_request_looks_again_the_others_are_answered(counted: Registry) -> None:
    _, headers = a_key(counted)
    answered: list[int] = []

    class Slow(Counting):
        async def __call__(self, scope, receive, send) -> None:
            await super().__call__(scope, receive, send)
            if self.asked == 2:
                counted.clock.now += HELD_FOR - LOOK_AFTER - timedelta(seconds=1)
                answered.append(await status_of(quick, headers))
                counted.clock.pass_(seconds=1)
                answered.append(await status_of(quick, headers))

    inner = Slow(beneath(counted))
    quick = Quick(inner, counted.runtime)
    with AsgiClient(quick, base_url=ORIGIN) as client:
        client.get(COUNTS, headers=headers)
        counted.clock.now += LOOK_AFTER
        client.get(COUNTS, headers=headers)
        client.settle()
    assert answered == [200, 200]
    assert inner.asked == 3  # the first, the one that looked again, and the one for whom that took too long


async def status_of(app, headers: dict[str, str]) -> int:
    """Ask for the counts from within a running application."""
    path, _, query = COUNTS.partition("?")
    told = []

    async def send(message) -> None:
        told.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": sent, "http_version": "1.1", "scheme": "https", "server": ("localhost", 8443), "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    return int(told[0]["status"])


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
    assert times_read(counted, client) == [10]


def times_read(counted: Registry, client: AsgiClient) -> list[int]:
    counted.runtime.read_log.flush()
    entries = client.get("/v1/registry/read-log", headers=counted.key_of(Role.AUDITOR)).json()
    return [entry["times"] for entry in entries]


def test_an_answer_behind_which_the_application_was_asked_counts_once(
    counted: Registry, client: AsgiClient, inner: Counting
) -> None:
    headers = counted.key_of(Role.MINISTRY)
    for _ in range(3):
        client.get(COUNTS, headers=headers)
        client.settle()
        counted.clock.now += LOOK_AFTER
    assert inner.asked == 3
    assert times_read(counted, client) == [3]


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
