"""The link against a real gRPC server: nothing lost, nothing doubled, whatever the centre or the line does."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.gate import contact, gate, inbox
from client.gate.backoff import Backoff
from client.gate.contact import ContactBook
from client.gate.fetch import fetch_weights
from client.gate.gate import Gate
from client.gate.inbox import Inbox
from client.gate.link import LinkClient, Pace
from client.gate.policy import ReadingPolicy, SharingPolicy, SitePolicy
from client.gate.trust import Identity
from client.store.database import connect
from protocol.codes import Code
from protocol.link_pb2 import CentreFrame, Envelope, Heartbeat, Verdict
from protocol.shape import canonical_json
from tests.fakes.link_server import LinkCentre
from tests.fakes.outcomes import code_of
from tests.fakes.parcels import a_case, a_claim, an_end

QUICK = Pace(look=0.02, heartbeat=0.1, silence=1.0, healthy=60.0, backoff=Backoff(first=0.05, ceiling=0.2))
POLICY = SitePolicy(sharing=SharingPolicy(cases=True), reading=ReadingPolicy(posts=True))
SECONDS = 20


def now() -> datetime:
    return datetime.now(UTC)


class Node:
    """The tables of a node, opened anew in whatever thread asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.woken = 0

    def gate(self) -> Gate:
        return Gate(connect(self.folder / "node.db", gate.SCHEMA), lambda: POLICY, now, self.folder / "audit.head")

    def inbox(self) -> Inbox:
        return Inbox(connect(self.folder / "node.db", inbox.SCHEMA), now)

    def contact(self) -> ContactBook:
        return ContactBook(connect(self.folder / "node.db", contact.SCHEMA), now)

    @contextmanager
    def linked(self, address: str, identity: Identity) -> Iterator[None]:
        """Run the link in a thread, as the part does."""
        stop, ready = threading.Event(), threading.Event()

        async def link() -> None:
            ended = asyncio.Event()
            client = LinkClient(self.gate().outbox, self.inbox(), self.contact(), woken=self._wake, pace=QUICK)

            async def watch() -> None:
                ready.set()
                while not stop.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                ended.set()

            await asyncio.gather(watch(), client.run(address, lambda: identity, ended))

        thread = threading.Thread(target=lambda: asyncio.run(link()))
        thread.start()
        try:
            assert ready.wait(SECONDS)
            yield
        finally:
            stop.set()
            thread.join(SECONDS)
            assert not thread.is_alive()

    def _wake(self) -> None:
        self.woken += 1


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[LinkCentre]:
    running = LinkCentre(tmp_path / "centre")
    yield running
    running.close()


def until(question: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not question():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def test_parcels_arrive_once_in_order_and_are_settled(node: Node, centre: LinkCentre) -> None:
    outbox = node.gate()
    for number in range(1, 51):
        outbox.submit(a_case(number))
    centre.start()
    with node.linked(centre.address, centre.identity()):
        until(lambda: outbox.outbox.counts()["accepted"] == 50)
    assert [parcel.body for parcel in centre.parcels] == [canonical_json(a_case(n)) for n in range(1, 51)]
    assert centre.peers == ["northport"]


def test_what_the_centre_refuses_is_parked_and_the_rest_goes_on(node: Node, centre: LinkCentre) -> None:
    gate_ = node.gate()
    for number in (1, 2, 3):
        gate_.submit(a_case(number))
    second = canonical_json(a_case(2))
    centre.verdict = lambda e: Verdict(id=e.id, accepted=e.body != second, code="" if e.body != second else "bad-shape")
    centre.start()
    with node.linked(centre.address, centre.identity()):
        until(lambda: gate_.outbox.counts()["waiting"] == 0)
    assert [parked.code for parked in gate_.outbox.parked()] == ["bad-shape"]
    assert gate_.outbox.counts()["accepted"] == 2


def test_a_parcel_without_verdict_is_sent_again_under_the_same_id(node: Node, centre: LinkCentre) -> None:
    gate_ = node.gate()
    gate_.submit(a_case())
    first: list[str] = []

    def forget_the_first(envelope: Envelope) -> Verdict | None:
        first.append(envelope.id)
        return None if len(first) == 1 else Verdict(id=envelope.id, accepted=True)

    centre.verdict, centre.hang_up_after = forget_the_first, 3
    centre.start()
    with node.linked(centre.address, centre.identity()):
        until(lambda: gate_.outbox.counts()["accepted"] == 1)
    assert len(first) == 2
    assert first[0] == first[1]


def test_the_link_outlives_a_centre_that_goes_and_comes(node: Node, centre: LinkCentre) -> None:
    gate_, contact_ = node.gate(), node.contact()
    with node.linked(centre.address, centre.identity()):
        gate_.submit(a_case(1))
        time.sleep(0.3)
        assert not contact_.read().connected
        centre.start()
        until(lambda: gate_.outbox.counts()["accepted"] == 1)
        assert contact_.read().connected
        heard = contact_.last_heard()
        centre.stop()
        until(lambda: not contact_.read().connected)
        gate_.submit(a_case(2))
        centre.start()
        until(lambda: gate_.outbox.counts()["accepted"] == 2)
    assert heard is not None
    assert centre.streams >= 2


def test_a_silent_centre_is_left(node: Node, centre: LinkCentre) -> None:
    """A half-open line gives no error: only the missing answer to heartbeats shows it."""
    centre.silent = True
    centre.start()
    with node.linked(centre.address, centre.identity()):
        until(lambda: centre.streams >= 2)
    assert node.contact().last_heard() is None


def test_a_notice_is_on_the_disk_before_the_centre_hears_of_it(node: Node, centre: LinkCentre) -> None:
    ids = ["1" * 32, "2" * 32]
    centre.notices = [
        Envelope(id=ids[0], body=canonical_json(a_claim())),
        Envelope(id=ids[1], body=canonical_json(an_end())),
    ]
    stored_when_told: list[int] = []
    answers, look = centre._answers, node.inbox

    def watched(frame):  # type: ignore[no-untyped-def]
        if frame.WhichOneof("content") == "received":
            stored_when_told.append(len(look().pending()))
        return answers(frame)

    centre._answers = watched  # type: ignore[method-assign]
    centre.start()
    with node.linked(centre.address, centre.identity()):
        until(lambda: len(centre.received) == 2)
    assert centre.received == ids
    assert stored_when_told[0] >= 1
    assert stored_when_told[1] == 2
    assert [notice.kind for notice in node.inbox().pending()] == ["claim-made", "claim-ended"]
    assert node.woken == 2


def test_a_notice_that_comes_twice_is_kept_once_and_acknowledged_twice(node: Node, centre: LinkCentre) -> None:
    envelope = Envelope(id="1" * 32, body=canonical_json(a_claim()))
    centre.notices = [envelope, envelope]
    centre.start()
    with node.linked(centre.address, centre.identity()):
        until(lambda: len(centre.received) == 2)
    assert len(node.inbox().pending()) == 1
    assert node.woken == 1


def test_a_node_of_another_network_gets_no_stream(node: Node, centre: LinkCentre, tmp_path: Path) -> None:
    stranger = LinkCentre(tmp_path / "other")
    own = centre.identity()
    try:
        forged = replace(stranger.identity(), ca=own.ca)
        centre.start()
        gate_ = node.gate()
        gate_.submit(a_case())
        with node.linked(centre.address, forged):
            time.sleep(0.6)
        assert centre.streams == 0
        assert gate_.outbox.counts()["waiting"] == 1
    finally:
        stranger.close()


def test_a_centre_of_another_network_gets_no_parcel(node: Node, centre: LinkCentre, tmp_path: Path) -> None:
    impostor = LinkCentre(tmp_path / "impostor", port=centre.port)
    try:
        impostor.start()
        gate_ = node.gate()
        gate_.submit(a_case())
        with node.linked(centre.address, centre.identity()):
            time.sleep(0.6)
        assert impostor.streams == 0
        assert impostor.parcels == []
    finally:
        impostor.close()


# Weights

WEIGHTS = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


def test_weights_arrive_by_hash(centre: LinkCentre) -> None:
    centre.weights = {SHA256: [WEIGHTS[:100_000], WEIGHTS[100_000:]]}
    centre.start()
    assert fetch_weights(centre.address, centre.identity(), sha256=SHA256, size=len(WEIGHTS)) == WEIGHTS


@pytest.mark.parametrize(
    "chunks",
    [[WEIGHTS[:-1]], [WEIGHTS, b"x"], [WEIGHTS[:-1] + b"\0"], [], [WEIGHTS] * 50],
    ids=["shorter", "longer", "other", "none", "endless"],
)
def test_other_bytes_than_announced_are_refused(centre: LinkCentre, chunks: list[bytes]) -> None:
    centre.weights = {SHA256: chunks}
    centre.start()
    fetch = lambda: fetch_weights(centre.address, centre.identity(), sha256=SHA256, size=len(WEIGHTS))  # noqa: E731
    assert code_of(fetch) is Code.SIGNATURE_INVALID


@pytest.mark.parametrize("up", [True, False])
def test_weights_that_cannot_be_had_now_are_asked_for_later(centre: LinkCentre, up: bool) -> None:
    if up:
        centre.start()
    fetch = lambda: fetch_weights(centre.address, centre.identity(), sha256="0" * 64, size=10)  # noqa: E731
    assert code_of(fetch) is Code.PEER_UNREACHABLE


def test_a_stream_ends_when_it_is_told_to_also_if_a_frame_comes_in_that_moment(node: Node) -> None:
    """Otherwise the link would listen on, with nobody speaking, until the silence is over."""

    class Line:
        def __init__(self) -> None:
            self.frames = [asyncio.get_running_loop().create_future() for _ in range(2)]
            self.reads = 0

        async def read(self) -> CentreFrame:
            self.reads += 1
            return await self.frames[self.reads - 1]

    async def meet() -> int:
        client = LinkClient(node.gate().outbox, node.inbox(), node.contact(), woken=lambda: None, pace=Pace())
        line = Line()
        listening = asyncio.create_task(client._listen(line))
        await asyncio.sleep(0.05)
        line.frames[0].set_result(CentreFrame(heartbeat=Heartbeat()))
        listening.cancel()
        await asyncio.wait({listening}, timeout=2)
        assert listening.cancelled()
        return line.reads

    assert asyncio.run(meet()) == 1
