"""A caller of ASGI applications that sends what it is told, part by part, and shows all that came back, event by event."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Heard:
    """What an application answered, and the exception in which it ended, by name."""

    status: int | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    fault: str | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def essence(self) -> tuple[int | None, list[tuple[bytes, bytes]], bytes, str | None]:
        """All but how the body was cut, and when it was sent."""
        kept = sorted((name.lower(), value) for name, value in self.headers if name.lower() != b"date")
        return self.status, kept, self.body, self.fault


def heard(
    app: App,
    path: str,
    *parts: bytes,
    method: str = "POST",
    headers: Sequence[tuple[bytes, bytes]] = (),
    hangs_up: bool = False,
) -> Heard:
    """Return what `app` says to one request. A caller who hangs up does so before the last part of the body."""
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": list(headers), "state": {},
        "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 6),
    }  # fmt: skip
    waiting = _events(parts or (b"",), hangs_up=hangs_up)

    async def call() -> Heard:
        found, over = Heard(), asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not waiting:
                await over.wait()
                return {"type": "http.disconnect"}
            return waiting[0] if waiting[0]["type"] == "http.disconnect" else waiting.pop(0)

        async def send(event: Any) -> None:
            if event["type"] == "http.response.start":
                found.status, found.headers = event["status"], list(event["headers"])
            else:
                found.parts.append(event.get("body", b""))
                if not event.get("more_body", False):
                    over.set()

        try:
            await app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - which one it is, is what the test compares
            found.fault = type(error).__name__
        return found

    return asyncio.run(asyncio.wait_for(call(), 20))


def _events(parts: Sequence[bytes], *, hangs_up: bool) -> list[dict[str, Any]]:
    """Return the body as a server hands it to an application. Who hangs up stays away."""
    events: list[dict[str, Any]] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if hangs_up:
        return [*events, {"type": "http.disconnect"}]
    events[-1]["more_body"] = False
    return events
