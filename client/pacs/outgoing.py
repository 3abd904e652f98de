"""Findings on their way to the PACS: a row and a file for each object, from the moment at which it is queued until the PACS has it.

The file is a second name of the one in the study's folder, so that a later measurement does not change what is being sent, and every
try sends the same SOP Instance UID.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from client.gate.backoff import Backoff
from client.pacs.tries import Tries
from client.store.database import transaction
from client.store.files import sweep_drafts
from client.store.part10 import read_part10
from protocol.codes import Code
from protocol.errors import InvalidInputError

SCHEMA = """
CREATE TABLE IF NOT EXISTS pacs_outgoing (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    study_key TEXT NOT NULL,
    version INTEGER NOT NULL,
    object TEXT NOT NULL CHECK (object IN ('seg', 'sr', 'picture')),
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'parked')) DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    code TEXT,
    due_s REAL NOT NULL DEFAULT 0,
    queued_s REAL NOT NULL,
    settled_s REAL,
    UNIQUE (study_key, version, object)
) STRICT;
CREATE INDEX IF NOT EXISTS pacs_outgoing_by_state ON pacs_outgoing (state, seq);
CREATE TABLE IF NOT EXISTS pacs_looked_at (
    study_key TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    report_sha256 TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS pacs_since (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    since_s REAL NOT NULL
) STRICT;
"""
"""`pacs_looked_at`: a finding's version also moves when only its case record changes; then the report is the same, and nothing is queued.

`pacs_since`: findings older than the first start with sending switched on go only when a person asks for them."""

log = logging.getLogger(__name__)

_SR_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"]


@dataclass(frozen=True, slots=True)
class Outbound:
    """One object that waits; `code` is why the last try failed."""

    seq: int
    study_key: str
    version: int
    object: str
    attempts: int
    code: str | None


class Outgoing:
    """The queue in one node's database. One object per connection."""

    def __init__(
        self, connection: sqlite3.Connection, folder: Path, clock: Callable[[], float], backoff: Backoff | None = None
    ) -> None:
        """Open the queue.

        Args:
            connection: To the node's database.
            folder: Of the files.
            clock: Seconds since 1970.
            backoff: Between tries at one object.
        """
        self._connection, self._folder, self._clock = connection, folder, clock
        self._tries = Tries(connection, "pacs_outgoing", clock, backoff)

    def since(self) -> float:
        """Return the moment from which on findings go by themselves: the first time this was asked."""
        with transaction(self._connection) as connection:
            connection.execute("INSERT OR IGNORE INTO pacs_since VALUES (1, ?)", (self._clock(),))
            row = connection.execute("SELECT since_s FROM pacs_since").fetchone()
        return float(row["since_s"])

    def looked_at(self) -> dict[str, int]:
        """Return the version of each study's finding that was looked at last."""
        rows = self._connection.execute("SELECT study_key, version FROM pacs_looked_at")
        return {row["study_key"]: int(row["version"]) for row in rows}

    def path(self, study_key: str, version: int, name: str) -> Path:
        """Return where the file of an object lies, or would lie."""
        return self._folder / study_key / f"{version}-{name}.dcm"

    def sweep(self, study_key: str) -> None:
        """Remove what a killed sender left half-written for a study."""
        sweep_drafts(self._folder / study_key)

    def holds(self, study_key: str, report_sha256: str) -> bool:
        """Say whether this very report was the last one queued of a study."""
        row = self._connection.execute(
            "SELECT report_sha256 FROM pacs_looked_at WHERE study_key = ?", (study_key,)
        ).fetchone()
        return row is not None and row["report_sha256"] == report_sha256

    def put(self, study_key: str, version: int, report_sha256: str, objects: Iterable[str]) -> None:
        """Queue objects whose files are in their places, if there are any, and note that this finding was looked at."""
        with transaction(self._connection) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO pacs_outgoing (study_key, version, object, queued_s) VALUES (?, ?, ?, ?)",
                [(study_key, version, name, self._clock()) for name in objects],
            )
            connection.execute(
                "INSERT OR REPLACE INTO pacs_looked_at VALUES (?, ?, ?)", (study_key, version, report_sha256)
            )

    def due(self, limit: int = 100) -> list[Outbound]:
        """Return what is to be tried now, oldest first.

        What waits behind an earlier object of its study waits with it, and a report with the segmentation that it names while that is parked.
        """
        rows = self._connection.execute(
            "SELECT * FROM pacs_outgoing AS one WHERE state = 'waiting' AND due_s <= :now AND NOT EXISTS"
            " (SELECT 1 FROM pacs_outgoing AS before WHERE before.study_key = one.study_key AND before.seq < one.seq"
            "  AND (before.state = 'waiting' AND before.due_s > :now OR before.state = 'parked' AND before.object = 'seg'"
            "   AND one.object = 'sr' AND before.version = one.version)) ORDER BY seq LIMIT :limit",
            {"now": self._clock(), "limit": limit},
        )
        return [_outbound(row) for row in rows]

    def settle_sent(self, one: Outbound) -> None:
        """Note that the PACS has an object. Its file goes, except a report's: a later version names it."""
        self._tries.settle(one.seq, "sent")
        if one.object != "sr":
            self.path(one.study_key, one.version, one.object).unlink(missing_ok=True)

    def park(self, one: Outbound, code: Code) -> None:
        """Note that the PACS refuses an object for good; its file stays."""
        self._tries.settle(one.seq, "parked", code)

    def postpone(self, one: Outbound, code: Code, chance: float) -> None:
        """Note that an object could not be sent now.

        Args:
            one: The object.
            code: Why.
            chance: Uniform in [0, 1), for the jitter.
        """
        self._tries.postpone(one.seq, one.attempts, code, chance)

    def retry_parked(self) -> int:
        """Let everything that is parked or waits for its next try be tried now; return how many objects."""
        return self._tries.retry()

    def last_report(self, study_key: str) -> Dataset | None:
        """Return the names of the last SR of a study that was queued, whatever became of it; `None` without one that can be read."""
        row = self._connection.execute(
            "SELECT version FROM pacs_outgoing WHERE study_key = ? AND object = 'sr' ORDER BY version DESC",
            (study_key,),
        ).fetchone()
        if row is None:
            return None
        try:
            return read_part10(self.path(study_key, row["version"], "sr"), pixels=False, tags=_SR_TAGS)
        except (InvalidInputError, OSError) as error:  # a lost file must not keep a study from being measured
            log.error("findings.report-lost", extra={"study": study_key, "kind": type(error).__name__})  # noqa: TRY400
            return None

    def forget(self, study_key: str) -> None:
        """Remove every row and file of a study: for a deletion on request. What the PACS has, it has."""
        with transaction(self._connection) as connection:
            connection.execute("DELETE FROM pacs_outgoing WHERE study_key = ?", (study_key,))
            connection.execute("DELETE FROM pacs_looked_at WHERE study_key = ?", (study_key,))
        folder = self._folder / study_key
        for path in folder.glob("*") if folder.is_dir() else ():
            path.unlink(missing_ok=True)

    def counts(self) -> dict[str, int]:
        """Return how many objects are waiting, sent and parked."""
        return self._tries.counts()

    def stuck(self, limit: int = 50) -> list[Outbound]:
        """Return what is parked, and what waits after a failed try, the newest first."""
        return [_outbound(row) for row in self._tries.stuck(limit)]


def _outbound(row: sqlite3.Row) -> Outbound:
    return Outbound(row["seq"], row["study_key"], row["version"], row["object"], row["attempts"], row["code"])
