"""When is a study complete? Silence alone is a guess; this is what else is known: how many instances there should be, and who still sends.

Expected counts come from the sender's own headers (0020,1208 and 0020,1209) or from a query to its archive. They make a study wait longer
than its silence, never for ever: an archive also counts what never comes to this node (reports, localizers of another class).
"""

import sqlite3
from collections.abc import Callable

from client.store.database import transaction

WHOLE_STUDY = ""
"""Stands for a series key where a count is of the whole study."""

HOLD_SECONDS = 60.0
"""An open association holds its studies this long after its last instance: as long as it may be silent (`receive.association`)."""

DUE = """
SELECT * FROM study WHERE state = 'received' AND changed_at <= :now - :quiet AND (changed_at <= :now - :patience OR (
    NOT EXISTS (SELECT 1 FROM hold WHERE hold.study_key = study.study_key AND until > :now)
    AND NOT EXISTS (SELECT 1 FROM expectation AS e WHERE e.study_key = study.study_key AND e.instances > (
        SELECT COUNT(*) FROM instance AS i WHERE i.study_key = e.study_key AND e.series_key IN ('', i.series_key)))))
ORDER BY changed_at, study_key
"""
"""The studies that are quiet and either complete (all that is expected has come, nobody still sends) or quiet for `:patience`."""


class Arrivals:
    """Counts that senders announced, and associations that are still open. On the connection of the store."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock

    def expect(self, study_key: str, instances: int, *, series_key: str = WHOLE_STUDY) -> None:
        """Note how many instances a study or one of its series has, as its sender says; the latest word counts."""
        known = self._connection.execute(
            "SELECT instances FROM expectation WHERE study_key = ? AND series_key = ?", (study_key, series_key)
        ).fetchone()
        if known is not None and known["instances"] == instances:
            return  # said by every instance: written once
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO expectation VALUES (?, ?, ?, ?)",
                (study_key, series_key, instances, self._clock()),
            )

    def hold(self, study_key: str, holder: str) -> None:
        """Note that `holder` (an association) brings a study; the hold runs out by itself if its process dies."""
        now = self._clock()
        held = self._connection.execute(
            "SELECT until FROM hold WHERE study_key = ? AND holder = ?", (study_key, holder)
        ).fetchone()
        if held is not None and held["until"] > now + HOLD_SECONDS:
            return  # renewed rarely: it is no promise, and every write costs a sync
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO hold VALUES (?, ?, ?)", (study_key, holder, now + 2 * HOLD_SECONDS)
            )

    def let_go(self, holder: str) -> None:
        """Forget what `holder` held."""
        with transaction(self._connection) as connection:
            connection.execute("DELETE FROM hold WHERE holder = ?", (holder,))

    def let_go_all(self) -> None:
        """Forget every hold: their holders have died with the receiver."""
        with transaction(self._connection) as connection:
            connection.execute("DELETE FROM hold")

    def missing(self, study_key: str) -> int:
        """Return how many announced instances of a study have not come."""
        row = self._connection.execute(
            "SELECT MAX(e.instances - (SELECT COUNT(*) FROM instance AS i WHERE i.study_key = e.study_key"
            " AND e.series_key IN ('', i.series_key))) AS missing FROM expectation AS e WHERE e.study_key = ?",
            (study_key,),
        ).fetchone()
        return max(0, int(row["missing"] or 0))
