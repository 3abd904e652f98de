"""No route of the registry shows a first read to the second reader before that one has signed, whatever is asked for."""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI

from protocol.case import RsnaClass
from protocol.reading import CodedResult, ReadDelivered, ReadPost, ReportNoted
from registry_api.main import create_app
from registry_api.reading import claims
from registry_api.reading.escalation import escalate
from registry_api.reading.fhir import Kind
from registry_api.reading.groups import set_group
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import ORIGIN, Registry
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import ACCEPT, opened, receipt

FIRST_HASH = "f1" * 32
FIRST_NAME = "Dr Erstleser"
FIRST_CODES = CodedResult(
    rsna_class=RsnaClass.ATYPICAL, corads=3, severity_score=23, agrees_with_measurement=False, critical=True
)
QUERIES = {
    "eligible": ["me"], "days": ["1", "366"], "cursor": ["0"], "status": ["completed", "in-progress"], "_count": ["500"],
    "ProcedureStepState": ["COMPLETED", "IN PROGRESS"],
}  # fmt: skip
"""What can be asked of reads beside the address."""

CODED_KEYS = {"conclusionCode", "rsna_class", "corads", "severity_score", "report_sha256", "opinions", "differences"}


@dataclass
class Person:
    person_id: str
    headers: dict[str, str]


@dataclass
class Scene:
    """One study that two readers read, as far as a test has it come."""

    registry: Registry
    client: AsgiClient
    first: Person
    second: Person
    held: list[str]
    """Claims: the first reader's, and the second one's if there is one."""


def person(registry: Registry, name: str) -> Person:
    with registry.runtime.database.writing() as session:
        added = ready_reader(session, name, now=registry.clock())
    return Person(added.person_id, {"Authorization": f"Bearer {added.api_key}"})


@pytest.fixture
def app(registry: Registry) -> FastAPI:
    return create_app(registry.runtime)


@pytest.fixture
def scene(registry: Registry, app: FastAPI, post: Callable[..., ReadPost]) -> Iterator[Scene]:
    registry.enrol("northport")
    with AsgiClient(app, base_url=ORIGIN) as client:
        made = Scene(registry, client, person(registry, FIRST_NAME), person(registry, "Dr Zweitleser"), [])
        arrives(made, post(reads_required=2))
        yield made


def arrives(scene: Scene, parcel: Any) -> None:
    with scene.registry.runtime.database.writing() as session:
        ACCEPT[parcel.kind](session, "northport", parcel, scene.registry.clock())


def reads(scene: Scene, reader: Person, *, sign: bool) -> None:
    with scene.registry.runtime.database.writing() as session:
        held = claims.claim(session, REQUEST, reader.person_id, now=scene.registry.clock())
    scene.held.append(held.claim_id)
    arrives(scene, opened(held))
    if reader is scene.first:
        arrives(scene, receipt(held, report_sha256=FIRST_HASH, coded=FIRST_CODES))
    if sign:
        with scene.registry.runtime.database.writing() as session:
            claims.sign(
                session, held.claim_id, reader.person_id, fence=held.fence, report_sha256=FIRST_HASH,
                now=scene.registry.clock(),
            )  # fmt: skip


def lead(scene: Scene) -> None:
    """Let the second reader lead the group that the first one reads with."""
    with scene.registry.runtime.database.writing() as session:
        set_group(session, scene.first.person_id, group="Both")
        set_group(session, scene.second.person_id, group="Both", leads=True)


def delivers_and_alarms(scene: Scene) -> None:
    """The hospital has the first report, which is critical, and takes note of it alone, after an hour."""
    arrives(scene, ReadDelivered(request_id=REQUEST, claim_id=scene.held[0], report_sha256=FIRST_HASH))
    scene.registry.clock.pass_(hours=1)
    with scene.registry.runtime.database.writing() as session:
        assert escalate(session, now=scene.registry.clock()) == 1
    arrives(scene, ReportNoted(request_id=REQUEST, claim_id=scene.held[0], report_sha256=FIRST_HASH))


def addresses(app: FastAPI, ids: list[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every route, with every value that the second reader could know or guess in place of every parameter, and what it can be asked."""
    known = {"number": ["1"], "kind": list(Kind), "resource_id": [f"{REQUEST}-1", f"{REQUEST}-2", REQUEST]}
    for template, methods in app.openapi()["paths"].items():
        names = re.findall(r"\{(\w+)\}", template)
        for chosen in itertools.product(*(known.get(name, ids) for name in names)):
            path = template
            for name, value in zip(names, chosen, strict=True):
                path = path.replace(f"{{{name}}}", value, 1)
            for method, route in sorted(methods.items()):
                yield method.upper(), path, {}
                asked = [one["name"] for one in route.get("parameters", ()) if one["in"] == "query"]
                yield from ((method.upper(), path, {name: value}) for name in asked for value in QUERIES.get(name, ()))


def changes_the_own_claim(method: str, path: str, own: list[str]) -> bool:
    """Whether the call would give the second reader's claim away or sign under it: the walk is about before."""
    return method == "POST" and any(f"{claim}:" in path for claim in own)


def nothing(value: Any) -> bool:
    """Whether a value says nothing: absent, empty, or a count of none. No code of the first read is any of these."""
    return all(map(nothing, value.values())) if isinstance(value, dict) else not value


def coded_values(content: Any) -> Iterator[Any]:
    """Every value under a key that codes a report, anywhere in an answer."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key in CODED_KEYS and not nothing(value):
                yield value
            yield from coded_values(value)
    elif isinstance(content, list):
        for one in content:
            yield from coded_values(one)


@pytest.mark.parametrize(
    ("first_signed", "second_reads", "leads", "alarmed"),
    [
        (False, True, False, False),
        (True, False, False, False),
        (True, True, False, False),
        (True, True, True, False),
        (True, True, False, True),
    ],
    ids=["reported-reading", "signed-offered", "signed-reading", "leads-the-first", "delivered-and-alarmed"],
)
def test_no_route_shows_the_first_read_to_the_second_reader(
    scene: Scene, app: FastAPI, *, first_signed: bool, second_reads: bool, leads: bool, alarmed: bool
) -> None:
    reads(scene, scene.first, sign=first_signed)
    if second_reads:
        reads(scene, scene.second, sign=False)
    if leads:
        lead(scene)
    if alarmed:
        delivers_and_alarms(scene)
    who = (
        [] if leads else [FIRST_NAME, scene.first.person_id]
    )  # the lead sees who is in the group, with figures of all their reads
    secrets = [FIRST_HASH, scene.held[0], *who]
    words = re.compile(r"\batypical\b|CO-RADS|23/24|\bcritical\b")
    walked = 0
    for method, path, query in addresses(app, [REQUEST, *scene.held]):
        if changes_the_own_claim(method, path, scene.held[1:]) or path == "/v1/openapi.json":
            continue
        body = {} if method in {"GET", "DELETE"} else {"json": {"report_sha256": FIRST_HASH, "jkt": "j" * 43}}
        headers = scene.second.headers | {"If-Match": '"1"'}
        answer = scene.client.request(method, path, headers=headers, params=query | {"follow": "false"}, **body)
        walked += answer.status_code == 200
        where = f"{method} {path} {query} shows the first read"
        shown = answer.text.replace(path, "")
        assert not [one for one in secrets if one in shown], where
        if "json" in answer.headers.get("Content-Type", ""):
            assert not list(coded_values(answer.json())), where
        else:
            assert not words.search(shown), where
    assert walked >= 4, "the walk met closed doors only"


def test_the_walk_would_see_the_first_read(scene: Scene) -> None:
    """The same questions, asked by the first reader, do show it: the test above is not blind itself."""
    reads(scene, scene.first, sign=True)
    answer = scene.client.get(f"/v1/reads/{REQUEST}", headers=scene.first.headers)
    assert list(coded_values(answer.json()))
    assert "CO-RADS" in scene.client.get("/worklist", headers=scene.first.headers).text
