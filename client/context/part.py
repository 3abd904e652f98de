"""The part `context` of a running node: the HL7 port and the FHIR port, each if the settings switch it on."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol

from fastapi import FastAPI

from client.context.desk import ContextDesk
from client.context.mllp import Line, MllpServer, Network
from client.context.web import create_app, read_token
from client.gate.keys import GATEWAY_CERTIFICATE, GATEWAY_KEY
from client.sections import Hl7Settings
from client.settings import NodeSettings
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

_POLL_SECONDS = 0.1
_MOST_CONNECTIONS = 32


class Serve(Protocol):
    """What serves an application over HTTPS in this thread until it is told to stop (`client.gateway.serve`)."""

    def __call__(  # noqa: D102, PLR0913 - described there
        self,
        app: FastAPI,
        *,
        host: str,
        port: int,
        keys: Path,
        stop: threading.Event,
        setting: str,
        most_connections: int,
    ) -> None: ...


def run_context(
    settings: NodeSettings, open_desk: Callable[[], ContextDesk], stop: threading.Event, serve: Serve
) -> None:
    """Listen until `stop` is set.

    Raises:
        UnavailableError: `port-taken`, `missing-certificate`.
        InvalidInputError: `bad-setting` if the part is run and both ports are off.
    """
    if not (settings.hl7.enabled or settings.fhir.enabled):
        raise InvalidInputError(Code.BAD_SETTING, "Neither [hl7] nor [fhir] is enabled in node.toml.")
    failed: list[BaseException] = []
    web = threading.Thread(target=_web, args=(settings, open_desk, stop, serve, failed), name="fhir", daemon=True)
    if settings.fhir.enabled:
        web.start()
    try:
        asyncio.run(_until(settings, open_desk, stop))
    finally:
        stop.set()
        if settings.fhir.enabled:
            web.join(timeout=5)
    if failed:
        raise failed[0]


async def _until(settings: NodeSettings, open_desk: Callable[[], ContextDesk], stop: threading.Event) -> None:
    stopped = asyncio.Event()

    async def watch() -> None:
        while not stop.is_set():  # noqa: ASYNC110 - set by a signal or another thread, so it is no asyncio.Event
            await asyncio.sleep(_POLL_SECONDS)
        stopped.set()

    watcher = asyncio.create_task(watch())
    try:
        if settings.hl7.enabled:
            await MllpServer(line_of(settings), lambda: open_desk().hear_hl7).run(stopped)
        else:
            await stopped.wait()
    finally:
        watcher.cancel()


def _web(
    settings: NodeSettings,
    open_desk: Callable[[], ContextDesk],
    stop: threading.Event,
    serve: Serve,
    failed: list[BaseException],
) -> None:
    fhir = settings.fhir
    try:
        app = create_app(
            open_desk,
            token=read_token(settings.keys),
            senders=networks(fhir.senders),
            most_bytes=fhir.most_kb << 10,
        )
        serve(
            app, host=fhir.host, port=fhir.port, keys=settings.keys, stop=stop, setting="[fhir]",
            most_connections=_MOST_CONNECTIONS,
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - a thread that died alone would leave the part deaf; raised by `run_context`
        failed.append(error)
        stop.set()


def line_of(settings: NodeSettings) -> Line:
    """Return the HL7 port as the settings say.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    hl7 = settings.hl7
    return Line(
        hl7.host, hl7.port, networks(hl7.senders), hl7.most_kb << 10,
        _tls(hl7, settings.keys, settings.home) if hl7.tls else None,
    )  # fmt: skip


def networks(senders: tuple[str, ...]) -> tuple[Network, ...]:
    """Return addresses and networks that the settings have checked."""
    return tuple(ip_network(one, strict=False) for one in senders)


def _tls(hl7: Hl7Settings, keys: Path, home: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # interface engines are slow to learn 1.3
    try:
        context.load_cert_chain(keys / GATEWAY_CERTIFICATE, keys / GATEWAY_KEY)
        if hl7.senders_ca:
            context.load_verify_locations(home / hl7.senders_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, "The certificate of [hl7] or its senders_ca is missing or damaged. Restore it."
        ) from error
    return context
