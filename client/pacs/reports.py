"""Radiologists' final reports on their way to the hospital's own systems: an HL7 ORU to the one, a DICOM SR to the PACS.

A row and a file for each, from the moment at which the report is final until the other system has it. Every try sends the same bytes, so
that what was sent twice is recognised there: an ORU by its control id, an SR by its UID.
"""

import json
import logging
import random
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from client.gate.backoff import Backoff
from client.logs import fault_of
from client.pacs.lines import Line
from client.pacs.tries import Tries
from client.store.database import transaction
from client.store.files import write_durably
from protocol.codes import Code
from protocol.errors import FederationError
from protocol.shape import OpaqueId, Sha256

SCHEMA = """
CREATE TABLE IF NOT EXISTS reports_outgoing (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    claim_id TEXT NOT NULL,
    study_key TEXT NOT NULL,
    report_sha256 TEXT NOT NULL,
    channel TEXT NOT NULL CHECK (channel IN ('oru', 'sr')),
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'parked')) DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    code TEXT,
    due_s REAL NOT NULL DEFAULT 0,
    queued_s REAL NOT NULL,
    settled_s REAL,
    UNIQUE (claim_id, report_sha256, channel)
) STRICT;
CREATE INDEX IF NOT EXISTS reports_outgoing_by_state ON reports_outgoing (state, seq);
"""

ORU, SR = "oru", "sr"

_IDLE_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outward:
    """One report for one system; `code` is why the last try failed."""

    seq: int
    claim_id: OpaqueId
    study_key: str
    report_sha256: Sha256
    channel: str
    attempts: int
    code: str | None
    state: str


class ReportQueue:
    """The queue in one node's database. One object per connection."""

    def __init__(
        self, connection: sqlite3.Connection, folder: Path, clock: Callable[[], float], backoff: Backoff | None = None
    ) -> None:
        """Open the queue.

        Args:
            connection: To the node's database.
            folder: Of the files.
            clock: Seconds since 1970.
            backoff: Between tries at one report.
        """
        self._connection, self._folder, self._clock = connection, folder, clock
        self._tries = Tries(connection, "reports_outgoing", clock, backoff)

    def put(
        self, claim_id: OpaqueId, report_sha256: Sha256, *, study_key: str, contents: Mapping[str, bytes]
    ) -> list[str]:
        """Queue a report for the systems that `contents` names; return those for which it was not queued before.

        Raises:
            UnavailableError: `disk-full`; nothing is queued then that was not written down.
        """
        known = {
            row["channel"]
            for row in self._connection.execute(
                "SELECT channel FROM reports_outgoing WHERE claim_id = ? AND report_sha256 = ?",
                (claim_id, report_sha256),
            )
        }
        fresh = [channel for channel in contents if channel not in known]
        for channel in fresh:
            write_durably(self._path(study_key, claim_id, report_sha256, channel), contents[channel])
        with transaction(self._connection) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO reports_outgoing (claim_id, study_key, report_sha256, channel, queued_s)"
                " VALUES (?, ?, ?, ?, ?)",
                [(claim_id, study_key, report_sha256, channel, self._clock()) for channel in fresh],
            )
        return fresh

    def due(self, channel: str, limit: int = 100) -> list[Outward]:
        """Return what is to be tried now, oldest first. An amended report waits behind the version before it."""
        now_s = self._clock()
        rows = self._connection.execute(
            "SELECT * FROM reports_outgoing AS one WHERE channel = ? AND state = 'waiting' AND due_s <= ? AND NOT EXISTS"
            " (SELECT 1 FROM reports_outgoing AS before WHERE before.claim_id = one.claim_id"
            "  AND before.channel = one.channel AND before.seq < one.seq AND before.state = 'waiting' AND before.due_s > ?)"
            " ORDER BY seq LIMIT ?",
            (channel, now_s, now_s, limit),
        )
        return [_outward(row) for row in rows]

    def path(self, one: Outward) -> Path:
        """Return where the file of a report lies until it is sent."""
        return self._path(one.study_key, one.claim_id, one.report_sha256, one.channel)

    def settle_sent(self, one: Outward) -> None:
        """Note that the other system has it; its file goes."""
        self._tries.settle(one.seq, "sent")
        self.path(one).unlink(missing_ok=True)

    def park(self, one: Outward, code: Code) -> None:
        """Note that the other system refuses it for good; its file stays."""
        self._tries.settle(one.seq, "parked", code)

    def postpone(self, one: Outward, code: Code, chance: float) -> None:
        """Note that it could not be sent now.

        Args:
            one: The report.
            code: Why.
            chance: Uniform in [0, 1), for the jitter.
        """
        self._tries.postpone(one.seq, one.attempts, code, chance)

    def of_claims(self, claim_ids: Collection[OpaqueId]) -> list[Outward]:
        """Return how far the reports of these claims are, in the order in which they were queued."""
        rows = self._connection.execute(
            "SELECT * FROM reports_outgoing WHERE claim_id IN (SELECT value FROM json_each(?)) ORDER BY seq",
            (json.dumps(list(claim_ids)),),
        )
        return [_outward(row) for row in rows]

    def retry(self, claim_ids: Collection[OpaqueId] | None = None) -> int:
        """Let what is parked or waits for its next try be tried now, of these claims where they are named; return how many."""
        return self._tries.retry(None if claim_ids is None else [one.seq for one in self.of_claims(claim_ids)])

    def forget(self, study_key: str) -> None:
        """Remove every row and file of a study: for a deletion on request. What the other systems have, they have."""
        rows = self._connection.execute("SELECT * FROM reports_outgoing WHERE study_key = ?", (study_key,)).fetchall()
        for row in rows:
            self.path(_outward(row)).unlink(missing_ok=True)
        with transaction(self._connection) as connection:
            connection.execute("DELETE FROM reports_outgoing WHERE study_key = ?", (study_key,))

    def counts(self) -> dict[str, int]:
        """Return how many reports are waiting, sent and parked, over both systems."""
        return self._tries.counts()

    def stuck(self, limit: int = 50) -> list[Outward]:
        """Return what is parked, and what waits after a failed try, the newest first."""
        return [_outward(row) for row in self._tries.stuck(limit)]

    def _path(self, study_key: str, claim_id: OpaqueId, report_sha256: Sha256, channel: str) -> Path:
        return self._folder / study_key / f"report-{claim_id}-{report_sha256[:16]}.{channel}"


class ReportSender:
    """Empties the queue. Each system has a way of its own: one that does not answer keeps nothing from the other."""

    def __init__(self, queue: ReportQueue, ways: Mapping[str, Callable[[], Line]]) -> None:
        """Prepare the sender.

        Args:
            queue: Of reports.
            ways: What opens the way to the system of each channel that is set up.
        """
        self._queue, self._ways = queue, dict(ways)

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set."""
        while not stop.wait(_IDLE_SECONDS):
            self.step()

    def step(self) -> int:
        """Send what is due; return how many reports are settled. Nothing is raised: what fails waits for its next try."""
        return sum(self._step_safely(channel) for channel in self._ways)

    def _step_safely(self, channel: str) -> int:
        try:
            return self._send_due(channel)
        except FederationError as error:
            log.error("reports.wait", extra={"channel": channel, "code": error.code.value})  # noqa: TRY400 - the code says it
        except Exception as error:  # noqa: BLE001 - the rim of the thread: a traceback could quote a report
            log.error("reports.fault", extra={"channel": channel, **fault_of(error)})  # noqa: TRY400
        return 0

    def _send_due(self, channel: str) -> int:
        due = self._queue.due(channel)
        if not due:
            return 0
        settled, current = 0, due[0]
        try:
            with self._ways[channel]() as line:
                for current in due:
                    self._send(line, current)
                    settled += 1
        except FederationError as error:
            self._queue.postpone(current, error.code, random.random())  # noqa: S311 - jitter, no secret
            log.warning("reports.postponed", extra={"channel": channel, "code": error.code.value})
        return settled

    def _send(self, line: Line, one: Outward) -> None:
        path = self._queue.path(one)
        refusal = line.send(path) if path.is_file() else Code.NOT_FOUND
        if refusal is None:
            self._queue.settle_sent(one)
            log.info("reports.sent", extra={"claim": one.claim_id, "channel": one.channel})
        else:
            self._queue.park(one, refusal)
            log.warning("reports.parked", extra={"claim": one.claim_id, "channel": one.channel, "code": refusal.value})


def _outward(row: sqlite3.Row) -> Outward:
    return Outward(
        row["seq"],
        row["claim_id"],
        row["study_key"],
        row["report_sha256"],
        row["channel"],
        row["attempts"],
        row["code"],
        row["state"],
    )
