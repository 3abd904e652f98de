"""One association from its request to its end: who is it, what is agreed, message after message (PS3.7, PS3.8).

Blocking and in one thread: a sender waits for each answer anyway, and a thread that sleeps in `recv` costs nothing. Whatever breaks the
rules is answered with A-ABORT; a peer that stalls is left after a time.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from client.receive import dimse, negotiation
from client.receive.dimse import Command
from client.receive.line import CLOSED, Kind, Line, LineEndedError
from client.receive.negotiation import Agreed, Entity
from client.receive.spooling import Arrival
from protocol.errors import InvalidInputError

SUCCESS, OUT_OF_RESOURCES, NO_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
SOP_CLASS_NOT_SUPPORTED, NOT_AUTHORIZED, UNRECOGNIZED_OPERATION = 0x0122, 0x0124, 0x0211
"""Statuses (PS3.4 annex B.2.3 and PS3.7 annex C)."""

ACSE_SECONDS, IDLE_SECONDS, PDU_SECONDS = 5.0, 60.0, 60.0
MOST_PDU_BYTES = 1 << 20
"""What is read at most although senders are told less: some do not listen."""

_USER, _PROVIDER = 0, 2
_NOT_SPECIFIED, _UNEXPECTED_PDU, _INVALID_VALUE = 0, 2, 6
_PDV_HEAD = 6
_COMMAND, _LAST = 0b01, 0b10

log = logging.getLogger(__name__)


class Desk(Protocol):
    """Where instances are handed in (`client.receive.scp`)."""

    def arrival(self) -> Arrival:
        """Open a place for the next instance."""

    def take(self, arrival: Arrival, association: str) -> int:
        """Keep a whole instance and return the C-STORE status; 0000 is a promise."""


class _RuleBrokenError(Exception):
    """The peer broke the protocol; the association is aborted with this reason."""

    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Message:
    """A message that is coming in: its command set first, then its data set."""

    context_id: int
    command_bytes: bytearray
    command: Command | None = None
    arrival: Arrival | None = None
    status: int | None = None
    """Decided before the data set was read; the rest is read and dropped."""


class Association:
    """Serves one connection."""

    def __init__(self, line: Line, entity: Entity, desk: Desk, name: str) -> None:
        """Prepare to serve.

        Args:
            line: The connection.
            entity: The node.
            desk: Where instances go.
            name: Of this association in the node; no word of the peer's.
        """
        self._line = line
        self._entity = entity
        self._desk = desk
        self._name = name
        self._agreed: Agreed | None = None
        self._message: _Message | None = None

    def serve(self, admitted: Callable[[], bool]) -> None:
        """Serve until the peer releases, aborts, breaks a rule or falls silent.

        Args:
            admitted: Called once the peer has said who it is; False if there are too many already.
        """
        try:
            if self._negotiate(admitted):
                self._converse()
        except LineEndedError as ended:
            if ended.why != CLOSED:
                log.warning("receiver.cut_off", extra={"why": ended.why})
                self._abort(_PROVIDER, _NOT_SPECIFIED)
        except _RuleBrokenError as broken:
            log.warning("receiver.rule_broken", extra={"reason": broken.reason})
            self._abort(_PROVIDER, broken.reason)
        except InvalidInputError as error:
            log.warning("receiver.cut_off", extra={"code": error.code.value})
            self._abort(_PROVIDER, _INVALID_VALUE)
        finally:
            self._forget()

    def _negotiate(self, admitted: Callable[[], bool]) -> bool:
        kind, body = self._line.read(ACSE_SECONDS, most_bytes=negotiation.MOST_REQUEST_BYTES)
        if kind is not Kind.ASSOCIATE_RQ:
            raise _RuleBrokenError(_UNEXPECTED_PDU)
        verdict = negotiation.judge(bytes(body), self._entity)
        if isinstance(verdict, Agreed) and not admitted():
            verdict = negotiation.TOO_MANY
        if not isinstance(verdict, Agreed):
            log.warning("receiver.rejected", extra={"reason": verdict[2]})
            self._line.send(negotiation.rejection(verdict))
            return False
        self._agreed = verdict
        self._line.send(verdict.answer)
        return True

    def _converse(self) -> None:
        while True:
            kind, body = self._line.read(IDLE_SECONDS)
            if kind is Kind.DATA:
                self._walk(body)
            elif kind is Kind.RELEASE_RQ and self._message is None:
                self._line.send(negotiation.RELEASED)
                return
            elif kind is Kind.ABORT:
                return
            else:
                raise _RuleBrokenError(_UNEXPECTED_PDU)

    def _walk(self, body: memoryview) -> None:
        """Take the presentation data values of one P-DATA-TF (PS3.8 section 9.3.5.1)."""
        if not body:
            raise _RuleBrokenError(_INVALID_VALUE)
        at = 0
        while at < len(body):
            size = int.from_bytes(body[at : at + 4], "big")
            end = at + 4 + size
            if size < 2 or end > len(body):  # noqa: PLR2004 - context id and message control header
                raise _RuleBrokenError(_INVALID_VALUE)
            self._fragment(body[at + 4], body[at + 5], body[at + _PDV_HEAD : end])
            at = end

    def _fragment(self, context_id: int, control: int, content: memoryview) -> None:
        message = self._message
        if message is None:
            message = self._message = _Message(context_id, bytearray())
        if message.context_id != context_id or bool(control & _COMMAND) is not (message.command is None):
            raise _RuleBrokenError(_INVALID_VALUE)
        if message.command is None:
            self._command_fragment(message, content, last=bool(control & _LAST))
            return
        if message.arrival is not None:
            message.arrival.add(content)
        if control & _LAST:
            self._answer(message)

    def _command_fragment(self, message: _Message, content: memoryview, *, last: bool) -> None:
        message.command_bytes += content
        if len(message.command_bytes) > dimse.MOST_COMMAND_BYTES:
            raise _RuleBrokenError(_INVALID_VALUE)
        if not last:
            return
        try:
            message.command = dimse.read_command(bytes(message.command_bytes))
        except ValueError:
            raise _RuleBrokenError(_INVALID_VALUE) from None
        self._open(message, message.command)
        if not message.command.has_data:
            self._answer(message)

    def _open(self, message: _Message, command: Command) -> None:
        """Decide what is done with a request: an instance gets its place in the spool, the rest its status."""
        agreed = self._agreed.contexts.get(message.context_id) if self._agreed is not None else None
        if agreed is None:
            raise _RuleBrokenError(_INVALID_VALUE)
        sop_class, syntax = agreed
        if command.field == dimse.C_ECHO_RQ:
            message.status = SUCCESS
        elif command.field != dimse.C_STORE_RQ:
            message.status = UNRECOGNIZED_OPERATION
        elif command.sop_class != sop_class:
            message.status = SOP_CLASS_NOT_SUPPORTED
        elif not command.has_data:
            message.status = CANNOT_UNDERSTAND
        else:
            message.arrival = self._desk.arrival()
            message.arrival.begin(sop_class=sop_class, sop_instance=command.sop_instance, syntax=syntax)

    def _answer(self, message: _Message) -> None:
        command = message.command
        if command is None or command.field == dimse.C_CANCEL_RQ:  # nothing here runs long enough to be cancelled
            self._message = None
            return
        status = message.status
        if status is None:
            status = CANNOT_UNDERSTAND if message.arrival is None else self._desk.take(message.arrival, self._name)
        self._forget()
        self._line.send(dimse.as_pdu(message.context_id, dimse.response(command, status)))

    def _forget(self) -> None:
        """Drop the message that was coming in; what of it was taken has its own place."""
        if self._message is not None and self._message.arrival is not None:
            self._message.arrival.drop()
        self._message = None

    def _abort(self, source: int, reason: int) -> None:
        try:
            self._line.send(negotiation.abortion(source, reason))
        except LineEndedError:
            log.debug("receiver.already_gone")
