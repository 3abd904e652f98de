"""Which name leads to which hospital: active sites with a name of their own, and a name stays with who had it first."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.enrolment import SiteEntry
from server.relay.plan import KEY_TAKEN, NAME_TAKEN, NO_NAME, NO_TUNNEL, Route, plan_of, server_name


def key(number: int) -> str:
    """A public key in OpenSSH's form: its type, and 32 bytes."""
    return f"ssh-ed25519 AAAA{base64.b64encode(bytes([number]) * 48).decode()}"


def site(name: str, number: int, **changes: object) -> SiteEntry:
    content: dict[str, object] = {
        "site": name, "region": "XA", "supernode_key": None, "active": True, "gateway_origin": f"https://{name}.example",
        "tunnel_key": key(number), "tunnel_port": 20_000 + number,
    }  # fmt: skip
    return SiteEntry.model_validate(content | changes)


def test_an_active_site_has_a_route_by_its_gateways_name() -> None:
    plan = plan_of([site("north", 1, gateway_origin="https://CT.North.example:9443")])
    assert plan.routes == (Route("north", "ct.north.example", 20_001, key(1)),)
    assert plan.unrouted == {}


def test_a_site_that_was_shut_out_has_none_and_is_not_spoken_of() -> None:
    plan = plan_of([site("north", 1, active=False)])
    assert (plan.routes, plan.unrouted) == ((), {})


@pytest.mark.parametrize("changes", [{"tunnel_key": None}, {"tunnel_port": None}])
def test_a_site_that_enrolled_before_there_was_a_relay_must_be_invited_again(changes: dict[str, object]) -> None:
    assert plan_of([site("north", 1, **changes)]).unrouted == {"north": NO_TUNNEL}


@pytest.mark.parametrize("origin", ["https://localhost:9443", "https://127.0.0.1:9443", "https://a.localhost", None])
def test_a_gateway_without_a_name_of_its_own_cannot_be_asked_for(origin: str | None) -> None:
    assert plan_of([site("north", 1, gateway_origin=origin)]).unrouted == {"north": NO_NAME}


def test_a_name_stays_with_the_site_that_had_it_first_however_they_are_listed() -> None:
    first, thief = site("north", 1), site("a-thief", 2, gateway_origin="https://north.example")
    for entries in ([first, thief], [thief, first]):
        plan = plan_of(entries)
        assert [route.site for route in plan.routes] == ["north"]
        assert plan.unrouted == {"a-thief": NAME_TAKEN}


def test_a_name_is_free_again_when_its_site_has_left() -> None:
    left, next_one = site("north", 1, active=False), site("heir", 2, gateway_origin="https://north.example")
    assert [route.site for route in plan_of([left, next_one]).routes] == ["heir"]


def test_a_key_opens_one_sites_tunnel_only() -> None:
    plan = plan_of([site("north", 1), site("south", 2, tunnel_key=key(1))])
    assert [route.site for route in plan.routes] == ["north"]
    assert plan.unrouted == {"south": KEY_TAKEN}


numbers = st.integers(min_value=1, max_value=6)
entries = st.lists(
    st.builds(
        lambda number, name, key_number, active: site(
            f"site-{number}", number, gateway_origin=f"https://host-{name}.example", tunnel_key=key(key_number), active=active
        ),
        numbers, numbers, numbers, st.booleans(),
    ),
    unique_by=lambda entry: entry.site,
)  # fmt: skip


@given(entries)
def test_names_ports_and_keys_are_each_one_sites_and_every_active_site_is_accounted_for(
    listed: list[SiteEntry],
) -> None:
    plan = plan_of(listed)
    for values in ([r.name for r in plan.routes], [r.port for r in plan.routes], [r.key for r in plan.routes]):
        assert len(values) == len(set(values))
    assert {r.site for r in plan.routes} | plan.unrouted.keys() == {e.site for e in listed if e.active}
    assert plan == plan_of(list(reversed(listed)))


@given(st.from_regex(r"\Ahttps://[A-Za-z0-9.-]{1,40}(:[0-9]{1,5})?\Z"))
def test_a_name_can_be_written_into_a_map(origin: str) -> None:
    name = server_name(origin)
    assert name is None or (name == name.lower() and not set(name) & set(" \t\n#:"))
