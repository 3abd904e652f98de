"""Lets an ASGI application see the client's certificate, which uvicorn keeps to itself."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PEER_SERIAL = "acinus.peer-serial"
"""Key in an ASGI scope: the serial of the client's certificate, lower-case hex without leading zeros."""


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with the client certificate's serial in the scope of each request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn narrows it too
        """Take the serial from the finished handshake."""
        super().connection_made(transport)
        serial, app = peer_serial(transport), self.app

        async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[PEER_SERIAL] = serial
            await app(scope, receive, send)

        self.app = with_peer


def peer_serial(transport: asyncio.BaseTransport) -> str | None:
    """Return the serial of the verified client certificate, as the registry writes serials; None without TLS."""
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert() if tls else None
    return format(int(certificate["serialNumber"], 16), "x") if certificate else None
