"""Answers that a caller had a moment ago, given again before anything else is asked: same key, same address, same bytes. Plain ASGI.

What passes here was checked when it was first answered: who the caller is, what they may see, and the line in the read log. An answer of the
application shows that the key still is who it was and that the newest release still is the newest; it vouches for all that was answered on
the same ground. From `LOOK_AFTER` on one request at a time is asked of the application again, behind its own answer, with a rest after each; what the application
refuses is given to nobody any more. For as long as `HELD_FOR` a key that has been ended and a release that has been superseded go
unnoticed; no longer. Each answer is counted against the caller's pace and in the read log, and is not in the access log.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry_api.api.answering import Ground
from registry_api.logs import fault_of
from registry_api.people.readlog import Reading
from registry_api.runtime import Runtime

log = logging.getLogger(__name__)

HELD_FOR = timedelta(seconds=5)
LOOK_AFTER = 0.7 * HELD_FOR
REST = timedelta(milliseconds=20)
"""Between two looks: while one is under way answers wait for the processor, and what has gathered by then goes out in the meantime."""

_PATHS = "/v1/registry/"
_HELD_MOST = 4096
_OK, _NOT_MODIFIED = 200, 304

_Key = tuple[bytes, str, bytes]
_Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class _Seen:
    """When it was last seen that a ground holds."""

    at: datetime


@dataclass(frozen=True, slots=True)
class _Held:
    """An answer, and what it needs to be given again."""

    seen: _Seen
    reading: Reading
    headers: _Headers
    tag: bytes
    body: bytes

    @property
    def headers_without_body(self) -> _Headers:
        """Those of a 304."""
        return [pair for pair in self.headers if pair[0] not in (b"content-length", b"content-type")]


class Quick:
    """Wraps the application. With a witness it does nothing: that one wants to see every byte."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app, self._runtime = app, runtime
        self._held: OrderedDict[_Key, _Held] = OrderedDict()
        self._grounds: OrderedDict[tuple[bytes, Ground], _Seen] = OrderedDict()
        self._lock = Lock()
        self._look: asyncio.Task[None] | None = None
        self._rests_until: datetime | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application do so and remember what it said."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(_PATHS):
            await self._app(scope, receive, send)
            return
        sent = dict(scope["headers"])
        key = (sent.get(b"authorization", b""), scope["path"], scope["query_string"])
        held = self._held.get(key)
        if held is not None and self._may(held):
            await _give(held, sent.get(b"if-none-match"), send)
        elif held is not None and self._is_due(held):
            self._look = asyncio.create_task(self._look_again(key, held, scope))
            await _give(held, sent.get(b"if-none-match"), send)
        elif key[0] and self._runtime.witness is None:
            await self._learn(key, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _may(self, held: _Held) -> bool:
        """Say whether the answer may be given and nothing else done, and count it."""
        now = self._runtime.clock()
        passed = now - held.seen.at
        return (
            (passed < LOOK_AFTER or (self._looking and passed < HELD_FOR))
            and self._runtime.pace.take(held.reading.person_id, now=now)
            and self._runtime.read_log.again(held.reading)
        )

    def _is_due(self, held: _Held) -> bool:
        """Say whether the answer may be given if the application is asked behind it, which then counts it."""
        passed = self._runtime.clock() - held.seen.at
        return LOOK_AFTER <= passed < HELD_FOR and not self._looking and self._runtime.read_log.knows(held.reading)

    @property
    def _looking(self) -> bool:
        """Whether a look is under way, or was a moment ago."""
        under_way = self._look is not None and not self._look.done()
        return under_way or (self._rests_until is not None and self._runtime.clock() < self._rests_until)

    async def _look_again(self, key: _Key, held: _Held, scope: Scope) -> None:
        """Ask the application for nobody; if it refuses, what rests on the same ground is given to nobody any more."""
        refused = True

        async def listen(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = message["status"] not in (_OK, _NOT_MODIFIED)

        try:
            await self._learn(key, scope, _stay, listen)
        except Exception as error:  # noqa: BLE001 — nobody waits who could be told
            log.error("quick.fault", extra=fault_of(error))  # noqa: TRY400 — the text may quote a row
        finally:
            if refused:
                held.seen.at -= HELD_FOR
                self._runtime.read_log.again(held.reading)  # given all the same, and not counted by the application
            self._rests_until = self._runtime.clock() + REST

    async def _learn(self, key: _Key, scope: Scope, receive: Receive, send: Send) -> None:
        told: list[Message] = []
        began = self._runtime.clock()

        async def listen(message: Message) -> None:
            told.append(message)
            await send(message)

        await self._app(scope, receive, listen)
        state = scope.get("state", {})
        if "ground" in state and [one["type"] for one in told] == ["http.response.start", "http.response.body"]:
            with self._lock:
                seen = self._see(key[0], state["ground"], began)
                self._hold(key, seen, state["reading"], (told[0], told[1]))

    def _hold(self, key: _Key, seen: _Seen, reading: Reading, told: tuple[Message, Message]) -> None:
        start, body = told
        headers: _Headers = list(start["headers"])
        tag = dict(headers).get(b"etag")
        if start["status"] == _OK and tag is not None and not body.get("more_body"):
            self._held[key] = _Held(seen, reading, headers, tag, body["body"])
            self._held.move_to_end(key)
            if len(self._held) > _HELD_MOST:
                self._held.popitem(last=False)

    def _see(self, authorization: bytes, ground: Ground, at: datetime) -> _Seen:
        """Note that the ground held; who sees that a release is the newest also sees that the key is somebody's."""
        for one in (ground, ground.without_release):
            seen = self._grounds.setdefault((authorization, one), _Seen(at))
            seen.at = max(seen.at, at)
            self._grounds.move_to_end((authorization, one))
        while len(self._grounds) > _HELD_MOST:
            self._grounds.popitem(last=False)
        return self._grounds[authorization, ground]


async def _stay() -> Message:
    """Receive as from a caller who sent all and stays."""
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await never


async def _give(held: _Held, if_none_match: bytes | None, send: Send) -> None:
    """Send the answer, or 304 to who names its tag; other forms of the header get the whole answer."""
    if if_none_match is not None and (held.tag in if_none_match or if_none_match.strip() == b"*"):
        await send({"type": "http.response.start", "status": _NOT_MODIFIED, "headers": held.headers_without_body})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.start", "status": _OK, "headers": held.headers})
        await send({"type": "http.response.body", "body": held.body})
