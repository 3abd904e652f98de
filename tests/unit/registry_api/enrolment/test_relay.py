"""What a node is told of the relay: the same for all, but for the port, which is each site's own and stays so."""

from pathlib import Path

import pytest

from protocol.codes import Code
from protocol.enrolment import EnrolReply, RelayPin, server_name
from registry_api.enrolment.invites import create_invite
from registry_api.enrolment.relay import Relay, pin_for
from registry_api.enrolment.sites import enrol, list_sites, revoke_site
from registry_api.enrolment.tables import SiteRow
from registry_api.main import create_app
from registry_api.runtime import build_runtime
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.centre_home import tunnel_key
from tests.fakes.outcomes import code_of
from tests.unit.registry_api.conftest import ORIGIN, Registry

HOST_KEY = tunnel_key()
RELAY = Relay(address="relay.example:443", login="acinus", host_key=HOST_KEY, first_port=20_000)


def join(registry: Registry, site: str, relay: Relay = RELAY, **changes: str) -> RelayPin | None:
    """Invite and enrol a site, as the route does it."""
    changes = {"tunnel_key": tunnel_key(), **changes}
    with registry.runtime.database.writing() as session:
        token = create_invite(session, site=site, region="XA", hours=1, now=registry.clock())
        request = registry.request(token).model_copy(update=changes)
        row, _ = enrol(session, request, authority=registry.runtime.authority, now=registry.clock())
        return pin_for(session, row, relay)


def test_each_site_has_a_port_of_its_own_and_all_know_the_relay_by_one_key(registry: Registry) -> None:
    pins = [join(registry, site) for site in ("north", "south", "west")]
    assert [pin.port for pin in pins if pin] == [20_000, 20_001, 20_002]
    assert {(pin.address, pin.login, pin.host_key) for pin in pins if pin} == {
        ("relay.example:443", "acinus", HOST_KEY)
    }


def test_a_site_that_enrols_again_keeps_its_port_and_brings_its_new_key(registry: Registry) -> None:
    first, key = join(registry, "north"), tunnel_key()
    join(registry, "south")
    assert join(registry, "north", tunnel_key=key) == first
    with registry.runtime.database.reading() as session:
        entries = {entry.site: entry for entry in list_sites(session, now=registry.clock())}
    assert (entries["north"].tunnel_key, entries["north"].tunnel_port) == (key, 20_000)
    assert entries["north"].gateway_origin == "https://gateway.example:9443"


def test_the_port_of_a_site_that_left_is_not_given_away(registry: Registry) -> None:
    join(registry, "north")
    with registry.runtime.database.writing() as session:
        revoke_site(session, "north", now=registry.clock())
    pin = join(registry, "south")
    assert pin is not None
    assert pin.port == 20_001


def test_ports_begin_where_the_settings_say_from_then_on(registry: Registry) -> None:
    join(registry, "north")
    pin = join(registry, "south", RELAY.model_copy(update={"first_port": 30_000}))
    assert pin is not None
    assert pin.port == 30_000


def test_when_no_port_is_left_it_is_said_and_the_invite_stays_unused(registry: Registry) -> None:
    last = RELAY.model_copy(update={"first_port": 65_535})
    join(registry, "north", last)
    assert code_of(lambda: join(registry, "south", last)) is Code.PORT_TAKEN
    with registry.runtime.database.reading() as session:
        assert session.get(SiteRow, "south") is None


def test_two_sites_do_not_share_a_tunnel_key_until_one_of_them_leaves(registry: Registry) -> None:
    key = tunnel_key()
    join(registry, "north", tunnel_key=key)
    assert code_of(lambda: join(registry, "south", tunnel_key=key)) is Code.ALREADY_EXISTS
    with registry.runtime.database.writing() as session:
        revoke_site(session, "north", now=registry.clock())
    assert join(registry, "south", tunnel_key=key) is not None


def leads_to(registry: Registry, name: str) -> list[str]:
    """The site to which the relay leads a name: of those that have it, the one with the lower port."""
    with registry.runtime.database.reading() as session:
        entries = [one for one in list_sites(session, now=registry.clock()) if one.active]
    named = [one for one in entries if server_name(one.gateway_origin) == name]
    return [one.site for one in sorted(named, key=lambda one: one.tunnel_port or 0)]


def test_a_site_does_not_take_the_readers_of_one_that_came_after_it(registry: Registry) -> None:
    """It has the lower port, so a name that both have would lead to it."""
    join(registry, "north", gateway_origin="https://ct.north.example")
    join(registry, "south", gateway_origin="https://ct.south.example")
    taken = "https://CT.South.example:9443"
    assert code_of(lambda: join(registry, "north", gateway_origin=taken)) is Code.ALREADY_EXISTS
    assert leads_to(registry, "ct.south.example") == ["south"]
    assert leads_to(registry, "ct.north.example") == ["north"], "what it had stays, and its invite too"
    join(registry, "south", gateway_origin="https://ct.south.example")
    with registry.runtime.database.writing() as session:
        revoke_site(session, "south", now=registry.clock())
    join(registry, "north", gateway_origin=taken)
    assert leads_to(registry, "ct.south.example") == ["north"]


def test_a_site_that_left_does_not_take_back_a_name_that_another_has_now(registry: Registry) -> None:
    join(registry, "north", gateway_origin="https://ct.example")
    with registry.runtime.database.writing() as session:
        revoke_site(session, "north", now=registry.clock())
    join(registry, "heir", gateway_origin="https://ct.example")
    assert code_of(lambda: join(registry, "north", gateway_origin="https://ct.example")) is Code.ALREADY_EXISTS
    assert leads_to(registry, "ct.example") == ["heir"]


@pytest.mark.parametrize("origin", ["https://localhost:9443", "https://192.0.2.7"])
def test_gateways_without_a_name_at_the_relay_may_share_their_address(registry: Registry, origin: str) -> None:
    for site in ("north", "south", "north"):
        assert join(registry, site, gateway_origin=origin) is not None


def test_who_comes_later_under_a_name_enrols_and_has_no_route(registry: Registry) -> None:
    join(registry, "north", gateway_origin="https://ct.example:9443")
    for site in ("south", "north", "south"):
        join(registry, site, gateway_origin="https://ct.example:9444")
    assert leads_to(registry, "ct.example") == ["north", "south"], "and does not keep the first from enrolling again"


def with_relay(home: Path, *, host_key: str = HOST_KEY) -> None:
    """Let the centre have a relay, as its two files say it."""
    (home / "relay.pub").write_text(f"{host_key} a comment\n")
    with (home / "registry.toml").open("a") as settings:
        settings.write('\n[relay]\naddress = "relay.example:443"\nhost_key = "relay.pub"\n')


def test_a_node_that_enrols_is_told_and_one_without_a_key_is_not(home: Path, registry: Registry) -> None:
    with_relay(home)
    runtime = build_runtime(home, clock=registry.clock)
    with AsgiClient(create_app(runtime), base_url=ORIGIN) as client:
        replies = []
        for site, key in (("north", tunnel_key()), ("south", None)):
            with runtime.database.writing() as session:
                token = create_invite(session, site=site, region="XA", hours=1, now=registry.clock())
            request = registry.request(token).model_copy(update={"tunnel_key": key, "gateway_pin": "p" * 43})
            replies.append(EnrolReply.model_validate(client.post("/v1/enrolments", json=request.model_dump()).json()))
    assert replies[0].relay == RelayPin(address="relay.example:443", login="acinus", host_key=HOST_KEY, port=20_000)
    assert replies[1].relay is None
    with runtime.database.reading() as session:
        assert {entry.gateway_pin for entry in list_sites(session, now=registry.clock())} == {"p" * 43}
    runtime.database.close()


def test_without_a_relay_nobody_is_told_of_one(registry: Registry, client: AsgiClient) -> None:
    with registry.runtime.database.writing() as session:
        token = create_invite(session, site="north", region="XA", hours=1, now=registry.clock())
    request = registry.request(token).model_copy(update={"tunnel_key": tunnel_key()})
    assert client.post("/v1/enrolments", json=request.model_dump()).json()["relay"] is None


@pytest.mark.parametrize("content", ["ssh-rsa AAAA", "nothing", "ecdsa-sha2-nistp384 AAAA"])
def test_a_host_key_that_is_none_is_named_at_the_start(home: Path, content: str) -> None:
    with_relay(home, host_key=content)
    assert code_of(lambda: build_runtime(home)) is Code.MISSING_CERTIFICATE


def test_a_missing_host_key_is_named_at_the_start(home: Path) -> None:
    with_relay(home)
    (home / "relay.pub").unlink()
    assert code_of(lambda: build_runtime(home)) is Code.MISSING_CERTIFICATE
