"""The one way out. A parcel is judged by the site's policy; its audit row and its place in the outbox are one commit."""

import logging
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from client.gate import audit, outbox
from client.gate.audit import AuditChain
from client.gate.outbox import Outbox
from client.gate.policy import Clearance, Refusal, SitePolicy, Verdict, judge, shaped
from client.store.database import transaction
from protocol.codes import Code
from protocol.evaluation import EvaluationNotice
from protocol.parcel import Parcel, parse_parcel
from protocol.plan import RoundOrder, UpdateNotice
from protocol.secure_sum import PaddedNotice

SCHEMA = audit.SCHEMA + outbox.SCHEMA

CLEAR = "clear"
"""The verdict's word in the audit where a refusal has its code."""

log = logging.getLogger(__name__)


class Gate:
    """Judges what asks to leave. One object per connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        policy: Callable[[], SitePolicy],
        clock: Callable[[], datetime],
        head: Path,
    ) -> None:
        """Stand at the border.

        Args:
            connection: To the node's database.
            policy: Reads the site's policy; asked for every parcel, so that an edit takes effect at once.
            clock: The time, with its zone.
            head: Where the end of the audit chain is kept.
        """
        self.audit = AuditChain(connection, head, clock)
        self.outbox = Outbox(connection, clock)
        self._connection = connection
        self._policy = policy

    def submit(self, parcel: Parcel) -> Verdict:
        """Judge `parcel`, write it into the audit, and queue it if it may leave. The same parcel again changes nothing.

        Raises:
            InvalidInputError: `bad-setting` if the policy cannot be read: nothing leaves then.
            UnavailableError: `disk-full`; nothing is audited or queued then.
        """
        body = shaped(parcel)
        if body is None:
            return self._refuse_shape()
        read = parse_parcel(body)
        verdict = judge(read, self._policy())
        with transaction(self._connection):
            if isinstance(verdict, Clearance):
                if not self.outbox.put(read.kind, body):
                    return verdict
                self.audit.write(f"parcel.{read.kind}", _subject(read), CLEAR, body.decode())
            else:
                self.audit.write(f"parcel.{read.kind}", _subject(read), verdict.code.value)
        self.audit.advance_head()
        log.info("gate.judged", extra={"parcel": read.kind, "verdict": _word(verdict)})
        return verdict

    def note_order(self, run_id: str, round_number: int, verdict: Verdict) -> None:
        """Write down what was said to an order to train: a bundle that is not allowed, a purpose, an hour, a budget.

        Raises:
            UnavailableError: `disk-full`.
        """
        self.audit.append("order.judged", f"{run_id}:{round_number}", _word(verdict))

    def note_update(self, notice: UpdateNotice) -> None:
        """Write down an update before it leaves. It does not pass the outbox: Flower carries it, after the ledger was charged.

        Raises:
            UnavailableError: `disk-full`; the update must not leave then.
        """
        with transaction(self._connection):
            self.audit.write("update.released", f"{notice.run_id}:{notice.round}", CLEAR, notice.model_dump_json())
        self.audit.advance_head()

    def note_evaluation(self, notice: EvaluationNotice) -> None:
        """Write down an answer about held-out patients before it leaves, after the ledger was charged.

        Raises:
            UnavailableError: `disk-full`; the answer must not leave then.
        """
        with transaction(self._connection):
            self.audit.write("evaluation.released", notice.run_id, CLEAR, notice.model_dump_json())
        self.audit.advance_head()

    def note_summand(self, order: RoundOrder, notice: PaddedNotice) -> None:
        """Write down a padded summand before it leaves, after the ledger was charged.

        Raises:
            UnavailableError: `disk-full`; the summand must not leave then.
        """
        with transaction(self._connection):
            self.audit.write("summand.released", f"{order.run_id}:{order.round}", CLEAR, notice.model_dump_json())
        self.audit.advance_head()

    def note_opening(self, order: RoundOrder) -> None:
        """Write down that shares leave with which the sum of a round is opened.

        Raises:
            UnavailableError: `disk-full`; they must not leave then.
        """
        self.audit.append("sum.opened", f"{order.run_id}:{order.round}", CLEAR)

    def _refuse_shape(self) -> Refusal:
        """Refuse what is none of the shapes; nothing of it is kept, because nobody knows what it holds."""
        self.audit.append("parcel.unknown", "-", Code.POLICY_SHAPE.value)
        log.error("gate.shape-refused")
        return Refusal(code=Code.POLICY_SHAPE)


def _word(verdict: Verdict) -> str:
    return verdict.code.value if isinstance(verdict, Refusal) else CLEAR


def _subject(parcel: Parcel) -> str:
    return str(
        getattr(parcel, "case_id", None) or getattr(parcel, "request_id", None) or getattr(parcel, "release", "-")
    )
