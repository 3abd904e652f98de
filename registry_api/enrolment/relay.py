"""What a node is told of the relay: where it is, by what key to know it, and which port there is the site's own."""

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, func, select

from protocol.codes import Code
from protocol.enrolment import Address, RelayPin, TunnelKey, TunnelPort
from protocol.errors import ConflictError, UnavailableError
from protocol.shape import Shape
from registry_api.enrolment.tables import SiteRow

_LAST_PORT = 65_535


class Relay(Shape):
    """The network's relay, as the settings say it. Sites get ports from `first_port` on."""

    address: Address
    login: str
    host_key: TunnelKey
    first_port: TunnelPort


def pin_for(session: Session, site: SiteRow, relay: Relay) -> RelayPin | None:
    """Return what the node of `site` pins of the relay; none for a node that brought no key for a tunnel.

    Raises:
        ConflictError: `already-exists` if another site was given the same port in this very moment; the invite stays unused.
        UnavailableError: `port-taken` if no port is left.
    """
    if site.tunnel_key is None:
        return None
    port = site.tunnel_port or _allot(session, site, relay.first_port)
    return RelayPin(address=relay.address, login=relay.login, host_key=relay.host_key, port=port)


def _allot(session: Session, site: SiteRow, first: TunnelPort) -> TunnelPort:
    """Give the site the next port. Ports of sites that left are not given away: an old node may still dial."""
    newest = session.exec(select(func.max(SiteRow.tunnel_port))).one()
    port = first if newest is None else max(first, newest + 1)
    if port > _LAST_PORT:
        raise UnavailableError(
            Code.PORT_TAKEN, "The relay has no port left. Lower [relay] first_port in registry.toml."
        )
    site.tunnel_port = port
    session.add(site)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(
            Code.ALREADY_EXISTS, "Two sites enrolled in the same moment. Run `acinus-node enrol` again."
        ) from error
    return port
