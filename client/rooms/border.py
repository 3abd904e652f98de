"""What stands between hospital and network: the clock, the policy, gate, inbox, the book of the link, renewals, the tunnel's ends."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from client.gate import contact, gate, inbox, renewals
from client.gate.audit import HEAD_FILE
from client.gate.contact import ContactBook
from client.gate.gate import Gate
from client.gate.inbox import Inbox
from client.gate.policy import SitePolicy
from client.gate.policy_file import load_policy
from client.gate.renewals import RenewalBook
from client.gate.trust import load_centre
from client.settings import NodeSettings
from client.store.database import connect
from protocol.codes import Code
from protocol.errors import UnavailableError

if TYPE_CHECKING:
    from client.gate.ssh import Ends


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def local_now() -> datetime:
    """Return the site's own time; opening hours are local."""
    return datetime.now().astimezone()


def policy_source(settings: NodeSettings) -> Callable[[], SitePolicy]:
    """Return a function that reads the site's policy anew each time."""
    return lambda: load_policy(settings.policy)


def open_gate(settings: NodeSettings) -> Gate:
    """Return the gate, and with it the audit chain and the outbox."""
    return Gate(connect(settings.database, gate.SCHEMA), policy_source(settings), utc_now, settings.home / HEAD_FILE)


def open_inbox(settings: NodeSettings) -> Inbox:
    """Return what the centre told the node."""
    return Inbox(connect(settings.database, inbox.SCHEMA), utc_now)


def open_contact(settings: NodeSettings) -> ContactBook:
    """Return what is known of the link."""
    return ContactBook(connect(settings.database, contact.SCHEMA), utc_now)


def open_renewals(settings: NodeSettings) -> RenewalBook:
    """Return how the renewal of the certificate goes."""
    return RenewalBook(connect(settings.database, renewals.SCHEMA), utc_now)


def tunnel_ends(settings: NodeSettings) -> "Ends":
    """Return both ends of the tunnel to the relay.

    Raises:
        UnavailableError: `missing-certificate` if enrolment pinned no relay, or the key of the tunnel is missing.
    """
    from client.gate.keys import tunnel_public
    from client.gate.ssh import Ends

    pin = load_centre(settings.trust).relay
    if pin is None:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            "The centre named no relay when this node enrolled. Ask the coordinator whether there is one, and enrol anew.",
        )
    tunnel_public(settings.keys)
    host = "127.0.0.1" if settings.gateway.host in {"0.0.0.0", "::"} else settings.gateway.host  # noqa: S104 - read, not listened on
    return Ends(relay=settings.relay.address, pin=pin, gateway=f"{host}:{settings.gateway.port}", keys=settings.keys)


def is_impersonated(settings: NodeSettings) -> bool:
    """Say whether readers who come by the relay were last shown another key than the gateway's; never without a relay."""
    from client.gate.outside import Seen
    from client.gate.tunnel import TunnelBook

    return bool(settings.relay.address) and TunnelBook(settings.home, utc_now).read().seen is Seen.ANOTHER
