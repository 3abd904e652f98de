"""How often something was tried, and when it is tried next: the half that the queues towards the hospital's systems share."""

import json
import sqlite3
from collections.abc import Callable, Collection
from typing import Literal

from client.gate.backoff import Backoff
from client.store.database import transaction
from protocol.codes import Code

# ruff: noqa: S608 - the name of the table is one of two constants, never a value

_STATES = ("waiting", "sent", "parked")


class Tries:
    """The columns `state`, `attempts`, `code`, `due_s` and `settled_s` of one table whose rows are numbered by `seq`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        table: Literal["pacs_outgoing", "reports_outgoing"],
        clock: Callable[[], float],
        backoff: Backoff | None = None,
    ) -> None:
        """Stand beside a queue.

        Args:
            connection: To the node's database.
            table: Of the queue.
            clock: Seconds since 1970.
            backoff: Between tries at one row.
        """
        self._connection, self._table, self._clock = connection, table, clock
        self._backoff = backoff or Backoff(first=30.0, ceiling=1800.0)

    def settle(self, seq: int, state: Literal["sent", "parked"], code: Code | None = None) -> None:
        """Note that a row was sent, or that it is refused for good and why."""
        with transaction(self._connection) as connection:
            connection.execute(
                f"UPDATE {self._table} SET state = ?, code = ?, attempts = attempts + 1, settled_s = ? WHERE seq = ?",
                (state, code.value if code is not None else None, self._clock(), seq),
            )

    def postpone(self, seq: int, attempts: int, code: Code, chance: float) -> None:
        """Note that a row could not be sent now.

        Args:
            seq: Of the row.
            attempts: Before this one.
            code: Why.
            chance: Uniform in [0, 1), for the jitter.
        """
        due_s = self._clock() + self._backoff.delay(attempts + 1, chance)
        with transaction(self._connection) as connection:
            connection.execute(
                f"UPDATE {self._table} SET attempts = attempts + 1, code = ?, due_s = ? WHERE seq = ?",
                (code.value, due_s, seq),
            )

    def retry(self, only: Collection[int] | None = None) -> int:
        """Let what is parked or waits for its next try be tried now, of the rows `only` where they are named; return how many rows."""
        with transaction(self._connection) as connection:
            return connection.execute(
                f"UPDATE {self._table} SET state = 'waiting', due_s = 0, settled_s = NULL"
                " WHERE (state = 'parked' OR (state = 'waiting' AND due_s > 0))"
                " AND (? IS NULL OR seq IN (SELECT value FROM json_each(?)))",
                (2 * (None if only is None else json.dumps(list(only)),)),
            ).rowcount

    def counts(self) -> dict[str, int]:
        """Return how many rows are waiting, sent and parked."""
        rows = self._connection.execute(f"SELECT state, COUNT(*) AS n FROM {self._table} GROUP BY state")
        found = {row["state"]: int(row["n"]) for row in rows}
        return {state: found.get(state, 0) for state in _STATES}

    def stuck(self, limit: int) -> list[sqlite3.Row]:
        """Return the rows that are parked, and those that wait after a failed try, the newest first."""
        return self._connection.execute(
            f"SELECT * FROM {self._table} WHERE state = 'parked' OR (state = 'waiting' AND attempts > 0)"
            " ORDER BY state, seq DESC LIMIT ?",
            (limit,),
        ).fetchall()
