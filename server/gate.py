"""Runs the fleet gateway, and beside it the two loops that follow the registry: who may come in, and whose key the SuperLink knows."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Iterator

import httpx
import uvicorn

from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError
from server.bell import ORDERS, Watch
from server.fleet import FleetGateway
from server.peer import PeerProtocol
from server.reconcile import Reconciler
from server.registry import Registry, trust
from server.roster import REFRESH_SECONDS, Roster
from server.settings import CentreSettings
from server.witness import Witness
from strategies.bell import Bell
from strategies.flower.fleet import Fleet
from strategies.flower.pieces import Pieces

log = logging.getLogger(__name__)

_GRACE_SECONDS = 3
_UPSTREAM_SECONDS = 120.0


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def serve_fleet(settings: CentreSettings, registry: Registry, fleet: Fleet) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        UnavailableError: `port-taken` or `missing-certificate`.
    """
    roster = Roster()
    authority = settings.within(settings.authority.certificate)
    async with httpx.AsyncClient(
        base_url=f"https://{settings.superlink_address}",
        verify=trust(authority),
        timeout=_UPSTREAM_SECONDS,
        trust_env=False,
    ) as superlink:
        limit, orders = settings.fleet.request_mb * 1024 * 1024, Watch(Bell(settings.runs / ORDERS))
        gateway = FleetGateway(
            roster,
            superlink,
            limit_bytes=limit,
            witness=_witness(settings),
            orders=orders,
            pieces=Pieces(settings.pieces),
        )
        web = _Server(_config(settings, gateway))

        def end() -> None:
            web.should_exit = True
            orders.close()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, end)
        with _listener(settings) as listener:
            listening = asyncio.create_task(orders.run())
            following = asyncio.create_task(follow(registry, roster, Reconciler(fleet)))
            following.add_done_callback(lambda _: end())
            log.info("fleet.started", extra={"port": settings.fleet.port})
            await web.serve(sockets=[listener])
            if following.done():
                following.result()
            following.cancel()
            listening.cancel()


async def follow(registry: Registry, roster: Roster, reconciler: Reconciler) -> None:
    """Ask the registry again and again; whatever does not answer is asked again."""
    silent = ""
    while True:
        try:
            entries = await asyncio.to_thread(registry.sites)
            roster.hear(entries)
            await asyncio.to_thread(reconciler.apply, entries)
            silent = ""
        except FederationError as error:
            if str(error) != silent:
                log.warning("fleet.waiting", extra={"code": error.code.value, "why": str(error)})
            silent = str(error)
        await asyncio.sleep(REFRESH_SECONDS)


def _witness(settings: CentreSettings) -> Witness | None:
    directory = settings.witness.directory
    return Witness(settings.within(directory)) if directory else None


def _listener(settings: CentreSettings) -> socket.socket:
    fleet = settings.fleet
    try:
        listener = socket.create_server((fleet.host, fleet.port), backlog=2048)
    except OSError as error:
        raise UnavailableError(
            Code.PORT_TAKEN,
            f"Port {fleet.port} (fleet gateway) cannot be opened on {fleet.host}: {error.strerror}. "
            "Stop the other program or set another port under [fleet].",
        ) from error
    # What is accepted inherits it. asyncio leaves it off where a socket names no protocol, and then an answer's second piece waits for the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _config(settings: CentreSettings, app: FleetGateway) -> uvicorn.Config:
    """Demand a client certificate of the network's own authority from everybody, TLS 1.2 at least."""
    certificate, key = settings.within(settings.fleet.certificate), settings.within(settings.fleet.key)
    authority = settings.within(settings.authority.certificate)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            f"{certificate} and {key} are no certificate and its key. Restore them from a backup of this folder.",
        ) from error
    return uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        ssl_ca_certs=str(authority),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
