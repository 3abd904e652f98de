"""A coordinator of a country or region sees the reads of its hospitals, wherever reads are shown, and touches no other."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlmodel import select

from protocol.reading import GrantScope, ReadPost
from registry_api.people.roles import Role
from registry_api.reading.claims import Claim
from registry_api.reading.events import Viewer, events_after
from registry_api.reading.grants import GrantSigner, make_grant
from registry_api.reading.tables import GrantRow
from registry_api.reading.webhooks import add_webhook, enqueue, take_due
from registry_api.units.service import add_unit, ensure_unit
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import Registry
from tests.unit.registry_api.reading.story import Story, delivered, opened, receipt

SITES = {"north": "XA-N", "district": "XA-N01", "south": "XA-S", "abroad": "XB"}
READS = {site: f"{number}" * 32 for number, site in enumerate(SITES, start=1)}
SEEN: dict[str | None, set[str]] = {
    None: set(SITES),
    "XA": {"north", "district", "south"},
    "XA-N": {"north", "district"},
    "XB": {"abroad"},
    "XC": set(),
}
"""By the coordinator's place: the hospitals whose reads they see."""
KINDS = ["Task", "ServiceRequest", "ImagingStudy", "DiagnosticReport"]


@dataclass
class Network:
    """A registry with a signed read at each of four hospitals, and a coordinator of every place."""

    registry: Registry
    client: AsgiClient
    story: Story
    reader: str
    headers: dict[str | None, dict[str, str]]
    claims: dict[str, Claim]

    def get(self, place: str | None, path: str):
        return self.client.get(path, headers=self.headers[place])

    def ids(self, place: str | None, path: str) -> set[str]:
        """Return the requests that an answer in FHIR names."""
        entries = self.get(place, path).json()["entry"]
        return {entry["resource"]["id"][:32] for entry in entries}


@pytest.fixture
def network(registry: Registry, client: AsgiClient, post: Callable[..., ReadPost]) -> Network:
    with registry.runtime.database.writing() as session:
        ensure_unit(session, "XA-N")
        add_unit(session, "XA-N01", parent="XA-N", system="urn:oid:1.2.3", name="First district")
    for site, region in SITES.items():
        registry.enrol(site, region)
    with registry.runtime.database.writing() as session:
        reader = ready_reader(session, sites=SITES, now=registry.clock()).person_id
    story, claims = Story(registry.runtime.database, registry.clock()), {}
    for site, request in READS.items():
        story.arrives(post(request), site=site)
        claims[site] = story.claims(reader, request)
        for parcel in (opened(claims[site]), receipt(claims[site])):
            story.arrives(parcel, site=site)
        story.signs(claims[site], reader)
        story.arrives(delivered(claims[site]), site=site)
    registry.clock.pass_(minutes=1)
    headers = {place: registry.key_of(Role.COORDINATOR, region=place) for place in SEEN}
    return Network(registry, client, story, reader, headers, claims)


def requests(place: str | None) -> set[str]:
    return {READS[site] for site in SEEN[place]}


@pytest.mark.parametrize("place", SEEN)
def test_every_list_of_reads_ends_at_the_coordinators_place(network: Network, place: str | None) -> None:
    assert {one["request_id"] for one in network.get(place, "/v1/reads").json()} == requests(place)
    for kind in KINDS:
        assert network.ids(place, f"/v1/fhir/{kind}") == requests(place), kind
    assert len(network.get(place, "/v1/dicom-web/workitems").json()) == len(requests(place))
    page = network.get(place, "/worklist").text
    assert {site for site, request in READS.items() if request in page or f">{site}<" in page} == SEEN[place]


@pytest.mark.parametrize("place", SEEN)
def test_every_single_read_of_another_place_looks_absent(network: Network, place: str | None) -> None:
    uids = [item["00080018"]["Value"][0] for item in network.get(None, "/v1/dicom-web/workitems").json()]
    assert len(uids) == len(SITES)
    found = [network.get(place, f"/v1/dicom-web/workitems/{uid}").status_code for uid in uids]
    assert (found.count(200), found.count(404)) == (len(SEEN[place]), len(SITES) - len(SEEN[place]))
    for site, request in READS.items():
        expected = 200 if site in SEEN[place] else 404
        assert network.get(place, f"/v1/reads/{request}").status_code == expected
        for kind in KINDS:
            own = request if kind in {"ServiceRequest", "ImagingStudy"} else f"{request}-1"
            assert network.get(place, f"/v1/fhir/{kind}/{own}").status_code == expected, kind


@pytest.mark.parametrize("place", SEEN)
def test_events_and_webhooks_end_at_the_coordinators_place(network: Network, place: str | None) -> None:
    stream = network.get(place, "/v1/events?follow=false").text
    assert {request for request in READS.values() if request in stream} == requests(place)
    database, now = network.registry.runtime.database, network.registry.clock()
    with database.reading() as session:
        found, _ = events_after(session, Viewer("c" * 32, Role.COORDINATOR, region=place), 0, now=now)
    assert {one.site for one in found} == SEEN[place]
    person = network.registry.add(Role.COORDINATOR, region=place).person_id
    with database.writing() as session:
        add_webhook(session, person, "https://desk.example/hook", now=now).cursor = 0
    with database.writing() as session:
        enqueue(session, now=now)
        bodies = b"".join(one.body for one in take_due(session, network.registry.runtime.grant_key, now=now, limit=100))
    assert {site for site in SITES if f'"site":"{site}"'.encode() in bodies} == SEEN[place]


@pytest.mark.parametrize("place", SEEN)
def test_figures_are_those_of_the_coordinators_place(network: Network, place: str | None) -> None:
    figures = network.get(place, "/v1/reads/statistics").json()
    assert set(figures["hospitals"]) == SEEN[place]
    assert figures["overall"]["turnaround"]["reads"] == len(SEEN[place])


def test_a_read_of_another_place_is_not_given_away_nor_its_grant_revoked(
    network: Network, post: Callable[..., ReadPost]
) -> None:
    waits, runtime = "9" * 32, network.registry.runtime
    network.story.arrives(post(waits), site="south")
    claim = network.story.claims(network.reader, waits)
    with runtime.database.writing() as session:
        make_grant(
            session, claim.claim_id, network.reader, jkt="j" * 43, scope=GrantScope.REPORT,
            signer=GrantSigner(runtime.grant_key), now=network.registry.clock(),
        )  # fmt: skip
        jti = session.exec(select(GrantRow.jti)).one()
    asked = {
        "reassign": lambda headers: network.client.post(
            f"/v1/reads/{waits}/slots/1:reassign", headers=headers, json={}
        ),
        "page": lambda headers: network.client.post(
            "/worklist/reassign", headers=headers, data={"request_id": waits, "number": "1"}
        ),
        "revoke": lambda headers: network.client.request("DELETE", f"/v1/grants/{jti}", headers=headers),
    }
    for name, ask in asked.items():
        assert ask(network.headers["XA-N"]).status_code == 404, name
    assert network.story.slot(waits).claim_id == claim.claim_id
    network.headers["XA-S"] = network.registry.key_of(Role.COORDINATOR, region="XA-S")
    assert asked["revoke"](network.headers["XA-S"]).status_code == 204
    assert asked["reassign"](network.headers["XA-S"]).status_code == 200
    assert network.story.slot(waits).claim_id is None
