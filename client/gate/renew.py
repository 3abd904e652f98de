"""Keeps the node's certificate young: asks the centre for the next one in time, proves it, and only then puts it in the place of the present one.

Killed at any moment, there is a whole certificate for the node's one key: a further one lies beside it until the centre has been shown it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import grpc
from cryptography import x509

from client.gate.backoff import Backoff
from client.gate.certificate import check_certificate, renewal_time
from client.gate.keys import load_certificate, public_key, signing_request
from client.gate.link import credentials, pause
from client.gate.renewals import RenewalBook
from client.gate.trust import CERTIFICATE, NEXT, Identity, load_centre, load_identity
from client.store.files import disk_faults, settle_folder, write_durably
from protocol.codes import Code
from protocol.enrolment import Address
from protocol.errors import FederationError, RefusedError, UnavailableError, error_for
from protocol.link_pb2 import SigningRequest, TakenUp
from protocol.link_pb2_grpc import LinkStub

_SECONDS = 20.0
Reply = TypeVar("Reply")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RenewalPace:
    """How renewing keeps time, in seconds. Tests make it faster."""

    look: float = 60.0
    settle: float = 10.0
    """From getting a certificate to showing it: the fleet gateway hears of it within three seconds, and nothing is lost meanwhile."""
    backoff: Backoff = field(default_factory=lambda: Backoff(first=30.0, ceiling=1800.0))


class Renewer:
    """Renews one node's certificate. It runs in the event loop of the link, on that thread's database connection."""

    def __init__(
        self,
        trust: Path,
        keys: Path,
        book: RenewalBook,
        *,
        clock: Callable[[], datetime],
        renewed: Callable[[], None],
        pace: RenewalPace | None = None,
    ) -> None:
        """Prepare it.

        Args:
            trust: The folder of the certificate, and of what is pinned of the centre.
            keys: The folder of its key.
            book: Where each try is noted.
            clock: Says the time.
            renewed: Called when a new certificate is in its place.
            pace: How fast to go.
        """
        self._trust = trust
        self._keys = keys
        self._book = book
        self._clock = clock
        self._renewed = renewed
        self._pace = pace or RenewalPace()

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop` is set; what fails is tried again, ever more patiently."""
        failures = 0
        while not stop.is_set():
            try:
                wait, failures = await self.step(), 0
            except FederationError as error:
                failures += 1
                wait = self._pace.backoff.delay(failures, random.random())  # noqa: S311 - jitter, no secret
                self._note(error.code)
                log.warning("certificate.not-renewed", extra={"code": error.code.value, "wait": round(wait, 1)})
            await pause(stop, wait)

    async def step(self) -> float:
        """Do what is next, if it is time for anything, and return for how many seconds to wait then.

        Raises:
            RefusedError: `forbidden` if the centre does not let the node in; `signature-invalid` if what it sent is not ours.
            UnavailableError: `peer-unreachable`; `missing-certificate` if the present one has expired; `disk-full`.
        """
        if (self._trust / NEXT).exists():
            await self._take_up()
            return self._pace.look
        present = load_certificate(self._trust / CERTIFICATE)
        if self._clock() < renewal_time(present):
            return self._pace.look
        if self._clock() >= present.not_valid_after_utc:
            raise UnavailableError(
                Code.MISSING_CERTIFICATE, "The node's certificate has expired. Enrol again with a new invite."
            )
        await self._ask(present)
        return self._pace.settle

    async def _ask(self, present: x509.Certificate) -> None:
        """Get a further certificate and lay it beside the present one."""
        request = SigningRequest(pem=signing_request(self._keys))
        async with self._channel(load_identity(self._trust, self._keys)) as channel:
            answer = await _answer(LinkStub(channel).Renew(request, timeout=_SECONDS))  # type: ignore[no-untyped-call] # generated
        if self._checked(answer.pem).not_valid_after_utc < present.not_valid_after_utc:
            raise RefusedError(
                Code.SIGNATURE_INVALID, "The centre sent a certificate that ends earlier. Tell the coordinator."
            )
        write_durably(self._trust / NEXT, answer.pem.encode())
        log.info("certificate.received")

    async def _take_up(self) -> None:
        """Show the further certificate to the centre, then use it. What the centre or we do not take is dropped: there will be another."""
        further = self._trust / NEXT
        try:
            await self._show(load_identity(self._trust, self._keys, NEXT))
        except RefusedError:
            further.unlink(missing_ok=True)
            raise
        with disk_faults("The certificate"):
            try:
                further.replace(self._trust / CERTIFICATE)
            except FileNotFoundError:  # somebody enrolled the node anew meanwhile, and what lies there now is younger
                return
            settle_folder(self._trust)
        self._note(None)
        self._renewed()
        log.info("certificate.renewed")

    def _note(self, code: Code | None) -> None:
        """Write down what became of a try. A disk that does not take that must not end what is tried again."""
        try:
            self._book.note(code)
        except FederationError as error:
            log.error("certificate.not-noted", extra={"code": error.code.value})  # noqa: TRY400 - the code says it

    async def _show(self, further: Identity) -> None:
        if self._checked(further.certificate.decode("ascii", "replace")).not_valid_after_utc <= self._clock():
            raise RefusedError(Code.FORBIDDEN, "The further certificate has expired before it was used.")
        await take_up(load_centre(self._trust).link_address, further)

    def _checked(self, pem: str) -> x509.Certificate:
        authority = load_identity(self._trust, self._keys).ca.decode("ascii", "replace")
        site = load_centre(self._trust).site
        return check_certificate(pem, ca_pem=authority, site=site, key=public_key(self._keys))

    def _channel(self, identity: Identity) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(load_centre(self._trust).link_address, credentials(identity))


async def take_up(address: Address, identity: Identity) -> None:
    """Show the centre a certificate. Under one that was taken up before, this asks only whether the node is let in.

    Raises:
        RefusedError: `forbidden` if the centre does not let it in.
        UnavailableError: `peer-unreachable`.
    """
    async with grpc.aio.secure_channel(address, credentials(identity)) as channel:
        await _answer(LinkStub(channel).TakeUp(TakenUp(), timeout=_SECONDS))  # type: ignore[no-untyped-call] # generated


async def _answer(call: Awaitable[Reply]) -> Reply:
    """Return what the centre answers.

    Raises:
        FederationError: Of the code that the centre names; `peer-unreachable` if it names none.
    """
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        try:
            code = Code(error.details() or "")
        except ValueError:
            code = Code.PEER_UNREACHABLE
        raise error_for(code, _SAID.get(code, "The centre's link does not answer now; the node asks again.")) from error


_SAID = {
    Code.FORBIDDEN: "The centre does not let this node in any more: its site was shut out, or enrolled again elsewhere. Ask the coordinator.",
}
