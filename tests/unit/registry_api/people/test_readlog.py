"""Who read what: on the disk before the first answer, counted after that, and shown to the hospitals whose records are in it."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from protocol.codes import Code
from protocol.errors import UnavailableError
from registry_api.main import create_app
from registry_api.people.readlog import readings
from registry_api.people.roles import Role
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import ORIGIN, Registry

LOG, COUNTS = "/v1/registry/read-log", "/v1/registry/counts"


@pytest.fixture
def counted(registry: Registry) -> Registry:
    """A release of two countries with two hospitals each."""
    for site, region in {"north-a": "XA-N", "north-b": "XA-N", "west-a": "XB-W", "west-b": "XB-W"}.items():
        registry.enrol(site, region)
        registry.cases(site, 20)
    registry.build()
    return registry


def full(*_: object, **__: object) -> None:
    raise UnavailableError(Code.DISK_FULL)


def raiser(fault: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise fault

    return fail


def lines(registry: Registry) -> list[tuple[str, str, int]]:
    with registry.runtime.database.reading() as session:
        found = readings(session, since=registry.clock().date(), about=None)
    return sorted((one.what, one.question, one.times) for one in found)


def test_the_first_reading_is_stored_before_the_answer_and_the_rest_a_little_later(
    counted: Registry, client: AsgiClient
) -> None:
    headers = counted.key_of(Role.MINISTRY)
    for _ in range(3):
        client.get(f"{COUNTS}?by=region,severity&severity=mild", headers=headers)
    client.get("/v1/registry/releases/1/export.csv?by=week", headers=headers)
    first = [("counts", "region,severity severity=mild", 1), ("export.csv", "country", 1)]
    assert lines(counted) == first
    counted.runtime.read_log.flush()
    counted.runtime.read_log.flush()
    assert lines(counted) == [("counts", "region,severity severity=mild", 3), first[1]]


def test_an_answer_that_the_caller_has_is_a_reading_too_and_pages_are(counted: Registry, client: AsgiClient) -> None:
    headers = counted.key_of(Role.MINISTRY)
    tag = client.get(COUNTS, headers=headers).headers["ETag"]
    assert client.get(COUNTS, headers={**headers, "If-None-Match": tag}).status_code == 304
    client.get("/registry?place=XA-N", headers=headers)
    client.get("/registry/releases/1/trend.svg", headers=headers)
    client.get("/v1/registry/releases/1/body.json", headers=counted.key_of(Role.AUDITOR))
    counted.runtime.read_log.flush()
    assert [(what, times) for what, _, times in lines(counted)] == [
        ("body.json", 1), ("counts", 2), ("page", 1), ("trend.svg", 1)
    ]  # fmt: skip


def test_what_cannot_be_written_down_is_not_read(
    counted: Registry, client: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = counted.key_of(Role.MINISTRY)

    monkeypatch.setattr(counted.runtime.read_log._database, "writing", full)
    answer = client.get(COUNTS, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "disk-full")
    assert "cells" not in answer.text


def test_what_could_not_be_counted_is_counted_next_time(counted: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    person = counted.add(Role.AUDITOR).person_id
    log = counted.runtime.read_log
    for _ in range(4):
        log.note(person, what="counts", release=1, question="country")
    for fault in (UnavailableError(Code.DISK_FULL), RuntimeError()):
        with monkeypatch.context() as broken:
            broken.setattr("registry_api.people.readlog._add", raiser(fault))
            with pytest.raises(type(fault)):
                log.flush()
    log.flush()
    assert lines(counted) == [("counts", "country", 4)]


def test_a_hospital_sees_who_read_its_country_or_region_and_nobody_else(counted: Registry, client: AsgiClient) -> None:
    for region in ("XA", "XA-N", "XA-S", "XB"):
        client.get(COUNTS, headers=counted.key_of(Role.MINISTRY, region=region))
    client.get(COUNTS, headers=counted.key_of(Role.COORDINATOR))
    hospital = {"Authorization": f"Bearer {counted.add(Role.HOSPITAL, site='north-a').api_key}"}
    seen = client.get(LOG, headers=hospital).json()
    assert {entry["place"] for entry in seen} == {"XA", "XA-N", None}
    assert {entry["who"] for entry in seen} == {"a ministry", "a coordinator"}
    assert {entry["place"] for entry in client.get(LOG, headers=counted.key_of(Role.AUDITOR)).json()} == {
        "XA", "XA-N", "XA-S", "XB", None
    }  # fmt: skip
    page = client.get("/quality", headers=hospital).text
    assert "a ministry (XA-N)" in page
    assert "XB" not in page


def test_every_line_is_reached_page_by_page(counted: Registry, client: AsgiClient) -> None:
    ministry = counted.key_of(Role.MINISTRY)
    for number in range(1, 46):
        client.get(
            f"{COUNTS}?severity={'mild' if number % 2 else 'severe'}&region=XA-N{number}&by=region", headers=ministry
        )
    auditor, seen, path = counted.key_of(Role.AUDITOR), [], f"{LOG}?limit=20"
    while path:
        answer = client.get(path, headers=auditor)
        seen += [entry["question"] for entry in answer.json()]
        path = answer.links.get("next", {}).get("url", "")
        assert len(answer.json()) <= 20
    assert len(set(seen)) == len(seen) == 45
    client.post("/login", data={"api_key": counted.add(Role.HOSPITAL, site="north-a").api_key})
    first, second = client.get("/quality").text, client.get("/quality?offset=40").text
    assert ('href="/quality?offset=40#readings"' in first, 'href="/quality?offset=0#readings"' in second) == (
        True,
        True,
    )
    assert (first.count("region=XA-N"), second.count("region=XA-N")) == (40, 5)


def test_nobody_of_one_place_gets_the_bytes_that_hold_every_country(counted: Registry, client: AsgiClient) -> None:
    body = "/v1/registry/releases/1/body.json"
    for role in (Role.AUDITOR, Role.COORDINATOR):
        assert client.get(body, headers=counted.key_of(role)).status_code == 200
        answer = client.get(body, headers=counted.key_of(role, region="XA"))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert b"XB" not in answer.content


def test_who_has_a_place_sees_the_readings_of_it(counted: Registry, client: AsgiClient) -> None:
    for region in ("XA", "XB"):
        client.get(COUNTS, headers=counted.key_of(Role.MINISTRY, region=region))
    seen = client.get(LOG, headers=counted.key_of(Role.AUDITOR, region="XA")).json()
    assert {entry["place"] for entry in seen} == {"XA"}


def test_only_as_many_days_are_shown_as_are_asked_for(counted: Registry, client: AsgiClient) -> None:
    headers = counted.key_of(Role.AUDITOR)
    client.get(COUNTS, headers=headers)
    counted.clock.pass_(days=2)
    client.get(f"{COUNTS}?by=region", headers=headers)
    assert [len(client.get(f"{LOG}?days={days}", headers=headers).json()) for days in (1, 2, 3)] == [1, 1, 2]


def test_many_first_readings_at_once_do_not_wait_for_each_other(counted: Registry) -> None:
    """More than the database has connections: each request holds one while its line is written."""
    headers = counted.key_of(Role.MINISTRY)
    transport = httpx.ASGITransport(create_app(counted.runtime))

    async def ask_all() -> list[int]:
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client:
            answers = await asyncio.gather(*(client.get(f"{COUNTS}?limit={number}") for number in range(1, 41)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(asyncio.wait_for(ask_all(), 25)) == [200] * 40
