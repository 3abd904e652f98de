"""A pump on loopback that adds the node's certificate: Flower's client sends none, and the fleet gateway demands one.

The SuperNode speaks TLS to us under the hospital's own certificate; we speak mutual TLS to the fleet gateway, through the hospital's proxy
where there is one. Nothing else passes.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable

from client.gate.proxy import dial
from protocol.codes import Code
from protocol.enrolment import Address
from protocol.errors import FederationError, UnavailableError

_CHUNK = 64 * 1024
_CONNECT_SECONDS = 15.0

log = logging.getLogger(__name__)

Context = Callable[[], ssl.SSLContext]
"""Makes a TLS context; asked for each connection, so that a renewed certificate is used."""


async def forward(port: int, *, inside: ssl.SSLContext, fleet: Address, outside: Context, stop: asyncio.Event) -> None:
    """Carry bytes between loopback `port` and the fleet gateway until `stop` is set.

    Raises:
        UnavailableError: `port-taken`.
    """
    pumps: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            pumps.add(task)
            task.add_done_callback(pumps.discard)
        await _carry(reader, writer, fleet, outside)

    try:
        server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=inside)
    except OSError as error:
        raise UnavailableError(
            Code.PORT_TAKEN, f"127.0.0.1:{port} is taken. Stop the other program or change [flower] forward_port."
        ) from error
    async with server:
        log.info("forwarder.listening", extra={"port": port})
        await stop.wait()
    for pump in pumps:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fleet: Address, outside: Context) -> None:
    """Join one connection from the SuperNode with one to the fleet gateway until both sides have ended."""
    host, _, port = fleet.rpartition(":")
    try:
        far_reader, far_writer = await asyncio.wait_for(dial(host, int(port), outside()), _CONNECT_SECONDS)
    except (OSError, TimeoutError, FederationError) as error:
        log.warning("forwarder.unreachable", extra={"fault": type(error).__name__})
        writer.close()
        return
    try:
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
    finally:
        far_writer.close()
        writer.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy bytes until the source ends; TLS cannot be half closed, so that ends the sink too."""
    try:
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
    except (ConnectionError, ssl.SSLError) as error:
        log.debug("forwarder.cut", extra={"fault": type(error).__name__})
    finally:
        sink.close()
