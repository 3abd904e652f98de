"""The stream to the centre: parcels up until each has its verdict, notices down until each is on the disk. Opened by the node, always."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from client.gate.backoff import Backoff
from client.gate.contact import ContactBook
from client.gate.inbox import Inbox
from client.gate.outbox import Outbox
from client.gate.trust import Identity
from protocol.enrolment import Address
from protocol.errors import FederationError, InvalidInputError
from protocol.link_pb2 import CentreFrame, Envelope, Heartbeat, NodeFrame, Verdict
from protocol.link_pb2_grpc import LinkStub
from protocol.parcel import parse_notice

UNKNOWN = "unknown"
"""Kind of a notice that is none of the shapes: kept, so that the centre need not send it for ever, and settled as `bad-shape`."""

_SHUT_OUT = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
"""What the centre answers a node whose site was revoked or enrolled again: readers' sessions end with it, not only after a silence."""

_CHANNEL = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)

log = logging.getLogger(__name__)

Call = grpc.aio.StreamStreamCall[NodeFrame, CentreFrame]


@dataclass(frozen=True, slots=True)
class Pace:
    """How the link keeps time, in seconds. Tests make it faster."""

    look: float = 0.2
    heartbeat: float = 10.0
    silence: float = 45.0
    """Without a frame from the centre for so long, the stream counts as dead."""
    healthy: float = 30.0
    backoff: Backoff = field(default_factory=Backoff)


class LinkClient:
    """One node's side of the link. Everything on it runs in one event loop, on one database connection."""

    def __init__(
        self, outbox: Outbox, inbox: Inbox, contact: ContactBook, *, woken: Callable[[], None], pace: Pace | None = None
    ) -> None:
        """Prepare the link.

        Args:
            outbox: What is to be sent.
            inbox: Where notices are kept.
            contact: Where signs of life are noted.
            woken: Called when a new notice is on the disk.
            pace: How fast to go.
        """
        self._outbox = outbox
        self._inbox = inbox
        self._contact = contact
        self._woken = woken
        self._pace = pace or Pace()
        self._writing = asyncio.Lock()
        self._in_flight: set[str] = set()
        self._anew = asyncio.Event()

    def connect_anew(self) -> None:
        """Leave the present stream for a new one, under the certificate that lies there now. What is under way is sent again."""
        self._anew.set()

    async def run(self, address: Address, identity: Callable[[], Identity], stop: asyncio.Event) -> None:
        """Keep a stream open until `stop` is set; connect again, ever more patiently, whenever it breaks.

        Args:
            address: Of the centre's link.
            identity: Reads certificate and key; asked at each connection, so that a renewed one is used.
            stop: Ends it.
        """
        loop, failures = asyncio.get_running_loop(), 0
        while not stop.is_set():
            began = loop.time()
            await self._try(address, identity, stop)
            self._note_lost()
            failures = 1 if loop.time() - began > self._pace.healthy else failures + 1
            await pause(stop, self._pace.backoff.delay(failures, random.random()))  # noqa: S311 - jitter, no secret

    def _note_lost(self) -> None:
        """Note that the link is down. Where the disk does not take that, the link goes on: the forwarder beside it still carries a round."""
        try:
            self._contact.lost()
        except FederationError as error:
            log.error("link.not-noted", extra={"code": error.code.value})  # noqa: TRY400 - the code says it

    async def _try(self, address: Address, identity: Callable[[], Identity], stop: asyncio.Event) -> None:
        """Hold one conversation; every way in which it may end is logged, and none ends the link."""
        self._anew.clear()  # before the certificate is read, so that none is missed
        try:
            await self._converse(address, identity(), stop)
        except grpc.RpcError as error:
            status = error.code() if isinstance(error, grpc.aio.AioRpcError) else None
            log.warning("link.lost", extra={"status": status.name.lower() if status else type(error).__name__})
        except (OSError, TimeoutError, asyncio.InvalidStateError) as error:
            log.warning("link.lost", extra={"status": type(error).__name__})
        except FederationError as error:
            log.error("link.waits", extra={"code": error.code.value})  # noqa: TRY400 - the code says it

    async def _converse(self, address: Address, identity: Identity, stop: asyncio.Event) -> None:
        """Open the stream and speak and listen until one side ends or `stop` is set."""
        self._in_flight.clear()
        async with grpc.aio.secure_channel(address, credentials(identity), options=_CHANNEL) as channel:
            call: Call = LinkStub(channel).Open()  # type: ignore[no-untyped-call] # generated
            tasks = [
                asyncio.create_task(self._listen(call)),
                asyncio.create_task(self._speak(call)),
                asyncio.create_task(stop.wait()),
                asyncio.create_task(self._anew.wait()),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if call.done() and await call.code() in _SHUT_OUT:
                    self._contact.shut_out()
                call.cancel()
            for task in done:
                task.result()

    async def _speak(self, call: Call) -> None:
        """Send what waits, in order, and a heartbeat from time to time."""
        loop, beat_at = asyncio.get_running_loop(), 0.0
        while True:
            if loop.time() >= beat_at:
                await self._write(call, NodeFrame(heartbeat=Heartbeat()))
                beat_at = loop.time() + self._pace.heartbeat
            for queued in self._outbox.waiting(but=self._in_flight):
                self._in_flight.add(queued.envelope_id)
                await self._write(call, NodeFrame(parcel=Envelope(id=queued.envelope_id, body=queued.body)))
            await asyncio.sleep(self._pace.look)

    async def _listen(self, call: Call) -> None:
        """Take frames until the centre ends the stream or falls silent.

        Raises:
            TimeoutError: After too long a silence.
        """
        while True:
            # `wait_for` of Python 3.11 loses a cancellation that meets a frame; this does not.
            async with asyncio.timeout(self._pace.silence):
                frame = await call.read()
            if not isinstance(frame, CentreFrame):  # grpc.aio.EOF
                log.info("link.closed")
                return
            self._contact.heard()
            await self._take(call, frame)

    async def _take(self, call: Call, frame: CentreFrame) -> None:
        kind = frame.WhichOneof("content")
        if kind == "verdict":
            self._settle(frame.verdict)
        elif kind == "notice":
            self._keep(frame.notice)
            await self._write(call, NodeFrame(received=frame.notice.id))

    def _settle(self, verdict: Verdict) -> None:
        self._in_flight.discard(verdict.id)
        if self._outbox.settle(verdict.id, accepted=verdict.accepted, code=verdict.code) and not verdict.accepted:
            log.warning("link.parked", extra={"envelope": verdict.id, "code": verdict.code})

    def _keep(self, envelope: Envelope) -> None:
        """Put a notice on the disk; only after this may the centre hear that we have it."""
        if self._inbox.store(envelope.id, _kind(envelope.body), envelope.body):
            log.info("link.notice", extra={"envelope": envelope.id})
            self._woken()

    async def _write(self, call: Call, frame: NodeFrame) -> None:
        async with self._writing:  # a gRPC stream takes one writer at a time
            await call.write(frame)


def credentials(identity: Identity) -> grpc.ChannelCredentials:
    """Return credentials for mutual TLS with the centre."""
    return grpc.ssl_channel_credentials(
        root_certificates=identity.ca, private_key=identity.key, certificate_chain=identity.certificate
    )


def _kind(body: bytes) -> str:
    try:
        return parse_notice(body).kind
    except InvalidInputError:
        return UNKNOWN


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait for `seconds` or until `stop` is set."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
