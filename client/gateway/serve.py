"""Serves the gateway on the hospital's own TLS until it is told to stop."""

import logging
import ssl
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from protocol.codes import Code
from protocol.errors import UnavailableError

log = logging.getLogger(__name__)

_STOP_POLL_SECONDS = 0.2


def serve(app: FastAPI, *, host: str, port: int, keys: Path, stop: threading.Event) -> None:
    """Serve `app` with `gateway.pem` and `gateway.key` from `keys`, in this thread, until `stop` is set.

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
        ssl_certfile=keys / "gateway.pem",
        ssl_keyfile=keys / "gateway.key",
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            f"{keys}/gateway.pem or gateway.key is missing or unreadable. `acinus-node init` makes them.",
        ) from error
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    _run(uvicorn.Server(config), host, port, stop)


def _run(server: uvicorn.Server, host: str, port: int, stop: threading.Event) -> None:
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(server, stop, ended), daemon=True)
    watcher.start()
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not bind
        raise UnavailableError(
            Code.PORT_TAKEN, f"{host}:{port} is taken. Stop the other program, or set [gateway] port in node.toml."
        ) from error
    finally:
        ended.set()
        watcher.join()


def _watch(server: uvicorn.Server, stop: threading.Event, ended: threading.Event) -> None:
    """Ask the server to end once `stop` is set."""
    while not ended.wait(_STOP_POLL_SECONDS):
        if stop.is_set():
            server.should_exit = True
            return
