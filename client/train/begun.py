"""Rounds of secure summation that this site took part in, on the disk before its keys leave: none is begun twice.

The secrets of a round are in memory only. A node that dies in one has lost them; were it to begin the round anew, its summand would be in two
sums, whose difference shows it.
"""

import sqlite3
from dataclasses import dataclass

from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import ConflictError
from protocol.plan import RoundOrder
from strategies.securesum.agreement import order_sha256

SCHEMA = """
CREATE TABLE IF NOT EXISTS secure_round (
    run_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    order_sha256 TEXT NOT NULL,
    PRIMARY KEY (run_id, round)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class BegunRounds:
    """The rounds by run and number."""

    connection: sqlite3.Connection

    def begin(self, order: RoundOrder) -> None:
        """Write a round down.

        Raises:
            ConflictError: `already-exists` if it was begun before, even if nothing came of it.
            UnavailableError: `disk-full`; no keys may leave then.
        """
        with transaction(self.connection):
            row = "SELECT 1 FROM secure_round WHERE run_id = ? AND round = ?"
            if self.connection.execute(row, (order.run_id, order.round)).fetchone() is not None:
                raise ConflictError(
                    Code.ALREADY_EXISTS,
                    f"Round {order.round} of secure summation was begun here before. A round is played once; the next one can be.",
                )
            self.connection.execute(
                "INSERT INTO secure_round VALUES (?, ?, ?)", (order.run_id, order.round, order_sha256(order))
            )
