"""The one door: `POST /v1/fleet/*` from an active site passes unchanged, everything else stays outside unread."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.enrolment import SiteEntry
from server import fleet as fleet_module
from server.bell import Watch
from server.fleet import PREFIX, PULL, FleetGateway
from server.peer import PEER_SERIAL
from server.roster import Roster
from server.witness import FILE, Witness
from strategies.bell import Bell

SERIAL, STRANGER = "ab" * 16, "cd" * 16
LIMIT = 1000

Answer = Callable[[httpx.Request], Awaitable[httpx.Response] | httpx.Response]


@dataclass
class Door:
    """The gateway with a SuperLink that notes what arrives."""

    answer: Answer = lambda _: httpx.Response(200, content=b"answer", headers={"x-flwr": "1"})
    witness: Witness | None = None
    arrived: list[httpx.Request] = field(default_factory=list)
    fresh: bool = True

    def __post_init__(self) -> None:
        self.now = 0.0
        self.roster = Roster(lambda: self.now)
        if self.fresh:
            entry = SiteEntry(site="north", region="XA", supernode_key=None, active=True, certificate_serials=(SERIAL,))
            self.roster.hear([entry])

    async def _superlink(self, request: httpx.Request) -> httpx.Response:
        self.arrived.append(request)
        answer = self.answer(request)
        return answer if isinstance(answer, httpx.Response) else await answer

    def call(self, path: str = PREFIX + "pull-messages", *, method: str = "POST", **request: Any) -> "Outcome":
        return asyncio.run(self._call(path, method, **request))

    async def _call(
        self, path: str, method: str, *, serial: str | None = SERIAL, raw: bytes | None = None,
        parts: tuple[dict[str, Any], ...] = ({"type": "http.request", "body": b"body"},), headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> "Outcome":  # fmt: skip
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode() if raw is None else raw,
            "query_string": b"a=1", "headers": headers, PEER_SERIAL: serial,
        }  # fmt: skip
        outcome, waiting = Outcome(), list(parts)

        async def receive() -> dict[str, Any]:
            outcome.read += 1
            return waiting.pop(0)

        transport = httpx.MockTransport(self._superlink)
        async with httpx.AsyncClient(base_url="https://superlink", transport=transport) as superlink:
            gateway = FleetGateway(self.roster, superlink, limit_bytes=LIMIT, witness=self.witness)
            await gateway(scope, receive, outcome.send)
        return outcome


@dataclass
class Outcome:
    """What the caller got, and how often the gateway read from them."""

    read: int = 0
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]


def chunks(*bodies: bytes) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"type": "http.request", "body": body, "more_body": number < len(bodies)}
        for number, body in enumerate(bodies, start=1)
    )


# What passes.


def test_a_site_talks_to_the_superlink(tmp_path: Path) -> None:
    door = Door()
    outcome = door.call(parts=chunks(b"one ", b"", b"two"), headers=((b"content-type", b"application/protobuf"),))
    assert (outcome.status, outcome.body) == (200, b"answer")
    assert outcome.headers[b"x-flwr"] == b"1"
    assert outcome.headers[b"content-length"] == b"6"
    (request,) = door.arrived
    assert (request.method, request.url.path, request.url.query) == ("POST", PREFIX + "pull-messages", b"")
    assert request.content == b"one two"
    assert request.headers["content-type"] == "application/protobuf"


def test_headers_that_belong_to_one_connection_do_not_pass() -> None:
    door = Door(lambda _: httpx.Response(200, headers={"connection": "close", "server": "uvicorn", "x-keep": "1"}))
    hop = ((b"connection", b"x-secret"), (b"transfer-encoding", b"chunked"), (b"host", b"evil"), (b"te", b"trailers"))
    outcome = door.call(headers=(*hop, (b"x-flwr-signature", b"s")))
    (request,) = door.arrived
    assert request.headers["host"] == "superlink"
    assert "transfer-encoding" not in request.headers
    assert request.headers["x-flwr-signature"] == "s"
    assert {b"connection", b"server"}.isdisjoint(outcome.headers)
    assert outcome.headers[b"x-keep"] == b"1"


def test_a_certificate_that_was_renewed_is_let_in_and_asked_to_come_back_under_the_new_one() -> None:
    door = Door()
    serials = ("ef" * 16, SERIAL)
    entry = SiteEntry(site="north", region="XA", supernode_key=None, active=True, certificate_serials=serials)
    assert b"connection" not in door.call().headers
    door.roster.hear([entry])
    outcome = door.call()
    assert (outcome.status, outcome.body, outcome.headers[b"connection"]) == (200, b"answer", b"close")
    assert b"connection" not in door.call(serial=serials[0]).headers


def test_the_superlinks_refusals_pass_too() -> None:
    assert Door(lambda _: httpx.Response(401, content=b"no")).call().status == 401


def test_a_packed_answer_is_unpacked_once() -> None:
    packed = httpx.Response(200, content=gzip.compress(b"plain"), headers={"content-encoding": "gzip"})
    outcome = Door(lambda _: packed).call()
    assert outcome.body == b"plain"
    assert b"content-encoding" not in outcome.headers


# What does not.


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1/fleet", "/v1/control/list-nodes", "/v1/control/start-run", "/v1/control/register-node", "/v1/runtime/acquire-task",
        "/health", "/docs", "/openapi.json", "/v1/fleet/../control/list-nodes", "/V1/FLEET/x", "//v1/fleet/x", "/v1/fleetx", "/x/v1/fleet/y",
        "v1/fleet/x", "https://superlink/v1/fleet/x", "/v1/fleet/..", "/v1/./fleet/x",
    ],
)  # fmt: skip
def test_no_other_path_leads_anywhere(path: str) -> None:
    door = Door()
    outcome = door.call(path)
    assert (outcome.status, outcome.read, door.arrived) == (404, 0, [])


@pytest.mark.parametrize(
    "raw", [b"/v1/%66leet/x", b"/v1/fleet/%2e%2e/control/list-nodes", b"/v1/fleet/x%00", b"/v1/fleet/\xc3\xa9", b""]
)
def test_a_path_that_was_written_in_disguise_leads_nowhere(raw: bytes) -> None:
    door = Door()
    assert door.call(PREFIX + "x", raw=raw).status == 404
    assert door.arrived == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "post"])
def test_no_other_method_does(method: str) -> None:
    assert Door().call(method=method).status == 404


@pytest.mark.parametrize("serial", [None, "", STRANGER, SERIAL.upper()])
def test_a_stranger_is_refused_unread(serial: str | None) -> None:
    door = Door()
    outcome = door.call(serial=serial)
    assert (outcome.status, outcome.read, door.arrived) == (403, 0, [])
    assert outcome.headers[b"connection"] == b"close", "a site comes back under its present certificate"
    assert door.call("/v1/control/list-nodes", serial=serial).status == 403, "and does not learn what there is"


def test_a_site_that_was_shut_out_is_a_stranger() -> None:
    door = Door()
    door.roster.hear([])
    assert door.call().status == 403


def test_when_the_registry_is_silent_nobody_comes_in() -> None:
    door = Door()
    door.now += 61
    assert door.call().status == 503
    assert Door(fresh=False).call().status == 503


@settings(deadline=None)
@given(
    st.text(max_size=40).flatmap(lambda text: st.sampled_from([text, PREFIX + text])), st.sampled_from(["GET", "POST"])
)
def test_whatever_the_path_only_the_fleet_is_reached(path: str, method: str) -> None:
    door = Door()
    door.call(path, method=method, raw=path.encode("utf-8", "surrogatepass"))
    assert all(request.url.path.startswith(PREFIX) for request in door.arrived)


def test_a_body_is_read_up_to_the_limit_and_no_further() -> None:
    door = Door()
    endless = tuple({"type": "http.request", "body": b"x" * 600, "more_body": True} for _ in range(50))
    outcome = door.call(parts=endless)
    assert (outcome.status, outcome.read, door.arrived) == (413, 2, [])
    assert door.call(parts=chunks(b"x" * LIMIT)).status == 200
    assert door.call(parts=chunks(b"x" * (LIMIT + 1))).status == 413


def test_a_request_that_breaks_off_is_not_passed_on_cut_short() -> None:
    """The signature that Flower demands covers the time only, so a cut message would count as a whole one."""
    door = Door()
    door.call(parts=({"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}))
    assert door.arrived == []


@pytest.mark.parametrize(
    "fault", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("odd")]
)
def test_a_superlink_that_is_away_is_said_so(fault: Exception) -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise fault

    assert Door(away).call().status == 503


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_other_kinds_of_connection_get_no_answer(kind: str) -> None:
    async def unwanted(*_: Any) -> Any:
        raise AssertionError("nothing is read or sent")

    async def call() -> None:
        async with httpx.AsyncClient() as superlink:
            await FleetGateway(Roster(), superlink, limit_bytes=1)({"type": kind}, unwanted, unwanted)

    asyncio.run(call())


# The witness.


def test_a_witness_sees_every_byte_also_of_what_is_refused(tmp_path: Path) -> None:
    door = Door(witness=Witness(tmp_path / "w"))
    door.call(parts=chunks(b"PASSED", b"-ON"), headers=((b"x-a", b"HEADER"),))
    door.call("/v1/control/list-nodes", parts=chunks(b"REFUSED"))
    door.call(serial=STRANGER, parts=chunks(b"STRANGER"))
    door.call(parts=chunks(b"x" * LIMIT, b"TOO-LARGE"))
    seen = (tmp_path / "w" / FILE).read_bytes()
    for piece in (
        b"PASSED-ON",
        b"HEADER",
        b"REFUSED",
        b"STRANGER",
        b"TOO-LARGE",
        b"POST /v1/fleet/pull-messages a=1",
        b"list-nodes",
    ):
        assert piece in seen
    assert len(door.arrived) == 1


# Questions for work are held.


@dataclass
class Work:
    """A SuperLink that has work once `ready` is set, and notes how often it was asked."""

    ready: bool = False
    asked: int = 0

    def __call__(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(200, content=b"a message" if self.ready else b"")


@dataclass
class Held:
    """A gateway with a bell, and callers who wait there until `gone` is set."""

    folder: Path
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        self.bell = Bell(self.folder / "orders")
        self.roster = Roster(lambda: 0.0)
        self.let_in(active=True)

    def let_in(self, *, active: bool) -> None:
        entry = SiteEntry(site="north", region="XA", supernode_key=None, active=active, certificate_serials=(SERIAL,))
        self.roster.hear([entry])

    async def call(self, gateway: FleetGateway, gone: asyncio.Event, path: str = PULL) -> Outcome:
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": (),
            PEER_SERIAL: SERIAL,
        }  # fmt: skip
        parts, outcome = [{"type": "http.request", "body": b"node"}], Outcome()

        async def receive() -> dict[str, Any]:
            if parts:
                return parts.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        await gateway(scope, receive, outcome.send)
        return outcome

    def play(self, story: Callable[[FleetGateway, asyncio.Event], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            watch = Watch(self.bell)
            running = asyncio.create_task(watch.run())
            transport = httpx.MockTransport(self.work)
            async with httpx.AsyncClient(base_url="https://superlink", transport=transport) as superlink:
                gateway = FleetGateway(self.roster, superlink, limit_bytes=LIMIT, orders=watch)
                done = await story(gateway, asyncio.Event())
            running.cancel()
            return done

        return asyncio.run(asyncio.wait_for(run(), 20))


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def test_work_that_is_there_is_handed_out_at_once(held: Held) -> None:
    held.work.ready = True
    outcome = held.play(held.call)
    assert (outcome.status, outcome.body, held.work.asked) == (200, b"a message", 1)


def test_a_question_waits_until_the_serverapp_rings(held: Held) -> None:
    async def story(gateway: FleetGateway, gone: asyncio.Event) -> Outcome:
        asking = asyncio.create_task(held.call(gateway, gone))
        await asyncio.sleep(0.1)
        assert not asking.done()
        held.work.ready = True
        held.bell.ring()
        return await asking

    outcome = held.play(story)
    assert (outcome.body, held.work.asked) == (b"a message", 2)


def test_a_ring_for_others_lets_the_question_wait_on(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "HOLD_SECONDS", 0.5)

    async def story(gateway: FleetGateway, gone: asyncio.Event) -> Outcome:
        asking = asyncio.create_task(held.call(gateway, gone))
        await asyncio.sleep(0.1)
        held.bell.ring()
        await asyncio.sleep(0.1)
        assert not asking.done()
        return await asking

    outcome = held.play(story)
    assert (outcome.status, outcome.body, held.work.asked) == (200, b"", 2)


def test_no_work_is_fetched_for_a_node_that_has_gone(held: Held) -> None:
    """The SuperLink hands each message out once; this one would be lost."""

    async def story(gateway: FleetGateway, gone: asyncio.Event) -> Outcome:
        asking = asyncio.create_task(held.call(gateway, gone))
        await asyncio.sleep(0.1)
        gone.set()
        await asyncio.sleep(0.1)
        held.work.ready = True
        held.bell.ring()
        return await asking

    held.play(story)
    assert held.work.asked == 1


def test_no_work_is_fetched_for_a_site_that_was_shut_out_meanwhile(held: Held) -> None:
    async def story(gateway: FleetGateway, gone: asyncio.Event) -> Outcome:
        asking = asyncio.create_task(held.call(gateway, gone))
        await asyncio.sleep(0.1)
        held.let_in(active=False)
        held.work.ready = True
        held.bell.ring()
        return await asking

    assert held.play(story).body == b""
    assert held.work.asked == 1


def test_a_superlink_that_refuses_is_not_waited_for(held: Held) -> None:
    held.work = lambda _: httpx.Response(401)  # type: ignore[assignment]
    assert held.play(held.call).status == 401
