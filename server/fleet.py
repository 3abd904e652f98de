"""The fleet gateway: the one door through which SuperNodes reach the SuperLink.

The SuperLink serves three APIs on one port, and two of them ask for no credentials at all. So it stays on loopback, and this door lets
through `POST /v1/fleet/*` from holders of a certificate of an active site, and nothing else.
"""

import logging
import re
from typing import Any

import httpx

from server.peer import PEER_SERIAL, Receive, Scope, Send
from server.roster import Roster
from server.witness import Witness

log = logging.getLogger(__name__)

PREFIX = "/v1/fleet/"
_PATH = re.compile(PREFIX + r"[a-z-]{1,60}")
_TOO_LARGE = 413
_HOP_BY_HOP = frozenset(
    {
        *(
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "trailer",
            "transfer-encoding",
        ),
        *("upgrade", "host", "content-length", "accept-encoding", "server", "date"),
    }
)
"""RFC 9110 section 7.6.1, and what httpx and uvicorn write anew."""


class FleetGateway:
    """An ASGI application.

    Args:
        roster: Who belongs to the network.
        superlink: A client whose base is the SuperLink on loopback.
        limit_bytes: The largest request let through; Flower cuts weights into pieces of 5 MiB.
        witness: Sees every request, also those that are refused.
    """

    def __init__(
        self, roster: Roster, superlink: httpx.AsyncClient, *, limit_bytes: int, witness: Witness | None = None
    ) -> None:
        self._roster = roster
        self._superlink = superlink
        self._limit = limit_bytes
        self._witness = witness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Of a request that may not pass, the body is not even read, unless a witness wants it."""
        if scope["type"] != "http":
            return
        status = self._refusal(scope)
        if status is not None and self._witness is None:
            await _reply(send, status)
            return
        body, whole = await _read(receive, self._limit)
        if self._witness is not None:
            self._witness.saw(*_described(scope), body)
        if status is not None or not whole:
            await _reply(send, status or _TOO_LARGE)
            return
        await self._forward(scope, body, send)

    def _refusal(self, scope: Scope) -> int | None:
        """Return the status of a request that may not pass."""
        if not self._roster.fresh:
            log.warning("fleet.roster-stale")
            return 503
        if self._roster.site_of(scope.get(PEER_SERIAL)) is None:
            log.warning("fleet.stranger", extra={"serial": scope.get(PEER_SERIAL)})
            return 403
        raw: bytes = scope.get("raw_path", b"")
        plain = raw.decode("ascii", "replace") == scope["path"]
        return None if plain and scope["method"] == "POST" and _PATH.fullmatch(scope["path"]) else 404

    async def _forward(self, scope: Scope, body: bytes, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name.decode("latin-1") not in _HOP_BY_HOP]
        try:
            answer = await self._superlink.post(scope["path"], content=body, headers=headers)
        except httpx.HTTPError as error:
            log.warning("fleet.superlink-silent", extra={"fault": type(error).__name__})
            await _reply(send, 503)
            return
        kept = [
            (name, value)
            for name, value in answer.headers.raw
            if name.lower().decode("latin-1") not in _HOP_BY_HOP | {"content-encoding"}  # httpx has undone it
        ]
        await _reply(send, answer.status_code, headers=kept, body=answer.content)


async def _read(receive: Receive, limit: int) -> tuple[bytes, bool]:
    """Return the body and whether that is all of it: not if it is larger than `limit`, or the caller hung up half-way."""
    body = bytearray()
    while True:
        message: Any = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or len(body) > limit:
            return bytes(body), False
        if not message.get("more_body", False):
            return bytes(body), True


async def _reply(
    send: Send, status: int, *, headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b""
) -> None:
    start = {"type": "http.response.start", "status": status, "headers": headers or []}
    start["headers"] = [*start["headers"], (b"content-length", str(len(body)).encode())]  # type: ignore[misc] # a plain dict
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _described(scope: Scope) -> list[bytes]:
    """Return request line and headers as they came."""
    line = b" ".join([scope["method"].encode(), scope.get("raw_path", b""), scope.get("query_string", b"")])
    return [line, *(name + b": " + value for name, value in scope["headers"])]
