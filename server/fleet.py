"""The fleet gateway: the one door through which SuperNodes reach the SuperLink.

The SuperLink serves three APIs on one port, and two of them ask for no credentials at all. So it stays on loopback, and this door lets
through `POST /v1/fleet/*` from holders of a certificate of an active site, and nothing else.

A SuperNode's question for work is held here while there is none, until the ServerApp rings: so an order reaches every node at once, and a
node without work asks three times a minute.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any

import httpx

from protocol.errors import UnavailableError
from server.bell import Watch
from server.peer import PEER_SERIAL, Receive, Scope, Send
from server.roster import Roster
from server.witness import Witness
from strategies.flower.pieces import SMALL_BYTES, Pieces, with_content, with_ticket

log = logging.getLogger(__name__)

PREFIX = "/v1/fleet/"
PULL = PREFIX + "pull-messages"
PUSH_OBJECT, PULL_OBJECT = PREFIX + "push-object", PREFIX + "pull-object"

HOLD_SECONDS = 20.0
"""How long a question for work waits for its answer; a SuperNode's own patience with any request is 30 s."""

_PATH = re.compile(PREFIX + r"[a-z-]{1,60}")
_FORBIDDEN, _TOO_LARGE = 403, 413
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

_CLOSE = (b"connection", b"close")
"""Said to who speaks under a certificate that was renewed: the next request comes on a new connection, under the new one (RFC 9112 section 9.6).

Also to who is refused: a connection may have been silent for so long that its certificate counts no more, and its node has another."""


class FleetGateway:
    """An ASGI application.

    Args:
        roster: Who belongs to the network.
        superlink: A client whose base is the SuperLink on loopback.
        limit_bytes: The largest request let through; weights come in pieces of `PIECE_BYTES` (`strategies.flower`).
        witness: Sees every request, also those that are refused.
        orders: Hears the ServerApp; without it every question is answered at once.
        pieces: The folder that the SuperLink was started with, if with one: then it is sent tickets for large objects, and sends them.
    """

    def __init__(
        self,
        roster: Roster,
        superlink: httpx.AsyncClient,
        *,
        limit_bytes: int,
        witness: Witness | None = None,
        orders: Watch | None = None,
        pieces: Pieces | None = None,
    ) -> None:
        self._roster = roster
        self._superlink = superlink
        self._limit = limit_bytes
        self._witness = witness
        self._orders = orders
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Of a request that may not pass, the body is not even read, unless a witness wants it."""
        if scope["type"] != "http":
            return
        status = self._refusal(scope)
        if status is not None and self._witness is None:
            await _turn_away(send, status)
            return
        body, whole = await _read(receive, self._limit)
        if self._witness is not None:
            self._witness.saw(*_described(scope), body)
        if status is not None or not whole:
            await _turn_away(send, status or _TOO_LARGE)
            return
        await self._forward(scope, body, receive, send)

    def _refusal(self, scope: Scope) -> int | None:
        """Return the status of a request that may not pass."""
        if not self._roster.fresh:
            log.warning("fleet.roster-stale")
            return 503
        if self._roster.site_of(scope.get(PEER_SERIAL)) is None:
            log.warning("fleet.stranger", extra={"serial": scope.get(PEER_SERIAL)})
            return _FORBIDDEN
        raw: bytes = scope.get("raw_path", b"")
        plain = raw.decode("ascii", "replace") == scope["path"]
        return None if plain and scope["method"] == "POST" and _PATH.fullmatch(scope["path"]) else 404

    async def _forward(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] == PULL and self._orders is not None:
                answer = await self._work(scope, body, receive, self._orders)
            elif scope["path"] == PUSH_OBJECT and self._pieces is not None and len(body) > SMALL_BYTES:
                answer = await self._deposit(scope, body, self._pieces)
            else:
                answer = await self._ask(scope, body)
            content = answer.content
            if scope["path"] == PULL_OBJECT and self._pieces is not None and answer.is_success:
                content = await asyncio.to_thread(with_content, content, self._pieces)
        except UnavailableError as error:
            log.warning("fleet.no-room", extra={"code": error.code.value, "why": str(error)})
            await _reply(send, 503)
            return
        except (httpx.HTTPError, FileNotFoundError) as error:
            log.warning("fleet.superlink-silent", extra={"fault": type(error).__name__})
            await _reply(send, 503)
            return
        kept = [
            (name, value)
            for name, value in answer.headers.raw
            if name.lower().decode("latin-1") not in _HOP_BY_HOP | {"content-encoding"}  # httpx has undone it
        ]
        if not self._roster.is_present(scope.get(PEER_SERIAL)):
            kept.append(_CLOSE)
        await _reply(send, answer.status_code, headers=kept, body=content)

    async def _deposit(self, scope: Scope, body: bytes, pieces: Pieces) -> httpx.Response:
        """Pass an object on by ticket."""
        ticketed, deposit = await asyncio.to_thread(with_ticket, body, pieces)
        try:
            return await self._ask(scope, ticketed)
        finally:
            if deposit is not None:
                deposit.unlink(missing_ok=True)

    async def _ask(self, scope: Scope, body: bytes) -> httpx.Response:
        headers = [(name, value) for name, value in scope["headers"] if name.decode("latin-1") not in _HOP_BY_HOP]
        return await self._superlink.post(scope["path"], content=body, headers=headers)

    async def _work(self, scope: Scope, body: bytes, receive: Receive, orders: Watch) -> httpx.Response:
        """Ask for a node's work; while there is none, again whenever the ServerApp rings, until the time is over or the node has gone.

        A node that has gone is not asked for: the SuperLink hands each message out once, and this one would be lost.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HOLD_SECONDS
        with _watched(receive) as gone:
            while True:
                mark = orders.mark()
                answer = await self._ask(scope, body)
                if not _is_empty(answer) or not await _rung(orders, mark, deadline - loop.time(), gone):
                    return answer
                if gone.done() or self._refusal(scope) is not None:
                    return answer


@contextlib.contextmanager
def _watched(receive: Receive) -> Iterator["asyncio.Task[None]"]:
    """Give a task that is done when the caller has hung up."""

    async def until_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    gone = asyncio.create_task(until_gone())
    try:
        yield gone
    finally:
        gone.cancel()


async def _rung(orders: Watch, mark: int, seconds: float, gone: "asyncio.Task[None]") -> bool:
    """Say whether the ServerApp rang within `seconds`, and the caller is still there."""
    if seconds <= 0:
        return False
    ringing = asyncio.create_task(orders.next(mark, seconds))
    await asyncio.wait({ringing, gone}, return_when=asyncio.FIRST_COMPLETED)
    if gone.done():
        ringing.cancel()
        return False
    return await ringing


def _is_empty(answer: httpx.Response) -> bool:
    """Say whether the SuperLink had no message: nothing set is nothing written, in protobuf."""
    return answer.is_success and not answer.content


async def _read(receive: Receive, limit: int) -> tuple[bytes, bool]:
    """Return the body and whether that is all of it: not if it is larger than `limit`, or the caller hung up half-way."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message: Any = await receive()
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if message["type"] == "http.disconnect" or size > limit:
            return b"".join(pieces), False
        if not message.get("more_body", False):
            return b"".join(pieces), True


async def _turn_away(send: Send, status: int) -> None:
    await _reply(send, status, headers=[_CLOSE] if status == _FORBIDDEN else None)


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
