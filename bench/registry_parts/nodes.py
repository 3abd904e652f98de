"""Nodes on the link: each with a certificate and a stream of its own, sending case records as fast as they are taken."""

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric import ec

from bench.registry_parts.load import on_core
from protocol.case import CaseRecord, SeverityBand
from protocol.enrolment import EnrolRequest
from protocol.link_pb2 import CentreFrame, Envelope, NodeFrame
from protocol.link_pb2_grpc import LinkStub
from protocol.shape import canonical_json
from registry_api.enrolment.invites import create_invite
from registry_api.enrolment.sites import enrol
from registry_api.link.courier import Courier
from registry_api.link.server import open_link
from registry_api.logs import start_logging
from registry_api.runtime import Runtime, build_runtime
from registry_api.serve import hand_over_soon, keep_what_is_loaded
from tests.fakes.centre_home import key_pem, make_csr, supernode_key

_AHEAD = 8
"""So many parcels a node has under way before it waits for a verdict."""
_OPENED_AT_ONCE = 20

Identity = tuple[str, bytes, bytes]
"""A node's name, key and certificate."""


def enrol_nodes(runtime: Runtime, count: int) -> list[Identity]:
    """Enrol nodes by the registry's own functions."""
    made = []
    for number in range(count):
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        with runtime.database.writing() as session:
            token = create_invite(session, site=f"node-{number}", region="XA-00", hours=1, now=now)
            request = EnrolRequest(
                token=token, csr_pem=make_csr(key), supernode_key=supernode_key(), gateway_origin="https://gateway.example"
            )  # fmt: skip
            site, issued = enrol(session, request, authority=runtime.authority, now=now)
        made.append((site.site, key_pem(key), issued.pem.encode()))
    return made


def ingest(home: Path, identities: Sequence[Identity], *, each: int) -> float:
    """Let every node send `each` records at the same time; return records per second, from the first parcel to the last verdict."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    server = context.Process(target=_serve, args=(str(home), ready), daemon=True)
    server.start()
    if not ready.wait(60):
        raise RuntimeError("the link did not start")
    try:
        runtime = build_runtime(home)
        ca = runtime.authority.pem.encode()
        runtime.database.close()
        with on_core(0):
            seconds = asyncio.run(_send(runtime.settings.link.port, ca, identities, each))
    finally:
        server.terminate()
        server.join()
    return len(identities) * each / seconds


def _serve(home: str, ready: Event) -> None:
    async def run() -> None:
        runtime = build_runtime(Path(home))
        start_logging(runtime.settings.logs)
        hand_over_soon()
        courier = Courier(runtime.database, runtime.clock)
        link = open_link(runtime, courier)
        await link.start()
        keep_what_is_loaded()
        ready.set()
        await courier.run()

    with on_core(-1):
        asyncio.run(run())


async def _send(port: int, ca: bytes, identities: Sequence[Identity], each: int) -> float:
    connected, start = asyncio.Semaphore(_OPENED_AT_ONCE), asyncio.Event()
    waiting = [asyncio.create_task(_node(port, ca, one, each, (connected, start))) for one in identities]
    while sum(one.get_name() == "ready" for one in waiting) < len(waiting):
        await asyncio.sleep(0.05)
        if any(one.done() for one in waiting):
            await asyncio.gather(*waiting)
    began = time.perf_counter()
    start.set()
    await asyncio.gather(*waiting)
    return time.perf_counter() - began


async def _node(
    port: int, ca: bytes, identity: Identity, each: int, gates: tuple[asyncio.Semaphore, asyncio.Event]
) -> None:
    name, key, certificate = identity
    connected, start = gates
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        call = LinkStub(channel).Open()  # type: ignore[no-untyped-call]
        async with connected:
            await call.write(_parcel(name, 0))
            await _verdict(call)
        task = asyncio.current_task()
        assert task is not None
        task.set_name("ready")
        parcels = [_parcel(name, number) for number in range(1, each + 1)]
        await start.wait()
        under_way = 0
        for parcel in parcels:
            await call.write(parcel)
            under_way += 1
            if under_way == _AHEAD:
                await _verdict(call)
                under_way -= 1
        for _ in range(under_way):
            await _verdict(call)
        await call.done_writing()


async def _verdict(call: "grpc.aio.StreamStreamCall[NodeFrame, CentreFrame]") -> None:
    while True:
        frame = await call.read()
        if isinstance(frame, CentreFrame) and frame.WhichOneof("content") == "verdict":
            if not frame.verdict.accepted:
                raise RuntimeError(f"a record was refused: {frame.verdict.code}")
            return
        if not isinstance(frame, CentreFrame):
            raise RuntimeError("the stream ended")  # noqa: TRY004 — end of stream, not a wrong type


def _parcel(name: str, number: int) -> NodeFrame:
    identity = f"{int(name.partition('-')[2]):016x}{number:016x}"
    record = CaseRecord(
        case_id=identity, epi_week="2025-W30", ggo_percent=10, consolidation_percent=2, opacity_percent=12,
        severity_score=5, severity_band=SeverityBand.MILD, model_release="ggo@0",
    )  # fmt: skip
    return NodeFrame(parcel=Envelope(id=identity, body=canonical_json(record)))
