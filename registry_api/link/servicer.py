"""The gRPC side of the link. A node is who its certificate says; it acts on its own site's objects only."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from cryptography import x509
from sqlmodel import select

from protocol.codes import Code, Family
from protocol.errors import FederationError
from protocol.link_pb2 import (
    CentreFrame,
    Certificate,
    Chunk,
    Heartbeat,
    ListRequest,
    NodeFrame,
    SigningRequest,
    TakenUp,
    Verdict,
    WeightsRequest,
)
from protocol.link_pb2_grpc import LinkServicer
from registry_api.enrolment.renewal import Shown, renew, take_up
from registry_api.enrolment.sites import admitted
from registry_api.link.courier import Courier, Stream
from registry_api.link.gathering import Gathering, Sent
from registry_api.link.intake import Outcome
from registry_api.link.outbox import mark_received
from registry_api.logs import fault_of
from registry_api.promoted.lists import read_list
from registry_api.promoted.tables import PromotedRow
from registry_api.runtime import Runtime

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[object, object]

_STATUS = {
    Family.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Family.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    Family.REFUSED: grpc.StatusCode.PERMISSION_DENIED,
    Family.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
"""The status of a call that ends with an error of that family; its code is the status's detail."""


UnderWay = asyncio.Queue[tuple[str, asyncio.Future[Outcome]] | None]
"""Parcels of one node that wait for their verdict, in their order; None after the last."""

_UNDER_WAY_MOST = 64
"""So many of one node at once: what it kept while it was away is stored by the batch, and no node fills the memory."""


class RegistryLink(LinkServicer):
    """Serves every node's stream and their fetches of weights."""

    def __init__(self, runtime: Runtime, courier: Courier) -> None:
        self._runtime = runtime
        self._courier = courier
        self._gathering = Gathering(runtime.database, runtime.clock)

    async def Open(self, request_iterator: AsyncIterator[NodeFrame], context: Context) -> AsyncIterator[CentreFrame]:  # noqa: N802 — the name in link.proto
        """Take parcels and send verdicts and notices, until either side ends."""
        async with _by_code(context):
            site, serial = await self._admit(context)
        stream = self._courier.join(site, serial)
        log.info("link.opened", extra={"site": site})
        reading = asyncio.create_task(self._read(request_iterator, stream))
        try:
            async for frame in stream.frames():
                yield frame
        finally:
            reading.cancel()
            self._courier.leave(stream)
            log.info("link.closed", extra={"site": site})

    async def FetchWeights(self, request: WeightsRequest, context: Context) -> AsyncIterator[Chunk]:  # noqa: N802 — the name in link.proto
        """Send the weights of a promoted release, a mebibyte at a time."""
        async with _by_code(context):
            site, _ = await self._admit(context)
            if not await asyncio.to_thread(self._promoted, request.sha256):
                await context.abort(grpc.StatusCode.NOT_FOUND, Code.NOT_FOUND.value)
            log.info("link.weights", extra={"site": site})
            chunks = self._runtime.shelf.chunks(request.sha256)
            while (data := await asyncio.to_thread(next, chunks, None)) is not None:
                yield Chunk(data=data)

    async def FetchList(self, request: ListRequest, context: Context) -> AsyncIterator[Chunk]:  # noqa: N802 — the name in link.proto
        """Send one file of the lists of releases."""
        async with _by_code(context):
            await self._admit(context)
            text = await asyncio.to_thread(self._list, request.name)
            if text is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, Code.NOT_FOUND.value)
            yield Chunk(data=text.encode())

    async def Renew(self, request: SigningRequest, context: Context) -> Certificate:  # noqa: N802 — the name in link.proto
        """Answer a signing request for the node's own key with a further certificate."""
        async with _by_code(context):
            shown = await self._shown(context)
            if self._runtime.witness is not None:
                await asyncio.to_thread(self._runtime.witness.saw_link, request.SerializeToString())
            pem = await asyncio.to_thread(self._renew, request.pem, shown)
        log.info("certificate.renewed", extra={"site": shown.site})
        return Certificate(pem=pem)

    async def TakeUp(self, request: TakenUp, context: Context) -> TakenUp:  # noqa: N802 — the name in link.proto
        """Note that the node has the certificate that it shows."""
        async with _by_code(context):
            shown = await self._shown(context)
            await asyncio.to_thread(self._take_up, shown)
        log.info("certificate.taken-up", extra={"site": shown.site})
        return request

    def _renew(self, csr_pem: str, shown: Shown) -> str:
        runtime = self._runtime
        with runtime.database.writing() as session:
            return renew(session, csr_pem, shown=shown, authority=runtime.authority, now=runtime.clock()).pem

    def _take_up(self, shown: Shown) -> None:
        with self._runtime.database.writing() as session:
            take_up(session, shown=shown, now=self._runtime.clock())

    async def _admit(self, context: Context) -> tuple[str, str]:
        """Return the site and serial of the peer's certificate, or end the call."""
        shown = await self._shown(context)
        if not await asyncio.to_thread(self._admitted, shown.site, shown.serial):
            log.warning("link.refused", extra={"serial": shown.serial})
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, Code.FORBIDDEN.value)
        return shown.site, shown.serial

    async def _shown(self, context: Context) -> Shown:
        """Return the peer's certificate, which is one of the network's authority, or end the call."""
        identity = context.auth_context()
        names, pems = list(identity.get("x509_common_name", ())), list(identity.get("x509_pem_cert", ()))
        if not names or not pems:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, Code.UNAUTHENTICATED.value)
        return Shown(names[0].decode(), x509.load_pem_x509_certificate(pems[0]))

    def _admitted(self, site: str, serial: str) -> bool:
        with self._runtime.database.reading() as session:
            return admitted(session, site, serial, now=self._runtime.clock())

    def _list(self, name: str) -> str | None:
        with self._runtime.database.reading() as session:
            return read_list(session, name)

    def _promoted(self, sha256: str) -> bool:
        with self._runtime.database.reading() as session:
            return session.exec(select(PromotedRow).where(PromotedRow.weights_sha256 == sha256)).first() is not None

    async def _read(self, frames: AsyncIterator[NodeFrame], stream: Stream) -> None:
        """Work through what the node sends. Whatever ends it also ends the stream, so that the node connects anew."""
        under_way: UnderWay = asyncio.Queue(_UNDER_WAY_MOST)
        answering = asyncio.create_task(self._answer_parcels(under_way, stream))
        try:
            async for frame in frames:
                # A node that reads nothing keeps `Open` from noticing, and would be heard for as long as it likes.
                if stream.ended:
                    break
                if self._runtime.witness is not None:
                    await asyncio.to_thread(self._runtime.witness.saw_link, frame.SerializeToString())
                await self._hear(frame, stream, under_way)
            await under_way.put(None)
            await answering
        except Exception as error:  # noqa: BLE001 — as below
            _tell_fault(stream, error)
        finally:
            answering.cancel()
            stream.cut()

    async def _hear(self, frame: NodeFrame, stream: Stream, under_way: UnderWay) -> None:
        kind = frame.WhichOneof("content")
        if kind == "parcel":
            parcel = frame.parcel
            verdict = self._gathering.put(Sent(stream.site, parcel.id, parcel.body))
            await under_way.put((parcel.id, verdict))
        elif kind == "received":
            await asyncio.to_thread(self._received, stream.site, frame.received)
            stream.received(frame.received)
        elif kind == "heartbeat":
            await stream.send(CentreFrame(heartbeat=Heartbeat()))

    async def _answer_parcels(self, under_way: UnderWay, stream: Stream) -> None:
        """Send the verdicts in the order of the parcels; each exists only once its parcel is on the disk or refused for good."""
        try:
            while (parcel := await under_way.get()) is not None:
                envelope_id, verdict = parcel
                outcome = await verdict
                if not outcome.accepted:
                    log.info("link.refused-parcel", extra={"site": stream.site, "code": outcome.code})
                frame = Verdict(id=envelope_id, accepted=outcome.accepted, code=outcome.code)
                await stream.send(CentreFrame(verdict=frame))
        except Exception as error:  # noqa: BLE001 — the rim of one node's stream: its fault must not be another's
            _tell_fault(stream, error)
            stream.cut()

    def _received(self, site: str, notice_id: str) -> None:
        with self._runtime.database.writing() as session:
            mark_received(session, site, notice_id, now=self._runtime.clock())


@asynccontextmanager
async def _by_code(context: Context) -> AsyncIterator[None]:
    """End a call that meets an error with that error's code alone: a fault's own words may quote a row or name a path."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except FederationError as error:
        log.warning("link.call-refused", extra={"site": _site_of(context), "code": error.code.value})
        await context.abort(_STATUS[error.family], error.code.value)
    except Exception as error:  # noqa: BLE001 — the rim of one node's call
        log.error("link.fault", extra={"site": _site_of(context), **fault_of(error)})  # noqa: TRY400 — its text may quote a row
        await context.abort(grpc.StatusCode.INTERNAL, "fault")


def _site_of(context: Context) -> str:
    """Return the name in the peer's certificate, whether or not it is let in."""
    return b"".join(context.auth_context().get("x509_common_name", ())).decode()


def _tell_fault(stream: Stream, error: Exception) -> None:
    if isinstance(error, FederationError):
        log.warning("link.unavailable", extra={"site": stream.site, "code": error.code.value})
    else:
        log.error("link.fault", extra={"site": stream.site, **fault_of(error)})
