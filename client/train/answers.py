"""Answers of evaluations are kept before they leave: asked again, a site says the same numbers, and pays once.

Other noise over the same patients would be a second release under one charge.
"""

import hashlib
import sqlite3
from dataclasses import dataclass

from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import ConflictError
from protocol.evaluation import EvaluationNotice, EvaluationOrder
from protocol.shape import canonical_json

SCHEMA = """
CREATE TABLE IF NOT EXISTS released_evaluation (
    run_id TEXT PRIMARY KEY,
    order_sha256 TEXT NOT NULL,
    notice TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class KeptAnswers:
    """The answers by run: a run is evaluated once."""

    connection: sqlite3.Connection

    def find(self, order: EvaluationOrder) -> EvaluationNotice | None:
        """Return the answer to this order; `None` if none was given.

        Raises:
            ConflictError: `already-exists` if another candidate of the run was scored before, or beside another release.
        """
        row = self.connection.execute("SELECT * FROM released_evaluation WHERE run_id = ?", (order.run_id,)).fetchone()
        if row is None:
            return None
        if row["order_sha256"] != _sha256(order):
            raise ConflictError(
                Code.ALREADY_EXISTS, "Another evaluation of that run was answered before; a run is evaluated once."
            )
        return EvaluationNotice.model_validate_json(row["notice"])

    def keep(self, order: EvaluationOrder, notice: EvaluationNotice) -> None:
        """Write an answer down before it leaves.

        Raises:
            UnavailableError: `disk-full`; the answer must not leave then.
        """
        with transaction(self.connection):
            self.connection.execute(
                "INSERT INTO released_evaluation VALUES (?, ?, ?)",
                (order.run_id, _sha256(order), notice.model_dump_json()),
            )


def _sha256(order: EvaluationOrder) -> str:
    return hashlib.sha256(canonical_json(order)).hexdigest()
