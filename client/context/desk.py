"""Where every message ends: read, named, kept durably, and answered. The answer says what became of it and nothing of what it said."""

import hashlib
import logging
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from client.context import fhir, messages, table
from client.context.hl7 import Message, parse_message
from client.context.messages import FIELD_MISSING, Dialect, RejectedError
from client.context.statement import Namer, Statement
from client.context.table import WrongCellError
from client.logs import fault_of
from client.store.context import ContextStore
from client.store.facts import Source
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

_UNREADABLE, _INTERNAL, _TEST_MESSAGE, _OTHER_VERSION = 102, 207, 202, 203
_ERROR_TEXTS = {
    100: "Segment sequence error", 101: "Required field missing", 102: "Data type error", 200: "Unsupported message type",
    201: "Unsupported event code", 202: "Unsupported processing id", 203: "Unsupported version id",
    207: "Application internal error",
}  # fmt: skip
"""HL7 table 0357."""
_MOST_ECHO = 199
_LINES_AT_ONCE = 500

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WrongLine:
    """A line of a table that was not taken: its number, the code, and the column if one cell is to blame."""

    number: int
    code: Code
    column: str


@dataclass(frozen=True, slots=True)
class ContextDesk:
    """Takes what others say into one store. One per thread, as the store's connection."""

    store: ContextStore
    namer: Namer
    dialect: Dialect

    def hear_hl7(self, content: bytes) -> bytes:
        """Take one HL7 v2 message and return its acknowledgement. AA is a promise: it survives a power cut."""
        try:
            message = parse_message(content)
        except InvalidInputError:
            log.warning("context.refused", extra={"source": "hl7", "error": _UNREADABLE})
            return _acknowledgement(None, "AR", _UNREADABLE)
        try:
            self._hear(message, content)
        except RejectedError as error:
            log.warning("context.refused", extra={"source": "hl7", "error": error.error})
            return _acknowledgement(message, error.acknowledgement, error.error)
        except UnavailableError as error:
            log.error("context.failed", extra={"code": error.code.value})  # noqa: TRY400 - the code says it
            return _acknowledgement(message, "AE", _INTERNAL)
        except Exception as error:  # noqa: BLE001 - the rim towards a peer: a traceback could quote the message
            log.error("context.fault", extra=fault_of(error))  # noqa: TRY400
            return _acknowledgement(message, "AE", _INTERNAL)
        return _acknowledgement(message, "AA", 0)

    def hear_fhir(self, content: bytes) -> int:
        """Take a FHIR document and return how many statements it held that the node can use.

        Raises:
            InvalidInputError: `unreadable`, `bad-request`.
            UnavailableError: `disk-full`; nothing is kept then.
        """
        said = fhir.statements_of(fhir.parse_resources(content), self.dialect)
        digest = self.namer.message(Source.FHIR, hashlib.sha256(content).hexdigest())
        new = self.store.put(self.namer.facts(Source.FHIR, said), message=digest)
        log.info("context.heard", extra={"source": "fhir", "statements": len(said), "new": new})
        return len(said)

    def hear_table(self, content: bytes) -> tuple[int, list[WrongLine]]:
        """Take a CSV file; return how many statements were kept, and the lines that were not taken. The same file again changes nothing.

        Raises:
            InvalidInputError: `bad-request` for a file that names no columns.
            UnavailableError: `disk-full`; import the file again then.
        """
        kept, wrong, waiting = 0, list[WrongLine](), list[Statement]()
        for line in table.read_table(content):
            if line.code is not None:
                wrong.append(WrongLine(line.number, line.code, line.column))
            waiting += line.statements
            if len(waiting) >= _LINES_AT_ONCE:
                kept += self.hear(Source.CSV, waiting)
                waiting = []
        kept += self.hear(Source.CSV, waiting)
        log.info("context.heard", extra={"source": "csv", "statements": kept, "wrong": len(wrong)})
        return kept, wrong

    def hear_staff(self, study_key: str, row: Mapping[str, str]) -> int:
        """Take what a person of the hospital says of a stored study, by column of the table; return how many statements were kept.

        Raises:
            InvalidInputError: `bad-request`, naming the column that cannot be understood.
            UnavailableError: `disk-full`; nothing is kept then.
        """
        try:
            said = list(table.statements_of(dict(row), study_key=study_key))
        except WrongCellError as error:
            raise InvalidInputError(
                Code.BAD_REQUEST,
                f"{error.column} cannot be understood. docs/reference/context.md lists what it may be.",
            ) from None
        return self.hear(Source.STAFF, said)

    def hear(self, source: Source, said: Iterable[Statement]) -> int:
        """Keep statements and return how many.

        Raises:
            UnavailableError: `disk-full`; nothing is kept then.
        """
        facts = self.namer.facts(source, said)
        self.store.put(facts)
        return len(facts)

    def _hear(self, message: Message, content: bytes) -> None:
        """Keep what a message says.

        Raises:
            RejectedError: It is not taken.
            UnavailableError: `disk-full`.
        """
        header = message.header
        if not header.text(10):
            raise RejectedError("AE", FIELD_MISSING)
        if header.text(11).upper() not in {"", "P"}:
            raise RejectedError("AR", _TEST_MESSAGE)  # tests and training must not become counts
        if header.text(12) and not header.text(12).startswith("2."):
            raise RejectedError("AR", _OTHER_VERSION)
        said = messages.statements_of(message, self.dialect)
        body = re.split(rb"[\r\n]", content.lstrip(b"\r\n"), maxsplit=1)[
            -1
        ]  # a re-sent message may carry a new time in its header
        digest = self.namer.message(
            Source.HL7, header.text(3), header.text(4), header.text(10), hashlib.sha256(body).hexdigest()
        )
        new = self.store.put(self.namer.facts(Source.HL7, said), message=digest)
        log.info("context.heard", extra={"source": "hl7", "statements": len(said), "new": new})


def hear_messages(desk: ContextDesk, content: bytes) -> tuple[int, int]:
    """Take a file of HL7 messages, one after another, each beginning with MSH; return how many were taken and how many were not."""
    taken, refused = 0, 0
    for one in re.split(rb"(?<=[\r\n\x1c\x0b])(?=MSH)", content.strip(b"\x0b\x1c\r\n ")):
        answer = desk.hear_hl7(one.strip(b"\x0b\x1c\r\n "))
        taken, refused = (taken + 1, refused) if b"MSA|AA|" in answer else (taken, refused + 1)
    return taken, refused


def _acknowledgement(message: Message | None, word: str, error: int) -> bytes:
    """Return an ACK in original mode (2.9.2), separators as usual. Of the message it repeats its control id and who sent it."""
    header = message.header if message is not None else None
    sender, facility, control = (_echo(header.text(at)) if header is not None else "" for at in (3, 4, 10))
    event = message.kind[1] if message is not None else ""
    now = datetime.now().astimezone().strftime("%Y%m%d%H%M%S%z")
    kind = f"ACK^{event}^ACK" if re.fullmatch("[A-Z][0-9]{2}", event) else "ACK"
    lines = [
        f"MSH|^~\\&|ACINUS||{sender}|{facility}|{now}||{kind}|{secrets.token_hex(10)}|P|2.5.1",
        f"MSA|{word}|{control}",
    ]
    if error:
        lines.append(f"ERR|||{error}^{_ERROR_TEXTS[error]}^HL70357|E")
    return ("\r".join(lines) + "\r").encode("utf-8")


def _echo(text: str) -> str:
    """Return a sender's own word with the usual separators escaped."""
    escapes = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"}
    return "".join(escapes.get(sign, sign) for sign in text[:_MOST_ECHO] if sign.isprintable())
