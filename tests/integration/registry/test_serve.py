"""The running registry: a node's whole life on the link, over real TLS, in a process of its own."""

import asyncio
import hashlib
import json
import signal
import socket
import sqlite3
import subprocess
from pathlib import Path

import grpc
import pytest

from client.gate.listing import fetch_lists
from client.gate.lists import ReleaseList
from client.gate.trust import ROOT, Identity
from protocol.case import CaseRecord
from protocol.link_pb2 import Heartbeat, NodeFrame, WeightsRequest
from protocol.link_pb2_grpc import LinkStub
from protocol.parcel import parse_notice
from protocol.release import Manifest, ReleaseAnnounced, SignedManifest
from protocol.shape import canonical_json
from tests.fakes.centre_home import lists_with, make_centre_home, sign_release
from tests.fakes.ports import free_port
from tests.integration.registry.conftest import Node, Program, parcel

WEIGHTS = b"\x00\x01" * 1_500_000
WAIT = 10.0


def case(number: int, **fields: object) -> bytes:
    content = {
        "case_id": f"{number:032x}", "epi_week": "2025-W30", "ggo_percent": 10, "consolidation_percent": 2,
        "opacity_percent": 12, "severity_score": 5, "severity_band": "mild", "model_release": "ggo@0", **fields,
    }  # fmt: skip
    return canonical_json(CaseRecord.model_validate(content))


def stored(node: Node) -> int:
    """How many cases of the node's site the registry holds."""
    with sqlite3.connect(node.program.home / "registry.db") as connection:
        found = connection.execute("SELECT count(*) FROM cases WHERE site = ?", (node.site,)).fetchone()
    return int(found[0])


def publish(program: Program) -> SignedManifest:
    manifest = Manifest(
        name="ggo@1", lineage="ggo", version=1, parent="ggo@0", architecture="lite-2p5d",
        weights_sha256=hashlib.sha256(WEIGHTS).hexdigest(), weights_bytes=len(WEIGHTS), created="2026-03-04T12:00:00Z",
        run_id=None, rounds=0, sites=0, epsilon_max=None, scores=None,
    )  # fmt: skip
    signed = sign_release(program.home, manifest)
    with program.client() as client:
        assert client.put("/v1/models/lists", json=lists_with(program.home, signed)).status_code == 204
        answer = client.post(
            "/v1/models", data={"manifest": canonical_json(signed).decode()}, files={"weights": WEIGHTS}
        )
    assert answer.status_code == 201, answer.text
    return signed


async def send_cases(node: Node, *numbers: int) -> list[tuple[bool, str]]:
    """Send a case each and return the verdicts."""
    async with node.channel() as channel:
        call = node.open(channel)
        verdicts = []
        for number in numbers:
            await call.write(parcel(f"{number:032x}", case(number)))
            frame = await asyncio.wait_for(call.read(), WAIT)
            verdicts.append((frame.verdict.accepted, frame.verdict.code))
        await call.done_writing()
    return verdicts


async def first_notice(node: Node, *, receive: bool) -> tuple[str, ReleaseAnnounced]:
    """Wait for a notice; say `received` or go away without."""
    async with node.channel() as channel:
        call = node.open(channel)
        frame = await asyncio.wait_for(call.read(), WAIT)
        if receive:
            await call.write(NodeFrame(received=frame.notice.id))
            await call.write(NodeFrame(heartbeat=Heartbeat()))
            answer = await asyncio.wait_for(call.read(), WAIT)
            assert answer.WhichOneof("content") == "heartbeat"
        notice = parse_notice(frame.notice.body)
        assert isinstance(notice, ReleaseAnnounced)
        return frame.notice.id, notice


def test_a_nodes_life_on_the_link(alone: Program) -> None:
    node = alone.enrol("northport")
    assert asyncio.run(send_cases(node, 1, 2, 1)) == [(True, "")] * 3
    assert stored(node) == 2
    signed = publish(alone)
    first = asyncio.run(first_notice(node, receive=False))
    again = asyncio.run(first_notice(node, receive=True))
    assert first == again == (first[0], ReleaseAnnounced(signed=signed))

    async def fetch() -> bytes:
        async with node.channel() as channel:
            return b"".join([chunk.data async for chunk in LinkStub(channel).FetchWeights(
                WeightsRequest(sha256=signed.manifest.weights_sha256))])  # fmt: skip

    async def nothing_more() -> None:
        async with node.channel() as channel:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(node.open(channel).read(), 1.0)

    assert asyncio.run(fetch()) == WEIGHTS
    asyncio.run(nothing_more())
    (alone.home / "trust").mkdir()
    (alone.home / "trust" / ROOT).write_text(node.reply.release_root)
    identity = Identity(node.reply.ca_pem.encode(), node.reply.certificate_pem.encode(), node.key)
    fetch_lists(alone.home / "trust", f"localhost:{alone.link_port}", identity)
    assert ReleaseList(alone.home / "trust").holds(signed.manifest)


def test_bad_parcels_get_their_code_and_the_stream_goes_on(program: Program) -> None:
    node = program.enrol("eastport")

    async def talk() -> list[str]:
        async with node.channel() as channel:
            call = node.open(channel)
            codes = []
            for body in (b"{}", case(1, epi_week="2024-W53"), case(2)):
                await call.write(parcel("a" * 31 + str(len(codes)), body))
                codes.append((await asyncio.wait_for(call.read(), WAIT)).verdict.code)
            return codes

    assert asyncio.run(talk()) == ["bad-shape", "case-week-unknown", ""]


@pytest.mark.slow
def test_what_was_accepted_survives_a_kill(alone: Program) -> None:
    node = alone.enrol("northport")
    asyncio.run(send_cases(node, *range(20)))
    alone.stop(signal.SIGKILL)
    assert stored(node) == 20
    alone.start()
    assert asyncio.run(send_cases(node, 3)) == [(True, "")]
    assert stored(node) == 20


def test_a_revoked_sites_stream_is_cut_and_stays_out(program: Program) -> None:
    node = program.enrol("westport")

    async def listen() -> grpc.StatusCode:
        async with node.channel() as channel:
            call = node.open(channel)
            await call.write(NodeFrame(heartbeat=Heartbeat()))
            await asyncio.wait_for(call.read(), WAIT)
            await asyncio.to_thread(program.json, "sites", "revoke", "westport")
            assert await asyncio.wait_for(call.read(), WAIT) is grpc.aio.EOF
            again = node.open(channel)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await asyncio.wait_for(again.read(), WAIT)
            return raised.value.code()

    assert asyncio.run(listen()) is grpc.StatusCode.PERMISSION_DENIED


def test_only_an_enrolled_node_gets_in(program: Program) -> None:
    """No certificate; the centre's own server certificate, signed by the same CA."""
    ca = (program.home / "pki" / "ca.pem").read_bytes()
    server = [(program.home / "pki" / name).read_bytes() for name in ("registry.key", "registry.pem")]

    async def knock(*identity: bytes) -> grpc.StatusCode:
        credentials = grpc.ssl_channel_credentials(ca, *identity)
        async with grpc.aio.secure_channel(f"localhost:{program.link_port}", credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await asyncio.wait_for(LinkStub(channel).Open().read(), WAIT)
            return raised.value.code()

    assert asyncio.run(knock()) is grpc.StatusCode.UNAVAILABLE
    assert asyncio.run(knock(*server)) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)


def test_weights_that_were_never_promoted_are_not_there(program: Program) -> None:
    node = program.enrol("southport")

    async def fetch(sha256: str) -> grpc.StatusCode:
        async with node.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                async for _ in LinkStub(channel).FetchWeights(WeightsRequest(sha256=sha256)):
                    pass
            return raised.value.code()

    for sha256 in ("0" * 64, "../../registry.db"):
        assert asyncio.run(fetch(sha256)) is grpc.StatusCode.NOT_FOUND


@pytest.mark.slow
def test_it_ends_quietly_on_a_signal_and_has_logged_and_witnessed(alone: Program) -> None:
    node = alone.enrol("northport")
    asyncio.run(send_cases(node, 7))
    for number in (signal.SIGTERM, signal.SIGINT):
        printed = alone.stop(number)
        assert alone.child is not None
        assert (alone.child.returncode, printed) == (0, "")
        if number is signal.SIGTERM:
            alone.start()
    lines = [json.loads(line) for line in (alone.home / "logs" / "registry.jsonl").read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert {"registry.started", "link.opened", "link.parcels", "registry.stopped", "request.served"} <= set(events)
    assert f"{7:032x}" not in json.dumps(lines)
    assert case(7) in (alone.home / "witness" / "registry-link.bin").read_bytes()
    assert b"csr_pem" in (alone.home / "witness" / "registry-http.bin").read_bytes()


def serve_once(home: Path) -> subprocess.CompletedProcess[str]:
    program = Program(home, 0, 0)
    return subprocess.run(program.command("serve"), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("taken", ["http", "link"])
def test_a_taken_port_is_one_sentence(tmp_path: Path, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ports = {"http_port": free_port(), "link_port": free_port(), f"{taken}_port": port}
        result = serve_once(make_centre_home(tmp_path / "home", **ports))
    assert result.returncode == 5
    [sentence] = result.stderr.strip().splitlines()
    assert f"Port {port}" in sentence
    assert sentence.endswith("[port-taken]")


@pytest.mark.parametrize("file", [pytest.param("registry.pem", marks=pytest.mark.slow), "registry.key"])
def test_a_missing_certificate_is_one_sentence(tmp_path: Path, file: str) -> None:
    home = make_centre_home(tmp_path / "home", http_port=free_port(), link_port=free_port())
    (home / "pki" / file).unlink()
    result = serve_once(home)
    assert result.returncode == 5
    [sentence] = result.stderr.strip().splitlines()
    assert file in sentence
    assert sentence.endswith("[missing-certificate]")
