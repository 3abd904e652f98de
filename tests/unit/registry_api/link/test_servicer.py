"""What a node sends on its stream: many parcels under way at once, their verdicts in their order, and an end that loses none."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import UnavailableError
from protocol.link_pb2 import (
    CentreFrame,
    Envelope,
    Heartbeat,
    ListRequest,
    NodeFrame,
    SigningRequest,
    TakenUp,
    WeightsRequest,
)
from protocol.shape import canonical_json
from registry_api.enrolment.invites import create_invite
from registry_api.enrolment.sites import enrol
from registry_api.link import gathering, servicer
from registry_api.link.courier import Courier, Stream
from registry_api.link.servicer import RegistryLink
from registry_api.link.tables import ParcelRow
from tests.unit.registry_api.conftest import Registry


@pytest.fixture
def site(registry: Registry) -> str:
    registry.enrol("northport")
    return "northport"


def parcel(registry: Registry, number: int, **fields: object) -> NodeFrame:
    return NodeFrame(parcel=Envelope(id=f"{number:032x}", body=canonical_json(registry.case(**fields))))


def answers(registry: Registry, site: str, frames: list[NodeFrame]) -> list[CentreFrame | None]:
    """Send frames on one stream, then close it from the node's side; return what the centre sent, None for its end."""

    async def sent() -> AsyncIterator[NodeFrame]:
        for frame in frames:
            yield frame

    async def converse() -> list[CentreFrame | None]:
        stream = Stream(site, "1")
        await RegistryLink(registry.runtime, Courier(registry.runtime.database, registry.clock))._read(sent(), stream)
        return [stream._frames.get_nowait() for _ in range(stream._frames.qsize())]

    return asyncio.run(asyncio.wait_for(converse(), 30))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    take_many = gathering.take_many

    def counting(database, parcels, *, now):
        sizes.append(len(parcels))
        return take_many(database, parcels, now=now)

    monkeypatch.setattr(gathering, "take_many", counting)
    return sizes


def test_what_one_node_kept_is_stored_together_and_answered_in_its_order(
    registry: Registry, site: str, batches: list[int]
) -> None:
    *verdicts, end = answers(registry, site, [parcel(registry, number) for number in range(20)])
    assert [one.verdict.id for one in verdicts] == [f"{number:032x}" for number in range(20)]
    assert all(one.verdict.accepted for one in verdicts)
    assert (end, batches) == (None, [20])


def test_one_bad_record_sinks_no_other(registry: Registry, site: str) -> None:
    frames = [parcel(registry, number, opacity_percent=99 if number == 1 else 12) for number in range(3)]
    *verdicts, _ = answers(registry, site, frames)
    assert [one.verdict.code for one in verdicts] == ["", "case-opacity-sum", ""]


def test_a_node_has_no_more_under_way_than_the_limit(
    registry: Registry, site: str, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer, "_UNDER_WAY_MOST", 3)
    *verdicts, _ = answers(registry, site, [parcel(registry, number) for number in range(12)])
    assert len(verdicts) == 12
    assert max(batches) <= 5  # three in the queue, one being answered, one about to be queued


def test_a_heartbeat_is_answered_while_parcels_wait(registry: Registry, site: str) -> None:
    frames = answers(registry, site, [parcel(registry, 1), NodeFrame(heartbeat=Heartbeat())])
    assert [frame and frame.WhichOneof("content") for frame in frames] == ["heartbeat", "verdict", None]


def test_without_a_database_the_stream_ends_without_a_verdict(
    registry: Registry, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise UnavailableError(Code.DISK_FULL)

    monkeypatch.setattr(gathering, "take_many", full)
    assert answers(registry, site, [parcel(registry, number) for number in range(3)]) == [None]


def test_of_a_stream_that_was_cut_nothing_more_is_taken(registry: Registry, site: str) -> None:
    """A node that reads nothing holds `Open` in a write, so that the end of the stream does not reach it; it may send all the same."""

    async def converse() -> None:
        stream = Stream(site, "1")

        async def sent() -> AsyncIterator[NodeFrame]:
            yield parcel(registry, 1)
            assert await stream._frames.get()  # the first verdict
            stream.cut()
            yield parcel(registry, 2)

        await RegistryLink(registry.runtime, Courier(registry.runtime.database, registry.clock))._read(sent(), stream)

    asyncio.run(asyncio.wait_for(converse(), 30))
    with registry.runtime.database.reading() as session:
        assert session.exec(select(ParcelRow.envelope_id)).all() == [f"{1:032x}"]


class Call:
    """The context of a call from a node that shows its certificate; keeps what the call was ended with."""

    def __init__(self, pem: str) -> None:
        name = x509.load_pem_x509_certificate(pem.encode()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        self._shown = {"x509_common_name": [str(name).encode()], "x509_pem_cert": [pem.encode()]}
        self.ended: tuple[grpc.StatusCode, str] | None = None

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._shown

    async def abort(self, status: grpc.StatusCode, details: str) -> None:
        self.ended = status, details
        raise grpc.aio.AbortError


def certificate_of(registry: Registry, site: str) -> str:
    with registry.runtime.database.writing() as session:
        token = create_invite(session, site=site, region="XA-N", hours=1, now=registry.clock())
        _, issued = enrol(session, registry.request(token), authority=registry.runtime.authority, now=registry.clock())
    return issued.pem


MET = {
    "a fault": (OSError("no such file: /srv/centre/weights of Mrs Doe"), (grpc.StatusCode.INTERNAL, "fault")),
    "an error": (UnavailableError(Code.DISK_FULL, "of Mrs Doe"), (grpc.StatusCode.UNAVAILABLE, "disk-full")),
}
"""What a step of a call meets, and what the node is told."""


@pytest.mark.parametrize("met", MET)
@pytest.mark.parametrize("step", ["_admitted", "_promoted", "_list", "_renew", "_take_up"])
def test_what_a_call_meets_reaches_the_node_as_a_code_and_the_log_as_a_place(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str, met: str
) -> None:
    error, told = MET[met]
    call = Call(certificate_of(registry, "northport"))
    link = RegistryLink(registry.runtime, Courier(registry.runtime.database, registry.clock))

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(link, step, fail)

    async def ask() -> None:
        if step == "_renew":
            await link.Renew(SigningRequest(pem="x"), call)
        elif step == "_take_up":
            await link.TakeUp(TakenUp(), call)
        else:
            asked = link.FetchList(ListRequest(name="1.root.json"), call) if step == "_list" else (
                link.FetchWeights(WeightsRequest(sha256="0" * 64), call)
            )  # fmt: skip
            async for _ in asked:
                pass

    with pytest.raises(grpc.aio.AbortError):
        asyncio.run(ask())
    assert call.ended == told
    assert "northport" in [getattr(record, "site", None) for record in caplog.records]
    assert "Doe" not in caplog.text
