"""Webhooks against a real receiver on HTTPS: signed, tried again after an error and a dropped line, each read in order, nothing lost."""

import asyncio
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlmodel import select

from protocol.reading import ReadPost
from registry_api.people.roles import Role
from registry_api.reading import messenger
from registry_api.reading.messenger import Messenger, open_client, post
from registry_api.reading.tables import WebhookDeliveryRow
from registry_api.reading.webhooks import LEASE, PAUSES, add_webhook, secret_of
from registry_api.runtime import Runtime, build_runtime
from tests.fakes.certificates import make_certificate
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import Registry
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.conftest import post as a_post
from tests.unit.registry_api.reading.story import Story, opened

__all__ = ["a_post"]

DROP = 0
"""Stands for a line that breaks before an answer."""

DRIP = 1
"""Stands for an answer that comes byte by byte, for `DRIP_SECONDS`."""

DRIP_SECONDS = 3.0

Post = Callable[..., ReadPost]


@dataclass
class Receiver:
    """What a hospital's program hears. Messages of a read take the next of its `answers`; after them all are 204."""

    authority: Path
    port: int = 0
    answers: dict[str, list[int]] = field(default_factory=dict)
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/acinus"

    def events(self) -> list[tuple[str, str]]:
        bodies = [json.loads(body) for _, body in self.heard]
        return [(one["request_id"], one["event"]) for one in bodies]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(make_certificate(tmp_path / "receiver"))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.heard.append((dict(self.headers), body))
            waiting = made.answers.get(json.loads(body)["request_id"])
            status = waiting.pop(0) if waiting else 204
            if status == DRIP:
                self._drip()
            if status in {DROP, DRIP}:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _drip(self) -> None:
            ends = time.monotonic() + DRIP_SECONDS
            with suppress(OSError):  # the sender has hung up
                self.wfile.write(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
                while time.monotonic() < ends:
                    self.wfile.write(b"a")
                    time.sleep(0.05)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.authority, made.authority.with_suffix(".key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    server.shutdown()
    thread.join(5)
    server.server_close()


@dataclass
class Told:
    """A registry whose coordinator has a webhook at the receiver."""

    runtime: Runtime
    story: Story
    receiver: Receiver
    secret: str

    def carry(self, *, settled: bool = True) -> None:
        """Send until nothing is due; unsettled, the registry ends before it can note what came of it."""

        async def steps() -> None:
            async with AsyncExitStack() as stack:
                client = await open_client(stack, self.receiver.authority)
                carrier = Messenger(self.runtime, partial(post, client))
                if settled:
                    while await carrier.step():
                        pass
                else:
                    for message in carrier._take():
                        await post(client, message)

        asyncio.run(steps())


@pytest.fixture
def told(registry: Registry, receiver: Receiver) -> Told:
    registry.enrol("northport")
    person = registry.add(Role.COORDINATOR).person_id
    with registry.runtime.database.writing() as session:
        hook = add_webhook(session, person, receiver.url, now=registry.clock())
    story = Story(registry.runtime.database, registry.clock())
    return Told(registry.runtime, story, receiver, secret_of(registry.runtime.grant_key, hook.id))


def test_each_message_is_signed_over_its_time_and_what_was_received(told: Told, a_post: Post) -> None:
    told.story.arrives(a_post())
    told.carry()
    ((headers, body),) = told.receiver.heard
    moment, mac = (part.split("=")[1] for part in headers["Acinus-Signature"].split(","))
    assert mac == hmac.new(told.secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    assert int(moment) == int(told.runtime.clock().timestamp())


@pytest.mark.parametrize("failure", [500, DROP])
def test_what_fails_is_sent_again_and_what_comes_after_it_of_the_same_read_waits(
    told: Told, registry: Registry, a_post: Post, failure: int
) -> None:
    told.receiver.answers = {REQUEST: [failure]}
    for request_id in (REQUEST, "2" * 32):
        told.story.arrives(a_post(request_id))
    with told.runtime.database.writing() as session:
        reader = ready_reader(session, now=registry.clock()).person_id
    claim = told.story.claims(reader, REQUEST)
    told.story.arrives(opened(claim))
    told.carry()
    assert sorted(told.receiver.events()) == [(REQUEST, "posted"), ("2" * 32, "posted")]
    registry.clock.pass_(seconds=PAUSES[0].total_seconds())
    told.carry()
    late = [event for request_id, event in told.receiver.events() if request_id == REQUEST]
    assert late == ["posted", "posted", "claimed", "opened"]
    assert outcomes(told) == ["204"] * 4


def test_an_answer_that_never_ends_holds_nobody_up(told: Told, a_post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messenger, "_ATTEMPT_SECONDS", 0.3, raising=False)
    told.receiver.answers = {REQUEST: [DRIP]}
    told.story.arrives(a_post())
    began = time.monotonic()
    told.carry()
    assert time.monotonic() - began < DRIP_SECONDS / 2
    with told.runtime.database.reading() as session:
        (row,) = session.exec(select(WebhookDeliveryRow)).all()
    assert (row.outcome, row.attempts, row.delivered_at) == ("unreachable", 1, None)


def test_nothing_is_lost_when_the_registry_ends_between_sending_and_noting(
    told: Told, registry: Registry, a_post: Post
) -> None:
    told.story.arrives(a_post())
    told.carry(settled=False)
    told.runtime.database.close()
    again = build_runtime(told.runtime.settings.home, clock=registry.clock)
    told.runtime, told.story = again, Story(again.database, registry.clock())
    told.story.arrives(a_post("2" * 32))
    told.carry()
    registry.clock.pass_(seconds=LEASE.total_seconds())
    told.carry()
    assert told.receiver.events() == [(REQUEST, "posted"), ("2" * 32, "posted"), (REQUEST, "posted")]
    numbers = [headers["Acinus-Event"] for headers, _ in told.receiver.heard]
    assert numbers == ["1", "2", "1"], "an event that comes twice has the same number"
    assert outcomes(told) == ["204"] * 2
    again.database.close()


def outcomes(told: Told) -> list[str | None]:
    with told.runtime.database.reading() as session:
        return [row.outcome for row in session.exec(select(WebhookDeliveryRow)) if row.delivered_at is not None]
