"""A registry on HTTPS and a hospital's gateway on HTTPS, joined by a courier that carries parcels and notices as the link does."""

import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import uvicorn

from client.gate import contact, inbox, outbox
from client.gate import gate as gates
from client.gate.audit import HEAD_FILE
from client.gate.dispatch import Dispatcher
from client.gate.gate import Gate
from client.gate.inbox import Inbox
from client.gate.keys import gateway_pin
from client.gate.policy import ReadingPolicy, SitePolicy
from client.gateway.app import create_app
from client.gateway.book import Book
from client.gateway.desk import Desk
from client.gateway.grant import pinned_key
from client.gateway.keys import ReaderKeys
from client.gateway.masks import Corrections
from client.gateway.messages import Messages
from client.gateway.notices import receivers, renewal_receiver
from client.gateway.reports import Reports
from client.gateway.serve import serve
from client.gateway.sessions import Sessions
from client.gateway.strokes import Drawings
from client.gateway.tables import SCHEMA
from client.gateway.viewer import find_bundle
from client.settings import NodeSettings
from client.store import tables
from client.store.database import connect
from client.store.studies import StudyStore
from registry_api.enrolment.tables import SiteRow
from registry_api.keyfiles import raw_key
from registry_api.link.intake import take
from registry_api.link.outbox import mark_received, open_notices
from registry_api.main import create_app as create_registry
from registry_api.runtime import Runtime, build_runtime
from tests.fakes.centre_home import make_centre_home
from tests.fakes.certificates import make_certificate
from tests.fakes.gateway import SITE, STUDY, OneStudy, write_study
from tests.fakes.ports import free_port
from tests.fakes.readers import ready_reader
from tests.integration.gateway.conftest import browser, browsers, listens, wait_for

__all__ = ["browser", "browsers"]

STEP_SECONDS = 0.1


def now() -> datetime:
    return datetime.now(UTC)


class Node:
    """What one process of a node holds: every object on one connection of its own."""

    def __init__(self, home: Path, grant_key: str, origin: str) -> None:
        schemas = (tables.SCHEMA, gates.SCHEMA, inbox.SCHEMA, contact.SCHEMA, SCHEMA)
        connection = connect(home / "node.db", *schemas)
        policy = SitePolicy(reading=ReadingPolicy(posts=True, jurisdiction="XA-N"))
        self.gate = Gate(connection, lambda: policy, now, home / HEAD_FILE)
        self.outbox = outbox.Outbox(connection, now)
        self.inbox = Inbox(connection, now)
        self.contact = contact.ContactBook(connection, now)
        self.book = Book(connection, now)
        self.keys = ReaderKeys(connection, now)
        self.sessions = Sessions(self.book, self.keys, self.contact.last_heard)
        self.reports = Reports(self.book, self.gate)
        self.desk = Desk(
            site=SITE, origin=origin, grant_key=pinned_key(grant_key), book=self.book, sessions=self.sessions,
            reports=self.reports, messages=Messages(self.book, self.gate), findings=OneStudy(home / "store" / "studies"),
            corrections=Corrections(self.book, OneStudy(home / "store" / "studies").folder), segment=lambda _study, labels, author: author.encode() + labels.tobytes(), audit=self.gate.audit.append,
            drawings=Drawings(self.book), viewer=partial(find_bundle, home),
        )  # fmt: skip


@dataclass
class Network:
    """The two sides and where they answer. `node` is on this thread's connection."""

    runtime: Runtime
    registry: str
    registry_ca: Path
    gateway: str
    gateway_ca: Path
    node_home: Path
    node: Node
    away: threading.Event
    """While it is set, the link is down."""
    cut_after: str | None = None
    """The kind of parcel with which the link goes down, before anything comes back."""

    def add_reader(self, name: str = "Dr Elsewhere") -> tuple[str, str]:
        """Return id and API key of a reader who may read for the hospital."""
        with self.runtime.database.writing() as session:
            person = ready_reader(session, name, sites=(SITE,), now=now())
        return person.person_id, person.api_key


def carry(network: Network, node: Node) -> None:
    """Do one round of what the link does: parcels up, notices down, the centre's sign of life."""
    runtime = network.runtime
    for queued in node.outbox.waiting():
        outcome = take(runtime.database, SITE, envelope_id=queued.envelope_id, body=queued.body, now=now())
        node.outbox.settle(queued.envelope_id, accepted=outcome.accepted, code=outcome.code)
        if queued.kind == network.cut_after:
            network.away.set()
            return
    with runtime.database.reading() as session:
        notices = open_notices(session, [SITE])
    for notice in notices:
        node.inbox.store(notice.id, notice.kind, notice.body)
        with runtime.database.writing() as session:
            mark_received(session, SITE, notice.id, now=now())
    store = StudyStore(node.book.connection, NodeSettings(home=network.node_home))
    hands = receivers(node.book, node.sessions, node.reports, store.labels.keep_scores)
    hands["grant-renewed"] = renewal_receiver(node.book, node.sessions, key=node.desk.grant_key, site=SITE)
    Dispatcher(node.inbox, hands).step()
    node.contact.heard()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    web, door = free_port(), free_port()
    gateway_origin = f"https://localhost:{door}"
    runtime = build_runtime(make_centre_home(tmp_path / "centre", http_port=web))
    home = tmp_path / "node"
    gateway_ca = make_certificate(home / "keys")
    pin = gateway_pin(home / "keys")
    with runtime.database.writing() as session:
        session.add(
            SiteRow(site=SITE, region="XA-N", gateway_origin=gateway_origin, gateway_pin=pin, enrolled_at=now())
        )
    write_study(home / "store" / "studies" / STUDY)
    make_node = partial(Node, home, raw_key(runtime.grant_key.public_key()), gateway_origin)
    made = Network(
        runtime, f"https://localhost:{web}", tmp_path / "centre" / "pki" / "ca.pem", gateway_origin, gateway_ca, home,
        make_node(), threading.Event(),
    )  # fmt: skip
    stop = threading.Event()
    server = registry_server(runtime, web)

    def run_gateway() -> None:
        serve(create_app(make_node().desk), host="127.0.0.1", port=door, keys=home / "keys", stop=stop)

    def run_link() -> None:
        node = make_node()
        while not stop.wait(STEP_SECONDS):
            if not made.away.is_set():
                carry(made, node)

    threads = [threading.Thread(target=work) for work in (server.run, run_gateway, run_link)]
    for thread in threads:
        thread.start()
    wait_for(lambda: listens(web) and listens(door))
    yield made
    stop.set()
    server.should_exit = True
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    runtime.database.close()


def registry_server(runtime: Runtime, port: int) -> uvicorn.Server:
    """Return the registry's HTTPS, as it serves it itself."""
    pki = runtime.settings.home / "pki"
    config = uvicorn.Config(
        create_registry(runtime), host="127.0.0.1", port=port, ssl_certfile=pki / "registry.pem", ssl_keyfile=pki / "registry.key",
        log_config=None, access_log=False, ws="none",
    )  # fmt: skip
    return uvicorn.Server(config)


def a_measured_study(node: Node) -> None:
    """Put the study's row and finding where `read post` looks for them."""
    record = {
        "kind": "case-record", "case_id": secrets.token_hex(16), "epi_week": "2026-W08", "age_band": "40-49", "sex": "male",
        "ggo_percent": 17, "consolidation_percent": 2, "opacity_percent": 19, "severity_score": 5, "severity_band": "mild",
        "model_release": "ggo@0",
    }  # fmt: skip
    connection = node.book.connection
    connection.execute("INSERT INTO study VALUES (?, 's', 'c', 'measured', NULL, 1, 0, 'g', 0, 0)", (STUDY,))
    connection.execute("INSERT INTO finding VALUES (?, 'ggo@0', '{}', ?, 1, 'clear', 0)", (STUDY, json.dumps(record)))
