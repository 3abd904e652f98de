"""A site is revoked: how soon its stream ends and its readers see nothing more, measured between the real registry and a real link."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.gate import contact, gate, inbox
from client.gate.contact import ContactBook
from client.gate.gate import Gate
from client.gate.inbox import Inbox
from client.gate.link import LinkClient, Pace
from client.gate.policy import SitePolicy
from client.gate.trust import load_identity
from client.gateway.sessions import SILENCE_S
from client.store.database import connect
from registry_api.link.courier import TICK_SECONDS
from tests.fakes.enrolled import EnrolledNode, Moved
from tests.fakes.gateway import REQUEST, GatewayUnderTest

PROMISE_SECONDS = 60.0
PACE = Pace()
"""As a node is delivered, not a test's own."""


@pytest.fixture
def gateway(node: EnrolledNode, tmp_path: Path) -> GatewayUnderTest:
    made = GatewayUnderTest(tmp_path / "reads", real_time=True)
    made.now = node.clock()
    made.write_study()
    made.sessions._last_heard = book(node).last_heard
    return made


def book(node: EnrolledNode) -> ContactBook:
    return ContactBook(connect(node.folder / "node.db", contact.SCHEMA), node.clock)


@contextmanager
def linked(node: EnrolledNode) -> Iterator[None]:
    """Run the link in a thread, at the pace of a node in use."""
    stop = threading.Event()

    async def link() -> None:
        connection = connect(node.folder / "node.db", gate.SCHEMA, inbox.SCHEMA, contact.SCHEMA)
        clock, ended = Moved(), asyncio.Event()
        outbox = Gate(connection, SitePolicy, clock, node.folder / "audit.head").outbox
        client = LinkClient(
            outbox, Inbox(connection, clock), ContactBook(connection, clock), woken=lambda: None, pace=PACE
        )
        running = asyncio.create_task(
            client.run(f"localhost:{node.centre.port}", lambda: load_identity(node.trust, node.keys), ended)
        )
        while not stop.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.02)
        ended.set()
        await running

    thread = threading.Thread(target=lambda: asyncio.run(link()))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def seconds_until(holds: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < PROMISE_SECONDS, "later than was promised"
        time.sleep(0.01)
    return time.monotonic() - began


def viewed(gateway: GatewayUnderTest) -> int:
    return gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz").status_code


def test_a_revoked_sites_stream_and_its_readers_sessions_end_within_the_promise(
    node: EnrolledNode, gateway: GatewayUnderTest, record_property: Callable[[str, object], None]
) -> None:
    told = book(node)
    with linked(node):
        seconds_until(lambda: told.read().connected)
        assert gateway.enter().status_code == 201
        assert viewed(gateway) == 200
        node.centre.revoke()
        stream = seconds_until(lambda: not node.centre.courier._streams)
        sessions = stream + seconds_until(lambda: viewed(gateway) == 503)
        assert gateway.enter().json()["code"] == "peer-unreachable"
        assert not told.read().connected
    record_property("stream_seconds", round(stream, 2))
    record_property("sessions_seconds", round(sessions, 2))
    # What is configured, whatever this machine did: the courier looks, the node calls again once and is told.
    assert TICK_SECONDS + PACE.backoff.delay(1, 1.0) < PROMISE_SECONDS / 10


def test_a_site_that_is_invited_again_lets_readers_in_again(node: EnrolledNode, gateway: GatewayUnderTest) -> None:
    told = book(node)
    with linked(node):
        seconds_until(lambda: told.read().connected)
        node.centre.revoke()
        seconds_until(lambda: told.last_heard() is None)
        assert gateway.enter().status_code == 503
        node.enrol()
        seconds_until(lambda: told.read().connected)
        assert gateway.enter().status_code == 201


def test_a_centre_that_is_only_away_ends_no_session_before_the_silence_does(
    node: EnrolledNode, gateway: GatewayUnderTest
) -> None:
    """Being shut out is said by the centre; a broken line is not taken for it."""
    told = book(node)
    with linked(node):
        seconds_until(lambda: told.read().connected)
        gateway.enter()
        node.centre.stop()
        seconds_until(lambda: not told.read().connected)
        time.sleep(PACE.backoff.delay(1, 1.0) + PACE.backoff.delay(2, 1.0))
        assert viewed(gateway) == 200
    assert told.last_heard() is not None
    assert SILENCE_S == 300
