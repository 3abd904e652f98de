"""What a node sends on its stream: many parcels under way at once, their verdicts in their order, and an end that loses none."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from protocol.codes import Code
from protocol.errors import UnavailableError
from protocol.link_pb2 import CentreFrame, Envelope, Heartbeat, NodeFrame
from protocol.shape import canonical_json
from registry_api.link import gathering, servicer
from registry_api.link.courier import Courier, Stream
from registry_api.link.servicer import RegistryLink
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
