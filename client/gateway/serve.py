"""Serves the gateway, and other rooms' pages and doors, on the hospital's own TLS until it is told to stop."""

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from protocol.codes import Code
from protocol.errors import UnavailableError

log = logging.getLogger(__name__)

_STOP_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What is asked of clients. Browsers speak TLS 1.3; archives and modalities live longer, and get 1.2 too (PS3.15 annex B.12)."""

    least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    client_ca: Path | None = None
    """Whose certificates clients must show; `None` asks for none."""


def serve(  # noqa: PLR0913 - what, where, by which keys, until when
    app: Starlette,
    *,
    host: str,
    port: int,
    keys: Path,
    stop: threading.Event,
    setting: str = "[gateway]",
    tls: Tls = Tls(),
    most_connections: int | None = None,
) -> None:
    """Serve `app` with `gateway.pem` and `gateway.key` from `keys`, in this thread, until `stop` is set.

    Args:
        app: The application.
        host: Where to listen.
        port: Where to listen.
        keys: The node's.
        stop: Ends it.
        setting: The table of `node.toml` that names host and port, such as `[gateway]`.
        tls: What is asked of clients.
        most_connections: At once; more are answered 503. `None` sets no limit.

    Raises:
        UnavailableError: `missing-certificate` or `port-taken`.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        log_config=None,
        timeout_graceful_shutdown=2,
        limit_concurrency=most_connections,
        ssl_certfile=keys / "gateway.pem",
        ssl_keyfile=keys / "gateway.key",
        ssl_ca_certs=str(tls.client_ca) if tls.client_ca is not None else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if tls.client_ca is not None else ssl.CERT_NONE,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            f"{keys}/gateway.pem, gateway.key or the authority that {setting} names is missing or unreadable."
            " `acinus-node init` makes the first two.",
        ) from error
    if config.ssl is not None:
        config.ssl.minimum_version = tls.least
    _run(
        uvicorn.Server(config),
        stop,
        f"{host}:{port} is taken. Stop the other program, or set {setting} port in node.toml.",
    )


def _run(server: uvicorn.Server, stop: threading.Event, taken: str) -> None:
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(server, stop, ended), daemon=True)
    watcher.start()
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not bind
        raise UnavailableError(Code.PORT_TAKEN, taken) from error
    finally:
        ended.set()
        watcher.join()


def _watch(server: uvicorn.Server, stop: threading.Event, ended: threading.Event) -> None:
    """Ask the server to end once `stop` is set."""
    while not ended.wait(_STOP_POLL_SECONDS):
        if stop.is_set():
            server.should_exit = True
            return
