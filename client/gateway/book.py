"""What the node knows of its reads: requests it posted, claims that the centre told of. Durable; the centre's notices may repeat."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.reading import (
    AdjudicationOpened,
    AlarmReason,
    AmendmentOpened,
    ClaimEnded,
    ClaimMade,
    DiscrepancyOpened,
    Priority,
    ReadAlarm,
    ReadConcluded,
    ReadPost,
)
from protocol.shape import OpaqueId

Clock = Callable[[], datetime]

SCHEMA = """
CREATE TABLE IF NOT EXISTS read_requests (
    request_id TEXT PRIMARY KEY,
    study_key TEXT NOT NULL,
    priority TEXT NOT NULL,
    reads_required INTEGER NOT NULL,
    post TEXT NOT NULL,
    posted_s INTEGER NOT NULL,
    sent_s INTEGER,
    withdrawn_s INTEGER,
    acknowledged_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS read_priors (
    request_id TEXT PRIMARY KEY REFERENCES read_requests,
    study_key TEXT NOT NULL,
    days_before INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS read_claims (
    claim_id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL REFERENCES read_requests,
    reader_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    made_s INTEGER NOT NULL,
    opened_s INTEGER,
    ended_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS read_messages (
    claim_id TEXT NOT NULL REFERENCES read_claims,
    question INTEGER NOT NULL,
    side TEXT NOT NULL CHECK (side IN ('reader', 'hospital')),
    words TEXT NOT NULL,
    written_s INTEGER NOT NULL,
    said_s INTEGER,
    PRIMARY KEY (claim_id, question, side)
) STRICT;
CREATE TABLE IF NOT EXISTS read_alarms (
    request_id TEXT NOT NULL REFERENCES read_requests,
    reason TEXT NOT NULL,
    raised_s INTEGER NOT NULL,
    PRIMARY KEY (request_id, reason)
) STRICT;
CREATE TABLE IF NOT EXISTS read_discrepancies (
    claim_id TEXT PRIMARY KEY REFERENCES read_claims,
    score INTEGER NOT NULL,
    heard_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS read_results (
    request_id TEXT PRIMARY KEY REFERENCES read_requests,
    claim_id TEXT NOT NULL,
    agreed INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS reader_keys (
    jkt TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    approved_s INTEGER NOT NULL,
    revoked_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS reader_privileges (
    reader_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    granted INTEGER NOT NULL,
    version INTEGER NOT NULL,
    changed_s INTEGER NOT NULL,
    sent_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS grants_seen (
    jti TEXT PRIMARY KEY,
    used_s INTEGER,
    revoked_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS proofs_seen (
    jkt TEXT NOT NULL,
    jti TEXT NOT NULL,
    seen_s INTEGER NOT NULL,
    PRIMARY KEY (jkt, jti)
) STRICT;
DROP TABLE IF EXISTS reader_sessions;
CREATE TABLE IF NOT EXISTS gateway_sessions (
    cookie_sha256 TEXT PRIMARY KEY,
    claim_id TEXT NOT NULL REFERENCES read_claims,
    fence INTEGER NOT NULL,
    jkt TEXT NOT NULL,
    ath TEXT NOT NULL,
    scope TEXT NOT NULL,
    expires_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS session_grants (
    cookie_sha256 TEXT NOT NULL REFERENCES gateway_sessions,
    jti TEXT NOT NULL REFERENCES grants_seen,
    PRIMARY KEY (cookie_sha256, jti)
) STRICT;
CREATE TABLE IF NOT EXISTS grant_renewals (
    jti TEXT PRIMARY KEY,
    claim_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    jkt TEXT NOT NULL,
    expires_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS read_masks (
    claim_id TEXT PRIMARY KEY REFERENCES read_claims,
    sha256 TEXT NOT NULL,
    sent_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS reports (
    claim_id TEXT NOT NULL REFERENCES read_claims,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    report_sha256 TEXT NOT NULL,
    submitted_s INTEGER NOT NULL,
    receipt_s INTEGER,
    final_s INTEGER,
    delivered_s INTEGER,
    PRIMARY KEY (claim_id, version)
) STRICT;
"""
"""Times are whole seconds since 1970, UTC: they are compared, and shown only by the command line.

An earlier version kept its sessions in `reader_sessions`; a session lives ten minutes, so nothing of it is worth keeping.
"""


class Stage(StrEnum):
    """Where a request stands as the hospital sees it; the same words as the centre's states."""

    OPEN = "open"
    CLAIMED = "claimed"
    READING = "reading"
    PRELIMINARY = "preliminary"
    SIGNED = "signed"
    DELIVERED = "delivered"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Request:
    """A read that this hospital posted."""

    request_id: OpaqueId
    study_key: str
    priority: Priority
    reads_required: int
    posted_s: int
    stage: Stage


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier study of the same patient that the hospital shows with a read, and by how many days it is earlier."""

    study_key: str
    days_before: int


@dataclass(frozen=True, slots=True)
class Result:
    """Whose report is the result of a double read, and whether both readers agreed by themselves."""

    claim_id: OpaqueId
    agreed: bool


@dataclass(frozen=True, slots=True)
class ClaimEntry:
    """A reader's hold on a request, as the centre told it."""

    claim_id: OpaqueId
    request_id: OpaqueId
    study_key: str
    reader_id: OpaqueId
    fence: int
    live: bool
    opened: bool


class Book:
    """Requests and claims in the node's database."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self.connection = connection
        self._clock = clock

    def now_s(self) -> int:
        """Return the time in whole seconds since 1970."""
        return int(self._clock().timestamp())

    def post(self, post: ReadPost, *, study_key: str, prior: Prior | None = None) -> None:
        """Write down a request before it is sent, with the earlier study that its readers may see too.

        Raises:
            ConflictError: `already-exists` if a read of this study is under way.
        """
        with transaction(self.connection):
            if any(one.study_key == study_key and one.stage not in _OVER for one in self._requests()):
                raise ConflictError(Code.ALREADY_EXISTS, "A read of this study is under way. `read list` shows it.")
            self.connection.execute(
                "INSERT INTO read_requests (request_id, study_key, priority, reads_required, post, posted_s)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    post.request_id,
                    study_key,
                    post.priority.value,
                    post.reads_required,
                    post.model_dump_json(),
                    self.now_s(),
                ),
            )
            if prior is not None:
                self.connection.execute(
                    "INSERT INTO read_priors VALUES (?, ?, ?)", (post.request_id, prior.study_key, prior.days_before)
                )

    def unsent(self) -> list[ReadPost]:
        """Return the requests that were written down but, because the node stopped, perhaps not sent."""
        rows = self.connection.execute("SELECT post FROM read_requests WHERE sent_s IS NULL ORDER BY posted_s")
        return [ReadPost.model_validate_json(row["post"]) for row in rows]

    def forget(self, request_id: OpaqueId) -> None:
        """Take back a request that the gate did not let out."""
        with transaction(self.connection):
            for table in ("read_priors", "read_requests"):
                self.connection.execute(f"DELETE FROM {table} WHERE request_id = ?", (request_id,))  # noqa: S608 - a name of this module

    def prior(self, request_id: OpaqueId) -> Prior | None:
        """Return the earlier study that the hospital shows with a read, if it chose one."""
        row = self.connection.execute(
            "SELECT study_key, days_before FROM read_priors WHERE request_id = ?", (request_id,)
        ).fetchone()
        return Prior(row["study_key"], int(row["days_before"])) if row is not None else None

    def requests(self) -> list[Request]:
        """Return every request, the newest first."""
        return self._requests()

    def request(self, request_id: OpaqueId) -> Request:
        """Return one request.

        Raises:
            InvalidInputError: `not-found` if this hospital posted no such request.
        """
        found = self._requests("WHERE r.request_id = ?", request_id)
        if not found:
            raise InvalidInputError(
                Code.NOT_FOUND, "This hospital posted no such read. `read list` shows what it posted."
            )
        return found[0]

    def mark(self, request_id: OpaqueId, *, what: str) -> None:
        """Note that the request was `sent`, `withdrawn` or `acknowledged`; the first time counts."""
        column = {"sent": "sent_s", "withdrawn": "withdrawn_s", "acknowledged": "acknowledged_s"}[what]
        with transaction(self.connection):
            self.connection.execute(
                f"UPDATE read_requests SET {column} = coalesce({column}, ?) WHERE request_id = ?",  # noqa: S608 - a column of the table above
                (self.now_s(), request_id),
            )
            if what == "acknowledged":
                self.connection.execute(
                    "DELETE FROM read_alarms WHERE request_id = ? AND reason = ?",
                    (request_id, AlarmReason.DISCREPANCY.value),
                )

    def claim_made(self, notice: ClaimMade) -> None:
        """Note a claim; a request that this node does not know is left alone."""
        with transaction(self.connection):
            self.connection.execute(
                "INSERT OR IGNORE INTO read_claims (claim_id, request_id, reader_id, fence, made_s)"
                " SELECT ?, request_id, ?, ?, ? FROM read_requests WHERE request_id = ?",
                (notice.claim_id, notice.reader_id, notice.fence, self.now_s(), notice.request_id),
            )

    def reopened(self, notice: AmendmentOpened) -> None:
        """Let the reader of a signed report in again under the same claim, to amend it."""
        with transaction(self.connection):
            self.connection.execute(
                "UPDATE read_claims SET ended_s = NULL WHERE claim_id = ? AND request_id = ? AND fence = ?"
                " AND EXISTS (SELECT 1 FROM reports p WHERE p.claim_id = read_claims.claim_id AND p.final_s IS NOT NULL)",
                (notice.claim_id, notice.request_id, notice.fence),
            )

    def claim_ended(self, notice: ClaimEnded) -> None:
        """Note that a claim is over: every grant and session under it is void from now on."""
        with transaction(self.connection):
            self.connection.execute(
                "UPDATE read_claims SET ended_s = coalesce(ended_s, ?) WHERE claim_id = ? AND request_id = ?",
                (self.now_s(), notice.claim_id, notice.request_id),
            )

    def adjudication_opened(self, notice: AdjudicationOpened) -> None:
        """Wait for a third read: the two that came disagree."""
        with transaction(self.connection):
            self.connection.execute(
                "UPDATE read_requests SET reads_required = ? WHERE request_id = ? AND reads_required = 2",
                (_WITH_ADJUDICATION, notice.request_id),
            )

    def concluded(self, notice: ReadConcluded) -> None:
        """Note whose report is the result. What comes later, after an amendment, counts."""
        with transaction(self.connection):
            self.connection.execute(
                "INSERT INTO read_results SELECT request_id, ?, ? FROM read_requests WHERE request_id = ?"
                " ON CONFLICT (request_id) DO UPDATE SET claim_id = excluded.claim_id, agreed = excluded.agreed",
                (notice.claim_id, notice.agreed, notice.request_id),
            )

    def alarmed(self, notice: ReadAlarm) -> None:
        """Note an alarm of the centre about a request of ours."""
        with transaction(self.connection):
            self.connection.execute(
                "INSERT OR IGNORE INTO read_alarms SELECT request_id, ?, ? FROM read_requests WHERE request_id = ?",
                (notice.reason.value, self.now_s(), notice.request_id),
            )

    def disputed(self, notice: DiscrepancyOpened) -> None:
        """Note that a peer reviewer disagrees with a report of ours; it alarms until the hospital acknowledges the read again."""
        with transaction(self.connection):
            fresh = self.connection.execute(
                "INSERT OR IGNORE INTO read_discrepancies SELECT claim_id, ?, ? FROM read_claims"
                " WHERE claim_id = ? AND request_id = ?",
                (notice.score, self.now_s(), notice.claim_id, notice.request_id),
            )
            if fresh.rowcount:
                self.connection.execute(
                    "INSERT OR IGNORE INTO read_alarms VALUES (?, ?, ?)",
                    (notice.request_id, AlarmReason.DISCREPANCY.value, self.now_s()),
                )

    def discrepancies(self, request_id: OpaqueId) -> dict[OpaqueId, int]:
        """Return the peer review's score of each report of a request that it disagrees with, by claim."""
        rows = self.connection.execute(
            "SELECT claim_id, score FROM read_discrepancies JOIN read_claims USING (claim_id) WHERE request_id = ?",
            (request_id,),
        )
        return {row["claim_id"]: row["score"] for row in rows}

    def alarms(self, request: Request) -> list[AlarmReason]:
        """Return what is alarming about a request now.

        Lateness until it is signed; a critical result and a discrepancy until they are acknowledged.
        """
        rows = self.connection.execute(
            "SELECT reason FROM read_alarms WHERE request_id = ? ORDER BY raised_s, reason", (request.request_id,)
        )
        raised = [AlarmReason(row["reason"]) for row in rows]
        return [one for one in raised if request.stage not in _ALARM_ENDS[one]]

    def result(self, request_id: OpaqueId) -> Result | None:
        """Return whose report is the result of a double read; None while there is none, and of a single read."""
        row = self.connection.execute(
            "SELECT claim_id, agreed FROM read_results WHERE request_id = ?", (request_id,)
        ).fetchone()
        return Result(row["claim_id"], agreed=bool(row["agreed"])) if row is not None else None

    def claim(self, claim_id: OpaqueId) -> ClaimEntry | None:
        """Return the claim, or None if the centre told of none with this id."""
        row = self.connection.execute(
            "SELECT c.*, r.study_key, r.withdrawn_s FROM read_claims c JOIN read_requests r USING (request_id)"
            " WHERE c.claim_id = ?",
            (claim_id,),
        ).fetchone()
        return _claim_entry(row) if row is not None else None

    def claim_opened(self, claim_id: OpaqueId) -> None:
        """Note the reader's first look."""
        with transaction(self.connection):
            self.connection.execute(
                "UPDATE read_claims SET opened_s = coalesce(opened_s, ?) WHERE claim_id = ?", (self.now_s(), claim_id)
            )

    def _requests(self, where: str = "", *values: str) -> list[Request]:
        rows = self.connection.execute(
            f"SELECT r.*, {_STAGE_FACTS} FROM read_requests r {where} ORDER BY r.posted_s DESC, r.request_id",  # noqa: S608 - both are constants of this module
            values,
        )
        return [_request(row) for row in rows]


_OVER = frozenset({Stage.CLOSED, Stage.WITHDRAWN})

_SIGNED = frozenset({Stage.SIGNED, Stage.DELIVERED})

_ALARM_ENDS: dict[AlarmReason, frozenset[Stage]] = {
    AlarmReason.LATE: _SIGNED | _OVER,
    AlarmReason.OVERDUE: _SIGNED | _OVER,
    AlarmReason.CRITICAL: _OVER,
    AlarmReason.DISCREPANCY: frozenset({Stage.WITHDRAWN}),
}
"""The stages in which an alarm is over."""

_WITH_ADJUDICATION = 3
"""Reads of a double read whose readers disagree."""

_STAGE_FACTS = """
 (SELECT count(*) FROM read_claims c WHERE c.request_id = r.request_id AND c.ended_s IS NULL) AS claimed,
 (SELECT count(*) FROM read_claims c WHERE c.request_id = r.request_id AND c.ended_s IS NULL AND c.opened_s IS NOT NULL) AS opened,
 (SELECT count(DISTINCT p.claim_id) FROM reports p JOIN read_claims c USING (claim_id)
   WHERE c.request_id = r.request_id AND c.ended_s IS NULL
   AND NOT EXISTS (SELECT 1 FROM reports q WHERE q.claim_id = p.claim_id AND q.final_s IS NOT NULL)) AS preliminary,
 (SELECT count(DISTINCT p.claim_id) FROM reports p JOIN read_claims c USING (claim_id)
   WHERE c.request_id = r.request_id AND p.final_s IS NOT NULL) AS signed,
 (SELECT count(DISTINCT p.claim_id) FROM reports p JOIN read_claims c USING (claim_id)
   WHERE c.request_id = r.request_id AND p.delivered_s IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM reports q WHERE q.claim_id = p.claim_id AND q.final_s IS NOT NULL AND q.delivered_s IS NULL)
 ) AS delivered
"""


def _request(row: sqlite3.Row) -> Request:
    return Request(
        request_id=row["request_id"],
        study_key=row["study_key"],
        priority=Priority(row["priority"]),
        reads_required=row["reads_required"],
        posted_s=row["posted_s"],
        stage=_stage(row),
    )


def _stage(row: sqlite3.Row) -> Stage:
    """Return the furthest stage that holds for every read that the request needs."""
    needed = row["reads_required"]
    held = (
        (row["withdrawn_s"] is not None, Stage.WITHDRAWN),
        (row["acknowledged_s"] is not None, Stage.CLOSED),
        (row["delivered"] >= needed, Stage.DELIVERED),
        (row["signed"] >= needed, Stage.SIGNED),
        (row["preliminary"] + row["signed"] >= needed, Stage.PRELIMINARY),
        (row["opened"] > 0, Stage.READING),
        (row["claimed"] > 0, Stage.CLAIMED),
    )
    return next((stage for holds, stage in held if holds), Stage.OPEN)


def _claim_entry(row: sqlite3.Row) -> ClaimEntry:
    return ClaimEntry(
        claim_id=row["claim_id"],
        request_id=row["request_id"],
        study_key=row["study_key"],
        reader_id=row["reader_id"],
        fence=row["fence"],
        live=row["ended_s"] is None and row["withdrawn_s"] is None,
        opened=row["opened_s"] is not None,
    )
