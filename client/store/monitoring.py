"""What the node keeps of its releases: scores of held-out studies, what scanners gave, and which word left last. None of it is in a parcel."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from client.store.database import transaction

_ENDS = """
SELECT * FROM (
    SELECT document, maker, slice_mm, lung_hu, ROW_NUMBER() OVER (ORDER BY received_at, study_key) AS place, COUNT(*) OVER () AS total
    FROM study_input JOIN finding USING (study_key) JOIN study USING (study_key)
    WHERE state = 'measured' AND subject_key NOT IN (SELECT subject_key FROM withdrawn_person)
) WHERE place <= :first OR place > total - :last ORDER BY place
"""


@dataclass(frozen=True, slots=True)
class Told:
    """The word that left last: of which release, which, the how manieth, when (seconds since 1970)."""

    release: str
    standing: str
    version: int
    at: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measured study's document and scanner say."""

    flags: frozenset[str]
    maker: str
    slice_mm: float
    lung_hu: float


class MonitorBook:
    """The tables of one node. One per connection."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock

    def now(self) -> float:
        """Return the book's time, seconds since 1970."""
        return self._clock()

    def scores(self, release: str) -> dict[tuple[str, str], float | None]:
        """Return the scores of a release by study and mask; None where a study could not be read."""
        rows = self._connection.execute("SELECT * FROM held_out_score WHERE release = ?", (release,))
        return {(row["study_key"], row["label_sha256"]): row["score"] for row in rows}

    def keep_score(self, release: str, key: tuple[str, str], score: float | None) -> None:
        """Keep one score; that of an earlier mask of the study goes."""
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO held_out_score SELECT ?, study_key, ?, ? FROM study WHERE study_key = ?",
                (release, key[1], score, key[0]),
            )

    def measured(self, *, first: int, last: int) -> Iterator[Measured]:
        """Yield the first and the last measured studies of which it is known what the scanner gave, in the order in which they came.

        Args:
            first: So many from the beginning.
            last: So many from the end.
        """
        for row in self._connection.execute(_ENDS, {"first": first, "last": last}):
            flags = frozenset(json.loads(row["document"]).get("quality", ()))
            yield Measured(flags, row["maker"], row["slice_mm"], row["lung_hu"])

    def told(self) -> Told | None:
        """Return the word that left last; None before the first."""
        row = self._connection.execute("SELECT * FROM told_standing ORDER BY version DESC LIMIT 1").fetchone()
        return None if row is None else Told(row["release"], row["standing"], row["version"], row["told_at"])

    def note_told(self, release: str, standing: str, version: int) -> None:
        """Write down which word left."""
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT INTO told_standing VALUES (?, ?, ?, ?)", (version, release, standing, self._clock())
            )
