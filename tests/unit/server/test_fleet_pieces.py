"""Large objects at the fleet gateway: to the SuperLink by ticket and from it too, to and from a site whole, and no file is left."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from flwr.proto.message_pb2 import PullObjectResponse, PushObjectRequest, PushObjectResponse

from protocol.enrolment import SiteEntry
from server.bell import Watch
from server.fleet import PREFIX, PULL_OBJECT, PUSH_OBJECT, FleetGateway
from server.peer import PEER_SERIAL
from server.roster import Roster
from strategies.bell import Bell
from strategies.flower.pieces import SMALL_BYTES, Pieces
from tests.unit.server.test_fleet import SERIAL, Outcome
from tests.unit.strategies.test_pieces import LARGE, SMALL, STORED, a_push, no_room

LIMIT = 4 * len(LARGE)

Answer = Callable[[httpx.Request], httpx.Response]


def taken(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=PushObjectResponse(stored=True).SerializeToString())


@dataclass
class Door:
    """A gateway with a folder, and a SuperLink that notes what arrives, and what lay in the folder then."""

    folder: Path
    answer: Answer = taken
    shares: bool = True
    arrived: list[bytes] = field(default_factory=list)
    lay: list[list[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pieces = Pieces(self.folder / "pieces")
        self.pieces.folder.mkdir()
        self.roster = Roster(lambda: 0.0)
        self.roster.hear(
            [SiteEntry(site="north", region="XA", supernode_key=None, active=True, certificate_serials=(SERIAL,))]
        )

    @property
    def left(self) -> list[str]:
        return sorted(file.name for file in self.pieces.folder.iterdir())

    def _superlink(self, request: httpx.Request) -> httpx.Response:
        self.arrived.append(request.content)
        self.lay.append([file.read_bytes() for file in self.pieces.folder.iterdir()])
        return self.answer(request)

    def call(self, path: str, body: bytes = b"") -> Outcome:
        return asyncio.run(self._call(path, body))

    async def _call(self, path: str, body: bytes) -> Outcome:
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": (),
            PEER_SERIAL: SERIAL,
        }  # fmt: skip
        parts, outcome = [{"type": "http.request", "body": body}], Outcome()

        async def receive() -> dict[str, Any]:
            return parts.pop()

        transport = httpx.MockTransport(self._superlink)
        async with httpx.AsyncClient(base_url="https://superlink", transport=transport) as superlink:
            gateway = FleetGateway(
                self.roster,
                superlink,
                limit_bytes=LIMIT,
                orders=Watch(Bell(self.folder / "orders")),
                pieces=self.pieces if self.shares else None,
            )
            await gateway(scope, receive, outcome.send)
        return outcome


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


# From a site.


def test_a_large_object_reaches_the_superlink_by_ticket(door: Door) -> None:
    outcome = door.call(PUSH_OBJECT, a_push(LARGE).SerializeToString())
    assert (outcome.status, outcome.body) == (200, PushObjectResponse(stored=True).SerializeToString())
    assert door.lay == [[LARGE]], "while it is asked, the SuperLink finds the file"
    (arrived,) = door.arrived
    request = PushObjectRequest.FromString(arrived)
    assert len(arrived) < 300
    assert door.pieces.deposited(request.object_content) is not None
    assert request == a_push(request.object_content)
    assert door.left == [], "and afterwards, whoever did not take it need not find it"


def test_what_the_superlink_took_stays(door: Door) -> None:
    def take(request: httpx.Request) -> httpx.Response:
        deposit = door.pieces.deposited(PushObjectRequest.FromString(request.content).object_content)
        assert deposit is not None
        deposit.rename(door.pieces.folder / STORED)
        return taken(request)

    door.answer = take
    assert door.call(PUSH_OBJECT, a_push(LARGE).SerializeToString()).status == 200
    assert door.left == [STORED]


@pytest.mark.parametrize("status", [401, 409, 500])
def test_what_the_superlink_refuses_leaves_no_file(door: Door, status: int) -> None:
    door.answer = lambda _: httpx.Response(status, content=b"no")
    outcome = door.call(PUSH_OBJECT, a_push(LARGE).SerializeToString())
    assert (outcome.status, outcome.body, door.left) == (status, b"no", [])


def test_a_superlink_that_is_away_leaves_no_file(door: Door) -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    door.answer = away
    assert door.call(PUSH_OBJECT, a_push(LARGE).SerializeToString()).status == 503
    assert (len(door.arrived), door.lay, door.left) == (1, [[LARGE]], [])


SMALL_PUSH = a_push(SMALL[:100]).SerializeToString()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PUSH_OBJECT, SMALL_PUSH),
        (PUSH_OBJECT, a_push(SMALL).SerializeToString()),
        (PUSH_OBJECT, b"\xff" * 2 * SMALL_BYTES),
        (PREFIX + "push-messages", a_push(LARGE).SerializeToString()),
        (PREFIX + "send-node-heartbeat", b"beat"),
    ],
    ids=["small", "just small", "noise", "another request", "heartbeat"],
)
def test_everything_else_passes_as_it_came(door: Door, path: str, body: bytes) -> None:
    assert door.call(path, body).status == 200
    assert (door.arrived, door.lay) == ([body], [[]])


def test_a_ticket_that_a_site_writes_itself_is_passed_on_for_the_superlink_to_refuse(door: Door) -> None:
    body = a_push(door.pieces.ticket(STORED)).SerializeToString()
    door.call(PUSH_OBJECT, body)
    assert door.arrived == [body]


def test_a_gateway_without_a_folder_passes_all_of_it(tmp_path: Path) -> None:
    door = Door(tmp_path, shares=False)
    body = a_push(LARGE).SerializeToString()
    door.call(PUSH_OBJECT, body)
    assert (door.arrived, door.lay) == ([body], [[]])


def test_a_full_disk_is_said_and_the_superlink_not_asked(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    no_room(monkeypatch)
    outcome = door.call(PUSH_OBJECT, a_push(LARGE).SerializeToString())
    assert (outcome.status, outcome.body, door.arrived, door.left) == (503, b"", [], [])


# To a site.


def found(content: bytes) -> bytes:
    return PullObjectResponse(object_found=True, object_available=True, object_content=content).SerializeToString()


def pulled(door: Door, content: bytes, status: int = 200) -> Outcome:
    door.answer = lambda _: httpx.Response(status, content=found(content), headers={"x-flwr": "1"})
    return door.call(PULL_OBJECT, b"which")


def test_a_ticket_of_the_superlinks_reaches_the_site_as_the_object(door: Door) -> None:
    (door.pieces.folder / STORED).write_bytes(LARGE)
    outcome = pulled(door, door.pieces.ticket(STORED))
    assert (outcome.status, outcome.body) == (200, found(LARGE))
    assert outcome.headers[b"content-length"] == str(len(found(LARGE))).encode()
    assert outcome.headers[b"x-flwr"] == b"1"
    assert door.left == [STORED], "other sites are given it too"


@pytest.mark.parametrize("content", [SMALL, LARGE, b""], ids=["small", "large", "none"])
def test_an_object_that_the_superlink_gives_itself_passes_as_it_is(door: Door, content: bytes) -> None:
    assert pulled(door, content).body == found(content)


def test_an_object_that_was_let_go_of_meanwhile_is_to_be_asked_for_again(door: Door) -> None:
    outcome = pulled(door, door.pieces.ticket(STORED))
    assert (outcome.status, outcome.body) == (503, b"")


def test_a_refusal_is_not_read_for_tickets(door: Door) -> None:
    (door.pieces.folder / STORED).write_bytes(LARGE)
    outcome = pulled(door, door.pieces.ticket(STORED), status=403)
    assert (outcome.status, outcome.body) == (403, found(door.pieces.ticket(STORED)))


def test_a_gateway_without_a_folder_redeems_nothing(tmp_path: Path) -> None:
    door = Door(tmp_path, shares=False)
    assert pulled(door, door.pieces.ticket(STORED)).body == found(door.pieces.ticket(STORED))


def test_only_an_object_that_was_asked_for_is_redeemed(door: Door) -> None:
    (door.pieces.folder / STORED).write_bytes(LARGE)
    said = found(door.pieces.ticket(STORED))
    door.answer = lambda _: httpx.Response(200, content=said)
    assert door.call(PREFIX + "get-run").body == said
