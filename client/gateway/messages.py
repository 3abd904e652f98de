"""Questions of a reader to the hospital and its answers. The words stay in the node's database; the centre learns that one was asked.

Each step is written down first and sent after; a node that dies in between sends it when it starts again (`catch_up`).
"""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from client.gateway.book import Book
from client.gateway.records import ClaimEntry
from client.gateway.reports import WayOut, send
from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.reading import InfoAnswered, InfoAsked
from protocol.shape import OpaqueId

WORDS_MAX = 4000


class Side(StrEnum):
    """Who wrote a message."""

    READER = "reader"
    HOSPITAL = "hospital"


class MessageCreate(BaseModel):
    """What a reader asks."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=WORDS_MAX)]


@dataclass(frozen=True, slots=True)
class Message:
    """A question of a claim, or the hospital's answer to it. Questions of one claim are numbered from 1."""

    claim_id: OpaqueId
    question: int
    side: Side
    text: str
    written_at: datetime


class Messages:
    """Keeps what reader and hospital say to each other and tells the centre that they did."""

    def __init__(self, book: Book, gate: WayOut) -> None:
        self._book = book
        self._gate = gate

    def ask(self, claim: ClaimEntry, text: str) -> Message:
        """Keep a reader's question and tell the centre that the reader waits.

        Raises:
            ConflictError: `illegal-transition` if the reader has not looked at the study, or waits for an answer already.
        """
        if not claim.opened:
            raise ConflictError(Code.ILLEGAL_TRANSITION, "Open the study before you ask about it.")
        with transaction(self._book.connection):
            earlier = self.of_claim(claim.claim_id)
            if earlier and earlier[-1].side is Side.READER:
                raise ConflictError(Code.ILLEGAL_TRANSITION, "The hospital has not answered your last question yet.")
            asked = self._keep(claim.claim_id, len({one.question for one in earlier}) + 1, Side.READER, text)
        self._say(asked, claim)
        return asked

    def answer(self, request_id: OpaqueId, text: str, *, claim_id: OpaqueId | None = None) -> Message:
        """Keep the hospital's answer to the one open question of a request, or of a claim where two readers ask.

        Raises:
            InvalidInputError: `not-found` if nothing is open; `bad-request` for an empty or long answer, or if two readers wait and
                `claim_id` does not say which is answered.
            ConflictError: `stale-fence` if the reader has lost the claim since.
        """
        words = text.strip()
        if not words or len(words) > WORDS_MAX:
            raise InvalidInputError(Code.BAD_REQUEST, f"Give an answer of 1 to {WORDS_MAX} characters.")
        with transaction(self._book.connection):
            claim = self._asking(request_id, claim_id)
            answered = self._keep(claim.claim_id, self.of_claim(claim.claim_id)[-1].question, Side.HOSPITAL, words)
        self._say(answered, claim)
        return answered

    def of_claim(self, claim_id: OpaqueId) -> list[Message]:
        """Return what was said under a claim, in order: each question before its answer."""
        return self._kept("WHERE m.claim_id = ?", claim_id)

    def of_request(self, request_id: OpaqueId) -> list[Message]:
        """Return what was said about a request, claim by claim."""
        return self._kept("WHERE c.request_id = ?", request_id)

    def waiting(self, request_id: OpaqueId) -> list[OpaqueId]:
        """Return the claims of a request whose readers wait for an answer and can still be given one."""
        last = {one.claim_id: one.side for one in self.of_request(request_id)}
        found = [self._book.claim(claim_id) for claim_id, side in last.items() if side is Side.READER]
        return [claim.claim_id for claim in found if claim is not None and claim.live]

    def catch_up(self) -> None:
        """Tell the centre what was written down but not told before the node stopped. What was asked under an ended claim is moot."""
        rows = self._book.connection.execute(
            "SELECT m.*, c.made_s, c.fence FROM read_messages m JOIN read_claims c USING (claim_id)"
            " WHERE m.said_s IS NULL AND c.ended_s IS NULL ORDER BY c.made_s, m.question, m.side DESC"
        ).fetchall()
        for row in rows:
            claim = self._book.claim(row["claim_id"])
            if claim is not None:
                self._say(_message(row), claim)

    def _asking(self, request_id: OpaqueId, claim_id: OpaqueId | None) -> ClaimEntry:
        """Return the claim whose reader waits for an answer. Who has lost the read since they asked waits no more."""
        self._book.request(request_id)
        last = {one.claim_id: one for one in self.of_request(request_id) if claim_id in {None, one.claim_id}}
        asked = [one.claim_id for one in last.values() if one.side is Side.READER]
        if not asked:
            raise InvalidInputError(Code.NOT_FOUND, "No reader of this request waits for an answer.")
        found = [self._book.claim(one) for one in asked]
        waiting = [claim for claim in found if claim is not None and claim.live]
        if not waiting:
            raise ConflictError(Code.STALE_FENCE, "The reader who asked no longer holds this read.")
        if len(waiting) > 1:
            named = " or ".join(claim.claim_id for claim in waiting)
            raise InvalidInputError(
                Code.BAD_REQUEST, f"Two readers wait, blind to each other. Say which: --claim {named}."
            )
        return waiting[0]

    def _keep(self, claim_id: OpaqueId, question: int, side: Side, text: str) -> Message:
        written_s = self._book.now_s()
        self._book.connection.execute(
            "INSERT INTO read_messages (claim_id, question, side, words, written_s) VALUES (?, ?, ?, ?, ?)",
            (claim_id, question, side.value, text, written_s),
        )
        return Message(claim_id, question, side, text, datetime.fromtimestamp(written_s, UTC))

    def _say(self, message: Message, claim: ClaimEntry) -> None:
        shape = InfoAsked if message.side is Side.READER else InfoAnswered
        send(
            self._gate,
            shape(request_id=claim.request_id, claim_id=claim.claim_id, fence=claim.fence, question=message.question),
        )
        with transaction(self._book.connection):
            self._book.connection.execute(
                "UPDATE read_messages SET said_s = ? WHERE claim_id = ? AND question = ? AND side = ?",
                (self._book.now_s(), message.claim_id, message.question, message.side.value),
            )

    def _kept(self, where: str, value: str) -> list[Message]:
        rows = self._book.connection.execute(
            f"SELECT m.* FROM read_messages m JOIN read_claims c USING (claim_id) {where}"  # noqa: S608 - a constant of this module
            " ORDER BY c.made_s, m.claim_id, m.question, m.side DESC",
            (value,),
        )
        return [_message(row) for row in rows]


def _message(row: sqlite3.Row) -> Message:
    return Message(
        claim_id=row["claim_id"],
        question=row["question"],
        side=Side(row["side"]),
        text=row["words"],
        written_at=datetime.fromtimestamp(row["written_s"], UTC),
    )
