"""Runs the registry: HTTPS, the link and the courier in one event loop, until a signal."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Iterator

import uvicorn

from protocol.codes import Code
from protocol.errors import UnavailableError
from registry_api.link.courier import Courier
from registry_api.link.server import open_link
from registry_api.main import create_app
from registry_api.runtime import Runtime

log = logging.getLogger(__name__)

HAND_OVER_SECONDS = 0.0005
"""So long a thread keeps the interpreter from the others; Python's own 5 ms let answers that only wait to be sent wait for those that are computed."""

_GRACE_SECONDS = 3
_KEEP_ALIVE_SECONDS = 75
"""Readers' programs send a heartbeat every sixty seconds; a line that ends before costs both sides a handshake each time."""

_LINK_GRACE_SECONDS = 0.5
"""Streams never end by themselves; what is not answered by then the node sends again."""


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us: it would end the process before the link is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


def hand_over_soon() -> None:
    """Let threads that compute give the interpreter back to the event loop soon."""
    sys.setswitchinterval(HAND_OVER_SECONDS)


def keep_what_is_loaded() -> None:
    """Have Python's collector look at what is loaded once more and never again: its looks at everything stop all threads for longer than a claim may take (ADR 0188)."""
    gc.collect()
    gc.freeze()


async def serve(runtime: Runtime) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        UnavailableError: `port-taken` or `missing-certificate`; nothing is left open then.
    """
    hand_over_soon()
    web = _Server(_web_config(runtime))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, setattr, web, "should_exit", True)  # noqa: FBT003 — setattr's own order
    with open_http_socket(runtime) as listener:
        await _serve_both(runtime, web, listener)


async def _serve_both(runtime: Runtime, web: uvicorn.Server, listener: socket.socket) -> None:
    """Serve the link beside HTTPS until HTTPS ends, then close everything."""
    courier = Courier(runtime.database, runtime.clock)
    link = open_link(runtime, courier)
    await link.start()
    carrying = asyncio.create_task(courier.run())
    keep_what_is_loaded()
    log.info("registry.started", extra={"port": runtime.settings.http.port, "link": runtime.settings.link.port})
    try:
        await web.serve(sockets=[listener])
    finally:
        carrying.cancel()
        await link.stop(_LINK_GRACE_SECONDS)
        runtime.read_log.close()
        runtime.database.close()
        log.info("registry.stopped")


def open_http_socket(runtime: Runtime) -> socket.socket:
    """Return a listening socket for HTTPS.

    Raises:
        UnavailableError: `port-taken`.
    """
    http = runtime.settings.http
    try:
        listener = socket.create_server((http.host, http.port), backlog=2048)
    except OSError as error:
        raise UnavailableError(
            Code.PORT_TAKEN,
            f"Port {http.port} (HTTPS) cannot be opened on {http.host}: {error.strerror}. "
            "Stop the other program or set another port under [http].",
        ) from error
    # What is accepted inherits it. asyncio leaves it off where a socket names no protocol, and then an answer's second piece waits for the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _web_config(runtime: Runtime) -> uvicorn.Config:
    http = runtime.settings.http
    certificate, key = runtime.settings.within(http.certificate), runtime.settings.within(http.key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            f"{certificate} and {key} are no certificate and its key. `acinus-centre init` makes them.",
        ) from error
    return uvicorn.Config(
        create_app(runtime),
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
