"""A registry as its own process on free ports, and a node that speaks to it over TLS."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.enrolment import EnrolReply
from protocol.link_pb2 import CentreFrame, Envelope, NodeFrame
from protocol.link_pb2_grpc import LinkStub
from registry_api.database import Database, open_engine
from registry_api.enrolment.invites import create_invite
from tests.fakes.centre_home import SERVICE_TOKEN, key_pem, make_centre_home, make_csr, supernode_key
from tests.fakes.ports import free_port

START_SECONDS = 30.0


@dataclass
class Program:
    """`acinus-registry serve` in a folder."""

    home: Path
    http_port: int
    link_port: int
    child: "subprocess.Popen[str] | None" = None

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.http_port}"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "registry_api.cli", "--home", str(self.home), *arguments]

    def json(self, *arguments: str):
        result = subprocess.run(
            self.command(*arguments, "--json"), capture_output=True, text=True, timeout=60, check=True
        )
        return json.loads(result.stdout)

    def start(self) -> None:
        self.child = subprocess.Popen(
            self.command("serve"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
        )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.child.poll() is None:
            if all(_listens(port) for port in (self.http_port, self.link_port)):
                return
            time.sleep(0.05)
        raise AssertionError(f"the registry did not start: {self.stop()}")

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End the program and return what it printed."""
        assert self.child is not None
        if self.child.poll() is None:
            self.child.send_signal(number)
        printed, _ = self.child.communicate(timeout=20)
        return printed

    def client(self, token: str | None = SERVICE_TOKEN) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(self.home / "pki" / "ca.pem"))
        return httpx.Client(base_url=self.origin, headers=headers, verify=context, trust_env=False, timeout=20)

    def enrol(self, site: str, region: str = "XA-N") -> "Node":
        database = Database(open_engine(f"sqlite:///{self.home}/registry.db"))
        with database.writing() as session:
            token = create_invite(session, site=site, region=region, hours=1, now=datetime.now(UTC))
        database.close()
        key = ec.generate_private_key(ec.SECP256R1())
        request = {
            "token": token,
            "csr_pem": make_csr(key),
            "supernode_key": supernode_key(),
            "gateway_origin": "https://gateway.example",
        }
        with self.client(None) as client:
            answer = client.post("/v1/enrolments", json=request)
        assert answer.status_code == 201, answer.text
        return Node(self, site, EnrolReply.model_validate(answer.json()), key_pem(key))


@dataclass
class Node:
    """A node's end of the link: its certificate, and one call at a time."""

    program: Program
    site: str
    reply: EnrolReply
    key: bytes

    def channel(self) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            self.reply.ca_pem.encode(), self.key, self.reply.certificate_pem.encode()
        )
        return grpc.aio.secure_channel(f"localhost:{self.program.link_port}", credentials)

    def open(self, channel: grpc.aio.Channel) -> "grpc.aio.StreamStreamCall[NodeFrame, CentreFrame]":
        return LinkStub(channel).Open()


def parcel(envelope_id: str, body: bytes) -> NodeFrame:
    return NodeFrame(parcel=Envelope(id=envelope_id, body=body))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(folder: Path) -> Iterator[Program]:
    """A registry that serves; it has ended when the block has."""
    ports = free_port(), free_port()
    made = Program(make_centre_home(folder / "home", http_port=ports[0], link_port=ports[1], witness="witness"), *ports)
    made.start()
    try:
        yield made
    finally:
        if made.child is not None and made.child.poll() is None:
            made.stop()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One registry for all tests of a file, each with sites of its own."""
    with serving(tmp_path_factory.mktemp("centre")) as made:
        yield made


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Program]:
    """A registry for a test that ends it, or that tells all sites something."""
    with serving(tmp_path) as made:
        yield made
