"""Layers called one within the other say what they say as Starlette passes requests through them, and on other paths it still does."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from strategies.flower.layers import CHAINED, Chain, chained
from tests.fakes.raw_asgi import App, Heard, heard

RUNTIME, FLEET, CONTROL = "/v1/runtime/", "/v1/fleet/", "/v1/control/"

Next = Callable[[Request], Awaitable[Response]]


class Marks(BaseHTTPMiddleware):
    """A layer that notes what passes it, on both ways."""

    def __init__(self, app: Any, name: str, *, seen: list[str]) -> None:
        super().__init__(app)
        self.name, self.seen = name, seen

    async def dispatch(self, request: Request, call_next: Next) -> Response:
        self.seen.append(f"{self.name}> {len(await request.body())}")
        setattr(request.state, self.name, "was here")
        response = await call_next(request)
        self.seen.append(f"<{self.name} {response.status_code} {sorted(response.headers)}")
        response.headers.append("x-layer", self.name)
        return response


class Unread(BaseHTTPMiddleware):
    """A layer that looks at headers only."""

    async def dispatch(self, request: Request, call_next: Next) -> Response:
        if "x-refused" in request.headers:
            return PlainTextResponse("refused", status_code=418)
        return await call_next(request)


async def translated(request: Request, call_next: Next) -> Response:
    """A layer that makes answers of exceptions, as Flower's outermost one does."""
    try:
        return await call_next(request)
    except Exception as error:  # noqa: BLE001 - all of them, as Flower's does
        return PlainTextResponse(type(error).__name__, status_code=500)


async def echo(request: Request) -> Response:
    said = await request.body() + f" {request.state.outer} {request.state.inner}".encode()
    return Response(said, media_type="application/x-echo", headers={"x-of-its-own": "1", "set-cookie": "a=b"})


async def twice() -> Response:
    said = Response(status_code=204)
    said.headers.append("set-cookie", "a=b")
    said.headers.append("set-cookie", "c=d")
    return said


async def stream() -> Response:
    return StreamingResponse(iter([b"one ", b"two ", b"three"]))


def unread() -> str:
    return "nobody read the body"


def breaks() -> None:
    raise ZeroDivisionError


def missing() -> None:
    raise HTTPException(410, "gone")


ANSWERS: tuple[Callable[..., Any], ...] = (echo, twice, stream, unread, breaks, missing)


def made(seen: list[str] | None = None) -> FastAPI:
    """A server as Flower's function would make it."""
    seen = [] if seen is None else seen
    app = FastAPI(
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=translated),
            Middleware(Unread),
            Middleware(Marks, "outer", seen=seen),
            Middleware(Marks, "inner", seen=seen),
        ]
    )

    for prefix in (RUNTIME, FLEET, CONTROL):
        for answer in ANSWERS:
            app.post(prefix + answer.__name__)(answer)
    return app


def both(path: str, *parts: bytes, **request: Any) -> tuple[Heard, Heard]:
    """What the server says with its layers called, and with its layers as they were; and that they saw the same."""
    ours: list[str] = []
    stock: list[str] = []
    answers = heard(chained(made)(ours), path, *parts, **request), heard(made(stock), path, *parts, **request)
    assert ours == stock
    return answers


@pytest.mark.parametrize("prefix", [RUNTIME, FLEET, CONTROL])
@pytest.mark.parametrize("name", ["echo", "twice", "stream", "unread", "breaks", "missing", "nowhere"])
@pytest.mark.parametrize(
    "parts", [(), (b"body",), (b"in ", b"", b"many ", b"parts"), (b"x" * 65_536,) * 5], ids=["none", "one", "many", "large"]
)  # fmt: skip
def test_every_answer_is_the_stock_one(prefix: str, name: str, parts: tuple[bytes, ...]) -> None:
    ours, stock = both(prefix + name, *parts)
    assert ours.essence == stock.essence
    assert ours.status is not None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_other_methods_are_answered_as_the_stock_server_does(method: str) -> None:
    ours, stock = both(RUNTIME + "echo", method=method)
    assert ours.essence == stock.essence
    assert ours.status == 405


def test_layers_are_called_from_the_outermost_to_the_innermost_and_back() -> None:
    seen: list[str] = []
    answer = heard(chained(made)(seen), RUNTIME + "echo", b"bo", b"dy")
    assert [one.split()[0] for one in seen] == ["outer>", "inner>", "<inner", "<outer"]
    assert seen[:2] == ["outer> 4", "inner> 4"]
    assert answer.body == b"body was here was here"
    assert [value for name, value in answer.headers if name == b"x-layer"] == [b"inner", b"outer"]


def test_a_layer_that_refuses_calls_none_behind_it() -> None:
    seen: list[str] = []
    answer = heard(chained(made)(seen), RUNTIME + "echo", b"body", headers=[(b"x-refused", b"1")])
    assert (answer.status, answer.body, seen) == (418, b"refused", [])


def test_what_breaks_inside_reaches_the_layer_that_translates_it() -> None:
    assert heard(chained(made)(), RUNTIME + "breaks").body == b"ZeroDivisionError"


@pytest.mark.parametrize("prefix", [RUNTIME, CONTROL])
@pytest.mark.parametrize("name", ["echo", "unread"])
@pytest.mark.parametrize("parts", [(), (b"half",), (b"ha", b"lf")], ids=len)
def test_a_caller_who_hangs_up_half_way_is_met_as_the_stock_server_does(
    prefix: str, name: str, parts: tuple[bytes, ...]
) -> None:
    ours, stock = both(prefix + name, *parts, hangs_up=True)
    assert ours.essence == stock.essence
    assert b"half was here" not in ours.body, "half a body is never taken for a whole one"


def test_streams_of_the_control_api_stay_streams_and_other_answers_come_whole() -> None:
    app = chained(made)()
    assert [part for part in heard(app, CONTROL + "stream").parts if part] == [b"one ", b"two ", b"three"]
    assert heard(app, RUNTIME + "stream").parts == [b"one two three"]
    assert not any(CONTROL.startswith(path) for path in CHAINED)


@pytest.mark.parametrize("path", ["/v1/runtimes/echo", "/v1/runtime", "/v2/fleet/echo", "/health"])
def test_only_paths_of_the_two_apis_are_answered_by_calls(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    async def answer(self: Chain, request: Request, number: int, _: Any) -> Response:
        called.append(request.url.path)
        return Response()

    monkeypatch.setattr(Chain, "_answer", answer)
    app = chained(made)()
    heard(app, path)
    assert called == []
    heard(app, FLEET + "echo")
    assert called == [FLEET + "echo"]


@pytest.mark.parametrize("layer", [Middleware(GZipMiddleware), Middleware(lambda app: app)], ids=["gzip", "a function"])
def test_a_layer_of_another_kind_is_said_at_once(layer: Middleware) -> None:
    async def app(*_: Any) -> None:
        raise AssertionError("nobody asks it anything")

    with pytest.raises(TypeError, match="is no BaseHTTPMiddleware"):
        Chain(app, [Middleware(Unread), layer])


def test_flowers_function_is_given_what_it_was_given_before() -> None:
    given: list[Any] = []

    def create_app(*args: Any, **named: Any) -> FastAPI:
        given.append((args, named))
        return FastAPI()

    chained(create_app)("config", lifespan=3)
    assert given == [(("config",), {"lifespan": 3})]


def test_what_is_no_request_passes_all_layers() -> None:
    """Startup and shutdown, by which Flower holds what it needs for as long as it serves."""
    passed: list[str] = []

    async def app(scope: Any, *_: Any) -> None:
        passed.append(scope["type"])

    chain: App = Chain(app, [Middleware(Unread)])
    for kind in ("lifespan", "websocket"):
        coroutine = chain({"type": kind}, None, None)
        with pytest.raises(StopIteration):
            coroutine.send(None)  # type: ignore[attr-defined] # a coroutine without a wait
    assert passed == ["lifespan", "websocket"]
