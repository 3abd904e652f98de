"""A node that enrols by the program's own way is known to the relay, and knows the relay."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.gate.enrol import enrol
from client.gate.keys import TUNNEL_KEY, gateway_pin, make_keys, tunnel_public
from client.gate.trust import load_centre
from protocol.enrolment import Invite, RelayPin
from registry_api.enrolment.invites import create_invite
from registry_api.enrolment.sites import list_sites
from registry_api.runtime import Runtime, build_runtime
from server.relay.files import make_host_key
from server.relay.plan import Route, plan_of
from tests.fakes.centre_home import make_centre_home
from tests.fakes.ports import free_port
from tests.integration.reading.conftest import registry_server

ORIGIN = "https://ct.northport.example"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[Runtime, str]]:
    """The registry's own HTTPS, of a centre that has a relay."""
    port, home = free_port(), tmp_path / "centre"
    make_centre_home(home, http_port=port)
    make_host_key(home / "pki" / "relay.key")
    with (home / "registry.toml").open("a") as settings:
        settings.write('\n[relay]\naddress = "relay.example:443"\nlogin = "relay"\n')
    runtime = build_runtime(home)
    server = registry_server(runtime, port)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.02)
    yield runtime, f"https://localhost:{port}"
    server.should_exit = True
    thread.join(10)
    runtime.database.close()


def test_both_sides_know_one_another_after_an_enrolment(registry: tuple[Runtime, str], tmp_path: Path) -> None:
    runtime, origin = registry
    keys, trust = tmp_path / "node" / "keys", tmp_path / "node" / "trust"
    make_keys(keys, site_name="Northport", gateway=ORIGIN, now=datetime.now(UTC))
    (keys / TUNNEL_KEY).unlink()  # as in a home that is older than relays
    with runtime.database.writing() as session:
        token = create_invite(session, site="northport", region="XA-N", hours=1, now=runtime.clock())
    invite = Invite(registry=origin, ca_sha256=runtime.authority.sha256, site="northport", token=token)
    centre = enrol(invite, keys=keys, trust=trust, gateway=ORIGIN)
    host_key = (runtime.settings.home / "pki" / "relay.pub").read_text().strip()
    assert centre.relay == RelayPin(address="relay.example:443", login="relay", host_key=host_key, port=20_000)
    assert load_centre(trust) == centre
    with runtime.database.reading() as session:
        [entry] = list_sites(session, now=runtime.clock())
    assert entry.gateway_pin == gateway_pin(keys)
    assert plan_of([entry]).routes == (Route("northport", "ct.northport.example", 20_000, tunnel_public(keys)),)
