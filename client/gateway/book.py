"""What the node knows of its reads: requests it posted, claims that the centre told of. Durable; the centre's notices may repeat."""

import sqlite3
from collections.abc import Callable
from datetime import datetime

from client.gateway.records import (
    ALARM_ENDS,
    OVER,
    STAGE_FACTS,
    ClaimEntry,
    Prior,
    Request,
    Result,
    claim_from,
    request_from,
)
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
    ReadAlarm,
    ReadConcluded,
    ReadExpired,
    ReadPost,
    SecondReadAdded,
)
from protocol.shape import OpaqueId, Sha256

Clock = Callable[[], datetime]

_WITH_ADJUDICATION = 3
"""Reads of a double read whose readers disagree."""


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
            if self.is_under_way(study_key):
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
        if what == "acknowledged":  # an amendment opens the read again, and would show what it alarmed of before
            for reason in (AlarmReason.DISCREPANCY, AlarmReason.CRITICAL):
                self.quiet(request_id, reason)

    def note(self, claim_id: OpaqueId, report_sha256: Sha256) -> None:
        """Note that the hospital has taken note of one final report."""
        with transaction(self.connection):
            self.connection.execute(
                "INSERT OR IGNORE INTO read_notes VALUES (?, ?, ?)", (claim_id, report_sha256, self.now_s())
            )

    def noted(self, request_id: OpaqueId) -> frozenset[Sha256]:
        """Return the reports of a request that the hospital took note of one by one."""
        rows = self.connection.execute(
            "SELECT report_sha256 FROM read_notes JOIN read_claims USING (claim_id) WHERE request_id = ?", (request_id,)
        )
        return frozenset(row["report_sha256"] for row in rows)

    def quiet(self, request_id: OpaqueId, reason: AlarmReason) -> None:
        """End an alarm; a new one of the same kind is heard again."""
        with transaction(self.connection):
            self.connection.execute(
                "DELETE FROM read_alarms WHERE request_id = ? AND reason = ?", (request_id, reason.value)
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

    def second_read_added(self, notice: SecondReadAdded) -> None:
        """Wait for two reads: the hospital's agreements say so, although it asked for one."""
        with transaction(self.connection):
            self.connection.execute(
                "UPDATE read_requests SET reads_required = 2 WHERE request_id = ? AND reads_required = 1",
                (notice.request_id,),
            )

    def adjudication_opened(self, notice: AdjudicationOpened) -> None:
        """Wait for a third read: the two that came disagree."""
        with transaction(self.connection):
            self.connection.execute(
                "UPDATE read_requests SET reads_required = ?, acknowledged_s = NULL WHERE request_id = ? AND reads_required = 2",
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

    def expired(self, notice: ReadExpired) -> None:
        """Note that nobody claimed a read in time; it alarms until the hospital is content with the others, asks anew or takes it back."""
        with transaction(self.connection):
            fresh = self.connection.execute(
                "INSERT OR IGNORE INTO read_expiries (request_id, number, heard_s) SELECT request_id, ?, ? FROM read_requests"
                " WHERE request_id = ?",
                (notice.number, self.now_s(), notice.request_id),
            )
            if fresh.rowcount:
                self._alarm(notice.request_id, AlarmReason.EXPIRED)

    def missing(self, request_id: OpaqueId) -> list[int]:
        """Return the numbers of the reads that expired and were not asked for anew."""
        rows = self.connection.execute(
            "SELECT number FROM read_expiries WHERE request_id = ? AND reposted_s IS NULL ORDER BY number",
            (request_id,),
        )
        return [row["number"] for row in rows]

    def reposted(self, request_id: OpaqueId, number: int) -> None:
        """Note that an expired read was asked for anew."""
        with transaction(self.connection):
            self.connection.execute(
                "UPDATE read_expiries SET reposted_s = ? WHERE request_id = ? AND number = ?",
                (self.now_s(), request_id, number),
            )
            self.connection.execute(
                "DELETE FROM read_alarms WHERE request_id = ? AND reason = ?", (request_id, AlarmReason.EXPIRED.value)
            )

    def is_under_way(self, study_key: str) -> bool:
        """Say whether a read of a study is posted, claimed, or not yet acknowledged."""
        return any(one.study_key == study_key and one.stage not in OVER for one in self._requests())

    def alarmed(self, notice: ReadAlarm) -> None:
        """Note an alarm of the centre about a request of ours."""
        with transaction(self.connection):
            self._alarm(notice.request_id, notice.reason)

    def disputed(self, notice: DiscrepancyOpened) -> None:
        """Note that a peer reviewer disagrees with a report of ours; it alarms until the hospital acknowledges the read again."""
        with transaction(self.connection):
            fresh = self.connection.execute(
                "INSERT OR IGNORE INTO read_discrepancies SELECT claim_id, ?, ? FROM read_claims"
                " WHERE claim_id = ? AND request_id = ?",
                (notice.score, self.now_s(), notice.claim_id, notice.request_id),
            )
            if fresh.rowcount:
                self._alarm(notice.request_id, AlarmReason.DISCREPANCY)

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
        return [one for one in raised if request.stage not in ALARM_ENDS[one]]

    def result(self, request_id: OpaqueId) -> Result | None:
        """Return whose report is the result of a double read; None while there is none, and of a single read."""
        row = self.connection.execute(
            "SELECT claim_id, agreed, (SELECT count(DISTINCT claim_id) FROM reports JOIN read_claims c USING (claim_id)"
            " WHERE c.request_id = read_results.request_id AND final_s IS NOT NULL) = 1 AS alone FROM read_results WHERE request_id = ?",
            (request_id,),
        ).fetchone()
        return Result(row["claim_id"], bool(row["agreed"]), bool(row["alone"])) if row is not None else None

    def claim(self, claim_id: OpaqueId) -> ClaimEntry | None:
        """Return the claim, or None if the centre told of none with this id."""
        row = self.connection.execute(
            "SELECT c.*, r.study_key, r.withdrawn_s,"
            " EXISTS (SELECT 1 FROM reports p WHERE p.claim_id = c.claim_id AND p.final_s IS NOT NULL) AS signed"
            " FROM read_claims c JOIN read_requests r USING (request_id)"
            " WHERE c.claim_id = ?",
            (claim_id,),
        ).fetchone()
        return claim_from(row) if row is not None else None

    def claim_opened(self, claim_id: OpaqueId) -> None:
        """Note the reader's first look."""
        with transaction(self.connection):
            self.connection.execute(
                "UPDATE read_claims SET opened_s = coalesce(opened_s, ?) WHERE claim_id = ?", (self.now_s(), claim_id)
            )

    def _alarm(self, request_id: OpaqueId, reason: AlarmReason) -> None:
        self.connection.execute(
            "INSERT OR IGNORE INTO read_alarms SELECT request_id, ?, ? FROM read_requests WHERE request_id = ?",
            (reason.value, self.now_s(), request_id),
        )

    def _requests(self, where: str = "", *values: str) -> list[Request]:
        rows = self.connection.execute(
            f"SELECT r.*, {STAGE_FACTS} FROM read_requests r {where} ORDER BY r.posted_s DESC, r.request_id",  # noqa: S608 - both are constants of this module
            values,
        )
        return [request_from(row) for row in rows]
