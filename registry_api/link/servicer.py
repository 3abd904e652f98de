"""The gRPC side of the link. A node is who its certificate says; it acts on its own site's objects only."""

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
from cryptography import x509
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import FederationError
from protocol.link_pb2 import CentreFrame, Chunk, Heartbeat, NodeFrame, Verdict, WeightsRequest
from protocol.link_pb2_grpc import LinkServicer
from registry_api.enrolment.authority import serial_hex
from registry_api.enrolment.sites import admitted
from registry_api.link.courier import Courier, Stream
from registry_api.link.intake import take
from registry_api.link.outbox import mark_received
from registry_api.promoted.tables import PromotedRow
from registry_api.runtime import Runtime

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[object, object]


class RegistryLink(LinkServicer):
    """Serves every node's stream and their fetches of weights."""

    def __init__(self, runtime: Runtime, courier: Courier) -> None:
        self._runtime = runtime
        self._courier = courier

    async def Open(self, request_iterator: AsyncIterator[NodeFrame], context: Context) -> AsyncIterator[CentreFrame]:  # noqa: N802 — the name in link.proto
        """Take parcels and send verdicts and notices, until either side ends."""
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
        site, _ = await self._admit(context)
        if not await asyncio.to_thread(self._promoted, request.sha256):
            await context.abort(grpc.StatusCode.NOT_FOUND, Code.NOT_FOUND.value)
        log.info("link.weights", extra={"site": site})
        chunks = self._runtime.shelf.chunks(request.sha256)
        while (data := await asyncio.to_thread(next, chunks, None)) is not None:
            yield Chunk(data=data)

    async def _admit(self, context: Context) -> tuple[str, str]:
        """Return the site and serial of the peer's certificate, or end the call."""
        identity = context.auth_context()
        names, pems = list(identity.get("x509_common_name", ())), list(identity.get("x509_pem_cert", ()))
        if not names or not pems:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, Code.UNAUTHENTICATED.value)
        site, serial = names[0].decode(), serial_hex(x509.load_pem_x509_certificate(pems[0]).serial_number)
        if not await asyncio.to_thread(self._admitted, site, serial):
            log.warning("link.refused", extra={"serial": serial})
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, Code.FORBIDDEN.value)
        return site, serial

    def _admitted(self, site: str, serial: str) -> bool:
        with self._runtime.database.reading() as session:
            return admitted(session, site, serial, now=self._runtime.clock())

    def _promoted(self, sha256: str) -> bool:
        with self._runtime.database.reading() as session:
            return session.exec(select(PromotedRow).where(PromotedRow.weights_sha256 == sha256)).first() is not None

    async def _read(self, frames: AsyncIterator[NodeFrame], stream: Stream) -> None:
        """Work through what the node sends, in order. Whatever ends it also ends the stream, so that the node connects anew."""
        try:
            async for frame in frames:
                if self._runtime.witness is not None:
                    await asyncio.to_thread(self._runtime.witness.saw_link, frame.SerializeToString())
                await self._answer(frame, stream)
        except FederationError as error:
            log.warning("link.unavailable", extra={"site": stream.site, "code": error.code.value})
        except Exception as error:  # noqa: BLE001 — the rim of one node's stream: its fault must not be another's
            log.error("link.fault", extra={"site": stream.site, "fault": type(error).__name__})  # noqa: TRY400 — the text may quote a frame
        finally:
            stream.cut()

    async def _answer(self, frame: NodeFrame, stream: Stream) -> None:
        kind = frame.WhichOneof("content")
        if kind == "parcel":
            await stream.send(CentreFrame(verdict=await asyncio.to_thread(self._take, frame, stream.site)))
        elif kind == "received":
            await asyncio.to_thread(self._received, stream.site, frame.received)
            stream.received(frame.received)
        elif kind == "heartbeat":
            await stream.send(CentreFrame(heartbeat=Heartbeat()))

    def _take(self, frame: NodeFrame, site: str) -> Verdict:
        """Return the verdict; it exists only once the parcel is on the disk or refused for good."""
        parcel = frame.parcel
        outcome = take(self._runtime.database, site, envelope_id=parcel.id, body=parcel.body, now=self._runtime.clock())
        log.info("link.parcel", extra={"site": site, "accepted": outcome.accepted, "code": outcome.code})
        return Verdict(id=parcel.id, accepted=outcome.accepted, code=outcome.code)

    def _received(self, site: str, notice_id: str) -> None:
        with self._runtime.database.writing() as session:
            mark_received(session, site, notice_id, now=self._runtime.clock())
