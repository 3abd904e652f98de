"""What every HTTPS request passes: size limit, witness, language, security headers, access log. Plain ASGI, so that bodies stream."""

import logging
import time
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry_api.pages.language import COOKIE, chosen, speak
from registry_api.runtime import Runtime

log = logging.getLogger("registry_api.access")

BODY_MAX = 1024 * 1024
WEIGHTS_MAX = 520 * 1024 * 1024
_WEIGHTS_PATH = "/v1/models"

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send `Origin: null` with our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class TooLargeError(Exception):
    """The body passed its limit while it was being read."""


class Rim:
    """Wraps the application. Log lines carry method, route and status: no query, no address, no body."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._saw_head(scope)
        request = HTTPConnection(scope)
        speak(chosen(request.cookies.get(COOKIE), request.headers.get("Accept-Language", "")))
        exchange = _Exchange(self._runtime, scope, receive, send)
        if exchange.declared > exchange.limit:
            await exchange.refuse()
        else:
            await exchange.run(self._app)
        log.info("request.served", extra=exchange.summary())

    def _saw_head(self, scope: Scope) -> None:
        if self._runtime.witness is not None:
            line = f"{scope['method']} ".encode() + scope.get("raw_path", b"") + b"?" + scope["query_string"]
            headers = b"\n".join(name + b": " + value for name, value in scope["headers"])
            self._runtime.witness.saw_http(line + b"\n" + headers)


class _Exchange:
    """One request and its answer."""

    def __init__(self, runtime: Runtime, scope: Scope, receive: Receive, send: Send) -> None:
        self._runtime, self._scope, self._receive, self._send = runtime, scope, receive, send
        length = Headers(scope=scope).get("content-length", "0")
        self.declared = int(length) if length.isdecimal() else 0
        self.limit = WEIGHTS_MAX if scope["path"] == _WEIGHTS_PATH else BODY_MAX
        self._received = 0
        self._status = 0
        self._began = time.monotonic()

    async def run(self, app: ASGIApp) -> None:
        """Let `app` answer, unless the body passes the limit on the way: what it makes of that is not sent."""
        with suppress(TooLargeError):
            await app(self._scope, self._read, self._answer)
        if self._received > self.limit and self._status == 0:
            await self.refuse()

    async def refuse(self) -> None:
        """Answer 413."""
        await self._pass_on({"type": "http.response.start", "status": 413, "headers": []})
        await self._pass_on({"type": "http.response.body", "body": b"The request is too large.\n"})

    def summary(self) -> dict[str, object]:
        """Return what the access log says."""
        route = self._scope.get("route")
        return {
            "method": self._scope["method"],
            "route": getattr(route, "path", "none"),
            "status": self._status,
            "ms": round((time.monotonic() - self._began) * 1000, 1),
        }

    async def _read(self) -> Message:
        message = await self._receive()
        body = message.get("body", b"")
        self._received += len(body)
        if self._received > self.limit:
            raise TooLargeError
        if self._runtime.witness is not None and body:
            self._runtime.witness.saw_http(body)
        return message

    async def _answer(self, message: Message) -> None:
        if self._status or self._received <= self.limit:
            await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)
