"""A web server on one core and its callers on another: requests at a fixed rate, and as many as go through."""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from registry_api.logs import start_logging
from registry_api.main import create_app
from registry_api.runtime import build_runtime
from registry_api.serve import hand_over_soon, keep_what_is_loaded

_CONNECTIONS = 32


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Keep this process on one core while the body runs; 0 is the first, -1 the last."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def serving(make: Callable[..., ASGIApp], *arguments: object) -> Iterator[int]:
    """Give the port of a server process that runs the application `make` returns, over plain HTTP on the last core."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
    process.start()
    try:
        yield int(ours.recv())
    finally:
        process.terminate()
        process.join()


def _serve(told: Connection, make: Callable[..., ASGIApp], arguments: Sequence[object]) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            make(*arguments), host="127.0.0.1", port=0, log_config=None, access_log=False, server_header=False
        )
    )

    async def run() -> None:
        serving_ = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 — uvicorn tells it by this alone
            await asyncio.sleep(0.01)
        told.send(server.servers[0].sockets[0].getsockname()[1])
        await serving_

    with on_core(-1):
        asyncio.run(run())


def registry_app(home: str) -> ASGIApp:
    """Return the registry of a centre's folder."""
    runtime = build_runtime(Path(home))
    start_logging(runtime.settings.logs)
    hand_over_soon()
    app = create_app(runtime)
    keep_what_is_loaded()
    return app


def static_app(body: bytes) -> ASGIApp:
    """Return the yardstick: a bare route of the same framework that answers with the same bytes."""

    async def answer(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/bytes", answer)])


class _Line(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waits: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, body = bytes(self._buffer).partition(b"\r\n\r\n")
        if mark and len(body) >= _length(head):
            self._buffer.clear()
            assert self._waits is not None
            self._waits.set_result(int(head[9:12]))

    async def ask(self, request: bytes) -> int:
        """Send a request and return the status of its answer."""
        assert self._transport is not None
        self._waits = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waits


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line[15:])
    return 0


def request_for(path: str, key: str) -> bytes:
    """Return the bytes of a GET with a bearer key."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def at_a_rate(port: int, requests: Sequence[bytes], *, per_second: int, seconds: float) -> list[float]:
    """Ask at a fixed rate, whether or not answers come (open loop); return the seconds from when each was due, sorted."""
    with on_core(0):
        return asyncio.run(_at_a_rate(port, requests, per_second, seconds))


async def _at_a_rate(port: int, requests: Sequence[bytes], per_second: int, seconds: float) -> list[float]:
    lines = await _lines(port)
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    took: list[float] = []

    async def work(line: _Line) -> None:
        while (one := await due.get()) is not None:
            status = await line.ask(one[1])
            assert status == 200, status
            took.append(time.perf_counter() - one[0])

    workers = [asyncio.create_task(work(line)) for line in lines]
    began = time.perf_counter()
    for number in range(int(per_second * seconds)):
        at = began + number / per_second
        while (wait := at - time.perf_counter()) > 0:  # noqa: ASYNC110 — a clock, not an event
            await asyncio.sleep(wait if wait > 0.001 else 0)
        due.put_nowait((at, requests[number % len(requests)]))
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    return sorted(took)


def as_fast_as_goes(port: int, requests: Sequence[bytes], *, seconds: float) -> float:
    """Ask on many connections, each as soon as it has its answer (closed loop); return answers per second."""
    with on_core(0):
        return asyncio.run(_as_fast_as_goes(port, requests, seconds))


async def _as_fast_as_goes(port: int, requests: Sequence[bytes], seconds: float) -> float:
    lines = await _lines(port)
    end = time.perf_counter() + seconds

    async def work(line: _Line, number: int) -> int:
        done = 0
        while time.perf_counter() < end:
            status = await line.ask(requests[(number + done) % len(requests)])
            assert status == 200, status
            done += 1
        return done

    began = time.perf_counter()
    answered = sum(await asyncio.gather(*(work(line, 7 * number) for number, line in enumerate(lines))))
    return answered / (time.perf_counter() - began)


def each_once(port: int, requests: Sequence[bytes]) -> float:
    """Ask every request once on many connections, each as soon as it has its answer; return answers per second."""
    with on_core(0):
        return asyncio.run(_each_once(port, requests))


async def _each_once(port: int, requests: Sequence[bytes]) -> float:
    lines, left = await _lines(port), iter(requests)

    async def work(line: _Line) -> None:
        for request in left:
            status = await line.ask(request)
            assert status == 200, status

    began = time.perf_counter()
    await asyncio.gather(*(work(line) for line in lines))
    return len(requests) / (time.perf_counter() - began)


async def _lines(port: int) -> list[_Line]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(_Line, "127.0.0.1", port))[1] for _ in range(_CONNECTIONS)]
