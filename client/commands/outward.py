"""What `acinus-node doctor` asks of others, by the ways that the node itself takes: the PACS, the proxy, the registry, the centre's doors."""

import asyncio
import shutil
import socket
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

from client.commands.check import Check, Look
from client.gate.enrol import fetch_ca, reach, unverified
from client.gate.proxy import dial, dial_raw, proxy_for
from client.gate.trust import CA, client_context, load_centre, load_identity
from client.settings import NodeSettings
from protocol.codes import Code
from protocol.enrolment import Invite
from protocol.errors import RefusedError, UnavailableError
from protocol.reading import Origin

_SKEW_SECONDS = 60
_CONNECT_SECONDS = 5.0
_HTTPS = 443


def pacs_dicomweb(settings: NodeSettings) -> Check:
    """Ask the PACS for one study over DICOMweb; nothing is fetched.

    Raises:
        FederationError: Why it does not answer as it should, with the setting to look at.
    """
    from client.pacs.reach import reach_dicomweb

    said = "answers" if reach_dicomweb(settings) else "not used: [pacs] dicomweb names no address"
    return Check("pacs dicomweb", said)


def pacs_dimse(settings: NodeSettings) -> Check:
    """Echo on the association on which findings go; nothing is sent.

    Raises:
        FederationError: Why it does not answer as it should, with the setting to look at.
    """
    from client.pacs.reach import reach_dimse

    said = "answers C-ECHO and takes findings" if reach_dimse(settings) else "not used: [pacs] send is not c-store"
    return Check("pacs dimse", said)


def proxy(settings: NodeSettings) -> Check:
    """Look whether something listens where the proxy should.

    Raises:
        InvalidInputError: `bad-setting` if it is written in another way than http://HOST:PORT.
        UnavailableError: `peer-unreachable`.
    """
    return _proxy_to(load_centre(settings.trust).registry)


def registry(settings: NodeSettings) -> Check:
    """Ask the registry, and compare clocks: grants and certificates live by the minute.

    Raises:
        UnavailableError: `peer-unreachable`, with what is in the way; `node-fault` if the clocks differ.
    """
    try:
        verified = ssl.create_default_context(cafile=settings.trust / CA)
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"{settings.trust / CA} is missing or damaged. Enrol the node anew."
        ) from error
    return _registry_at(load_centre(settings.trust).registry, verified)


def invited(invite: Invite) -> list[Look]:
    """Return what can be looked at before enrolment: the way to the registry that an invite names, and whether it is that one.

    The looks raise what `proxy` and `registry` raise, and `invite-invalid` if the registry's CA is not the invite's. They use up nothing.
    """

    def proxy(_: NodeSettings) -> Check:
        return _proxy_to(invite.registry)

    def registry(_: NodeSettings) -> Check:
        asyncio.run(_open(*_address(invite.registry), unverified()))
        ca = fetch_ca(invite.registry, invite.ca_sha256)
        return _registry_at(invite.registry, ssl.create_default_context(cadata=ca))

    return [proxy, registry]


def _proxy_to(origin: Origin) -> Check:
    found = proxy_for(_address(origin)[0])
    if found is None:
        return Check("proxy", "none on the way to the centre")
    try:
        socket.create_connection((found.host, found.port), _CONNECT_SECONDS).close()
    except OSError as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE,
            f"nothing answers at {found.host}:{found.port}. Correct [network] proxy or HTTPS_PROXY, or start the proxy.",
        ) from error
    return Check("proxy", f"{found.host}:{found.port} answers")


def _registry_at(origin: Origin, verified: ssl.SSLContext) -> Check:
    asyncio.run(_open(*_address(origin), verified))
    theirs = reach(origin, verified)
    if theirs is None:
        return Check("registry", f"{origin} answers")
    skew = (datetime.now(UTC) - theirs).total_seconds()
    if abs(skew) > _SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        raise UnavailableError(
            Code.NODE_FAULT, f"this machine's clock is {abs(skew):.0f} s {way} the centre's. Set it by NTP."
        )
    return Check("registry", f"{origin} answers; clocks agree")


def centre_ports(settings: NodeSettings) -> Check:
    """Open TLS to link and fleet gateway under the node's certificate.

    Raises:
        UnavailableError: `peer-unreachable`, with what is in the way.
    """
    centre = load_centre(settings.trust)
    context = client_context(settings.trust, settings.keys)
    for address in (centre.link_address, centre.fleet_address):
        host, _, port = address.rpartition(":")
        asyncio.run(_open(host, int(port), context))
    found = proxy_for(centre.link_address.rpartition(":")[0])
    way = f"through the proxy {found.host}:{found.port}" if found is not None else "directly"
    return Check("centre", f"link {centre.link_address} and fleet {centre.fleet_address} can be reached {way}")


def admission(settings: NodeSettings) -> Check:
    """Ask the centre whether it lets this node in: TLS takes every certificate of the network, also that of a site that was shut out.

    Raises:
        RefusedError: `forbidden` if it does not.
        UnavailableError: `peer-unreachable`.
    """
    from client.gate.renew import take_up

    identity = load_identity(settings.trust, settings.keys)
    asyncio.run(take_up(load_centre(settings.trust).link_address, identity))
    return Check("admission", "the centre lets this node in")


def relay(settings: NodeSettings) -> Check:
    """Ask the relay for its tunnel server, by the way that the tunnel takes, and say how the tunnel is.

    Raises:
        UnavailableError: `node-fault` without an OpenSSH client; `missing-certificate` without a pinned relay; `peer-unreachable`.
    """
    from client.rooms.border import tunnel_ends
    from client.rooms.state import tunnel_state

    address = settings.relay.address
    if not address:
        return Check("relay", "not used: [relay] address names none")
    if shutil.which("ssh") is None:
        raise UnavailableError(Code.NODE_FAULT, "ssh is missing. Install the OpenSSH client (openssh-client).")
    tunnel_ends(settings)
    host, _, port = address.rpartition(":")
    asyncio.run(_greet(host, int(port)))
    state = tunnel_state(settings)
    if state is not None and state["connected"]:
        return Check("relay", f"{address} answers; the tunnel is open since {state['since']}")
    return Check("relay", f"{address} answers; the tunnel is not open: `acinus-node run` opens it", advice=True)


def outside(settings: NodeSettings) -> Check:
    """Look at the gateway as a reader does: the key that is shown there must be the hospital's own.

    Raises:
        RefusedError: `peer-untrusted` if it is another.
    """
    from client.gate.keys import gateway_pin
    from client.gate.outside import Seen, look_from_outside

    origin = settings.gateway.origin
    seen = asyncio.run(look_from_outside(origin, gateway_pin(settings.keys)))
    if seen is Seen.ANOTHER:
        raise RefusedError(
            Code.PEER_UNTRUSTED,
            f"who answers at {origin} has another key than this hospital's gateway. Switch the tunnel off and find out who: "
            "docs/how-to/relay.md. A proxy that opens TLS on this machine's own way out looks the same.",
        )
    if seen is Seen.NOBODY:
        return Check("outside", f"nobody answers at {origin} yet", advice=True)
    return Check("outside", f"readers at {origin} are shown this gateway's own key")


async def _greet(host: str, port: int) -> None:
    """Say an SSH greeting and wait for one (RFC 4253, section 4.2); what the relay holds is not asked for.

    Raises:
        UnavailableError: `peer-unreachable`, with what is in the way.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await dial_raw(host, port)
            try:
                writer.write(b"SSH-2.0-acinus-doctor\r\n")
                greeting = await reader.read(4)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, f"no connection to {host}:{port}. Let firewall and proxy pass it outwards."
        ) from error
    if greeting != b"SSH-":
        raise UnavailableError(
            Code.PEER_UNREACHABLE,
            f"{host}:{port} lets this machine connect, but not speak SSH. The proxy or firewall must leave this address alone.",
        )


def _address(origin: Origin) -> tuple[str, int]:
    parts = urlsplit(origin)
    return parts.hostname or "", parts.port or _HTTPS


async def _open(host: str, port: int, context: ssl.SSLContext) -> None:
    """Open TLS by the way that the node will take, and close it.

    Raises:
        UnavailableError: `peer-unreachable`, with what is in the way.
    """
    address = f"{host}:{port}"
    try:
        _, writer = await asyncio.wait_for(dial(host, port, context), _CONNECT_SECONDS)
    except ssl.SSLError as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE,
            f"who answers at {address} is not the centre, or does not know this node. A proxy or firewall that opens TLS "
            "must leave this name alone.",
        ) from error
    except socket.gaierror as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, f"the name {host} is not known on this machine. Correct its DNS, or name a proxy."
        ) from error
    except (OSError, TimeoutError) as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, f"no connection to {address}. Let firewall and proxy pass it outwards."
        ) from error
    writer.close()
