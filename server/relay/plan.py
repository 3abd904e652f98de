"""Which name leads to which hospital's tunnel. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol.enrolment import SiteEntry, TunnelKey, TunnelPort, server_name
from protocol.shape import SiteId

NO_TUNNEL = "it enrolled before the network had a relay: invite it again"
NO_NAME = "its gateway has no name of its own: readers need a DNS name, not an address and not localhost"
NAME_TAKEN = "a site that was there before has that name"
KEY_TAKEN = "a site that was there before has that key"


@dataclass(frozen=True, slots=True)
class Route:
    """One hospital: the name that readers ask for, the port at which its tunnel ends, the key that may open it."""

    site: SiteId
    name: str
    port: TunnelPort
    key: TunnelKey


@dataclass(frozen=True, slots=True)
class Plan:
    """All routes, by port, and why active sites have none."""

    routes: tuple[Route, ...] = ()
    unrouted: dict[SiteId, str] = field(default_factory=dict)


def plan_of(entries: Sequence[SiteEntry]) -> Plan:
    """Return the routes of all active sites.

    A name or a key that two sites have leads to the one with the lower port. Nobody takes over a hospital's readers by enrolling under its
    name: who comes later has a higher port, and a site that was there before is not let in again under it (`registry_api/enrolment/sites.py`).
    """
    routes, unrouted = list[Route](), dict[SiteId, str]()
    taken = set[str]()
    for entry in sorted(entries, key=lambda one: (one.tunnel_port or 0, one.site)):
        if not entry.active:
            continue
        name = server_name(entry.gateway_origin)
        if entry.tunnel_key is None or entry.tunnel_port is None:
            unrouted[entry.site] = NO_TUNNEL
        elif name is None:
            unrouted[entry.site] = NO_NAME
        elif name in taken or entry.tunnel_key in taken:
            unrouted[entry.site] = NAME_TAKEN if name in taken else KEY_TAKEN
        else:
            taken |= {name, entry.tunnel_key}
            routes.append(Route(entry.site, name, entry.tunnel_port, entry.tunnel_key))
    return Plan(tuple(routes), unrouted)
