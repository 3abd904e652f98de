"""Flower's servers with their layers as plain calls, one within the other.

Each layer is a Starlette `BaseHTTPMiddleware`: two tasks and two queues for every request, and a task more for every 64 KiB of its body, so
that answers may be streams. The SuperLink has nine of them; they and FastAPI cost it more than its database does. But none of its answers to
a SuperNode, a runner or a ServerApp is a stream, and what a layer does stands in one function, which takes a request and whatever comes next.
"""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, DispatchFunction
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAINED, STREAMED = ("/v1/fleet/", "/v1/runtime/"), "/v1/runtime/responses"
"""Paths whose answers are whole, and one among them whose answer may be a stream. On that one, and on all others, `/v1/control/` among them,
the layers are passed as Flower made them."""


def chained(create_app: Callable[..., FastAPI]) -> Callable[..., FastAPI]:
    """Return Flower's function that makes a server's application, so that its layers are called one within the other."""

    def created(*given: Any, **named: Any) -> FastAPI:
        app = create_app(*given, **named)
        app.router.routes.sort(key=_is_asked_for_little)
        app.user_middleware = [Middleware(Chain, layers=tuple(app.user_middleware))]
        return app

    return created


class Chain:
    """An ASGI application around another one, with layers between the two.

    Args:
        app: The inner one.
        layers: From the outermost to the innermost.

    Raises:
        TypeError: If a layer is none of Starlette's `BaseHTTPMiddleware`, so that it cannot be called.
    """

    def __init__(self, app: App, layers: Sequence[Middleware]) -> None:
        self._app = app
        self._stack = app
        self._dispatches: list[DispatchFunction] = []
        for layer in reversed(layers):
            built: Any = layer.cls(self._stack, *layer.args, **layer.kwargs)
            if not isinstance(built, BaseHTTPMiddleware):
                raise TypeError(
                    f"{type(built).__name__} is no BaseHTTPMiddleware: this Flower has another kind of layer."
                )
            self._stack = built
            self._dispatches.insert(0, built.dispatch_func)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not _is_chained(scope["path"]):
            await self._stack(scope, receive, send)
            return
        body = await _joined(receive)
        response = await self._answer(Request(scope, _first(body, receive)), 0, _first(body, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request, number: int, receive: Receive) -> Response:
        """Return what the layer of that number says, or behind the last one the inner application."""
        if number < len(self._dispatches):
            return await self._dispatches[number](request, lambda passed: self._answer(passed, number + 1, receive))
        start: Event = {}
        parts: list[bytes] = []

        async def keep(event: Event) -> None:
            if event["type"] == "http.response.start":
                start.update(event)
            else:
                parts.append(event.get("body", b""))

        await self._app(request.scope, receive, keep)
        response = Response(b"".join(parts), start["status"])
        response.raw_headers = list(start.get("headers", []))
        return response


def _is_asked_for_little(route: BaseRoute) -> bool:
    """Say whether none of a router's paths is chained. A server tries its routes one after the other, and Flower's asked for most come last."""
    return not any(_is_chained(str(one.path)) for one in iter_route_contexts([route]))


def _is_chained(path: str) -> bool:
    return path.startswith(CHAINED) and not path.startswith(STREAMED)


def _first(event: Event, receive: Receive) -> Receive:
    """Return what gives `event` first, and then whatever comes."""
    waiting = [event]

    async def received() -> Event:
        return waiting.pop() if waiting else await receive()

    return received


async def _joined(receive: Receive) -> Event:
    """Return the whole body as one event; instead of one that broke off, that its caller has gone."""
    pieces: list[bytes] = []
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return event
        pieces.append(event.get("body", b""))
        if not event.get("more_body", False):
            return {"type": "http.request", "body": b"".join(pieces), "more_body": False}
