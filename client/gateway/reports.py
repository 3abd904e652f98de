"""Reports in the node's database: every version is kept; the signed one is final. What concerns the centre goes through the gate.

Each step is written down first and sent after; a node that dies in between sends it when it starts again (`catch_up`).
"""

import sqlite3
from dataclasses import dataclass
from typing import Protocol

from client.gate.policy import Refusal, Verdict
from client.gateway.book import Book
from client.gateway.records import ClaimEntry
from client.gateway.report import Report, ReportCreate, sha256_of
from client.gateway.sessions import Session
from client.store.database import transaction
from client.store.records import SignedScores
from protocol.codes import Code
from protocol.errors import ConflictError, error_for
from protocol.parcel import Parcel
from protocol.reading import ReadDelivered, ReadOpened, ReportReceipt, ReportSigned, ReportStatus
from protocol.shape import OpaqueId, Sha256


class WayOut(Protocol):
    """The gate, as far as the gateway needs it."""

    def submit(self, parcel: Parcel) -> Verdict:
        """Judge, audit and queue a parcel."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A version of a report that the hospital holds."""

    report: Report
    report_sha256: Sha256
    status: ReportStatus
    delivered: bool


@dataclass(frozen=True, slots=True)
class Final:
    """A signed report and its study. Times are seconds since 1970, UTC."""

    report: Report
    report_sha256: Sha256
    study_key: str
    written_s: int
    signed_s: int
    amended: bool = False
    """Whether an earlier version was final before."""


class Reports:
    """Keeps reports and tells the centre their hashes and codes."""

    def __init__(self, book: Book, gate: WayOut) -> None:
        self._book = book
        self._gate = gate

    def note_opened(self, claim: ClaimEntry) -> None:
        """Tell the centre of the reader's first look; later looks change nothing.

        Raises:
            FederationError: If the gate does not let it out.
        """
        if not claim.opened:
            self._send(ReadOpened(request_id=claim.request_id, claim_id=claim.claim_id, fence=claim.fence))
            self._book.claim_opened(claim.claim_id)

    def submit(self, session: Session, content: ReportCreate, *, model_release: str | None) -> Kept:
        """Keep the next version of the session's report and send its receipt.

        Raises:
            ConflictError: `illegal-transition` if the reader has not looked at the study or waits for an answer, or the report is signed.
        """
        claim = session.claim
        if not claim.opened:
            raise ConflictError(Code.ILLEGAL_TRANSITION, "Open the study before you report on it.")
        self._refuse_while_asked(claim.claim_id)
        with transaction(self._book.connection):
            report = Report(
                request_id=claim.request_id,
                claim_id=claim.claim_id,
                version=self._next_version(claim.claim_id),
                reader_id=claim.reader_id,
                reader_key=session.jkt,
                severity_score=content.severity_score,
                model_release=model_release,
                content=content,
            )
            body = report.encode()
            self._book.connection.execute(
                "INSERT INTO reports (claim_id, version, body, report_sha256, submitted_s) VALUES (?, ?, ?, ?, ?)",
                (claim.claim_id, report.version, body, sha256_of(body), self._book.now_s()),
            )
        self._send_receipt(report, sha256_of(body), claim.fence)
        return Kept(report, sha256_of(body), ReportStatus.PRELIMINARY, delivered=False)

    def of_claim(self, claim_id: OpaqueId) -> list[Kept]:
        """Return every version of a claim's report, the newest first."""
        return self._kept("WHERE claim_id = ? ORDER BY version DESC", claim_id)

    def of_request(self, request_id: OpaqueId) -> list[Kept]:
        """Return every version of every report on a request, claim by claim, the newest first."""
        return self._kept(
            "JOIN read_claims c USING (claim_id) WHERE c.request_id = ? ORDER BY c.fence, version DESC", request_id
        )

    def sign(self, notice: ReportSigned) -> bool:
        """Make the report with the signed hash final and tell the centre that the hospital has it. The second time changes nothing.

        What counts is what was signed: the reader may have sent a further version before the centre heard of it, which then stays
        preliminary. An amended report asks to be acknowledged anew; the version before it stays, as every version does.

        Returns:
            False if this node holds no such report: nothing becomes final, nothing is said.
        """
        claim = self._book.claim(notice.claim_id)
        if claim is None or (claim.request_id, claim.fence) != (notice.request_id, notice.fence):
            return False
        with transaction(self._book.connection) as connection:
            signed = connection.execute(
                "SELECT version, final_s FROM reports WHERE claim_id = ? AND report_sha256 = ?",
                (notice.claim_id, notice.report_sha256),
            ).fetchone()
            if signed is None:
                return False
            if signed["final_s"] is None:
                self._make_final(connection, notice, signed["version"])
        self._deliver()
        return True

    def _make_final(self, connection: sqlite3.Connection, notice: ReportSigned, version: int) -> None:
        """End the claim with its signature. Only the first word of it does: after it the claim may have been opened again.

        A withdrawal that every signature came before is one that the centre has refused: peer reviews and amendments go on.
        """
        now_s = self._book.now_s()
        connection.execute(
            "UPDATE reports SET final_s = ? WHERE claim_id = ? AND version = ?", (now_s, notice.claim_id, version)
        )
        connection.execute(
            "UPDATE read_claims SET ended_s = coalesce(ended_s, ?) WHERE claim_id = ?", (now_s, notice.claim_id)
        )
        connection.execute(
            "UPDATE read_requests SET acknowledged_s = NULL, withdrawn_s = CASE WHEN reads_required <= (SELECT count(DISTINCT claim_id)"
            " FROM reports JOIN read_claims c USING (claim_id) WHERE c.request_id = read_requests.request_id AND final_s IS NOT NULL)"
            " THEN NULL ELSE withdrawn_s END WHERE request_id = ?",
            (notice.request_id,),
        )

    def final(self, claim_id: OpaqueId) -> Final | None:
        """Return the final report of a claim; `None` while no report is final."""
        row = self._book.connection.execute(
            f"SELECT body, version, report_sha256, submitted_s, final_s, study_key, {_FIRST_FINAL} AS first_final"  # noqa: S608 - a constant of this module
            " FROM reports JOIN read_claims USING (claim_id)"
            " JOIN read_requests USING (request_id) WHERE claim_id = ? AND final_s IS NOT NULL ORDER BY version DESC LIMIT 1",
            (claim_id,),
        ).fetchone()
        if row is None:
            return None
        report = Report.model_validate_json(row["body"])
        amended = row["version"] > row["first_final"]
        return Final(report, row["report_sha256"], row["study_key"], row["submitted_s"], row["final_s"], amended)

    def finals(self, request_id: OpaqueId) -> dict[OpaqueId, Sha256]:
        """Return the hash of the final report of each claim of a request, by claim."""
        rows = self._book.connection.execute(
            "SELECT claim_id, report_sha256, max(version) FROM reports JOIN read_claims USING (claim_id)"
            " WHERE request_id = ? AND final_s IS NOT NULL GROUP BY claim_id ORDER BY claim_id",
            (request_id,),
        )
        return {row["claim_id"]: row["report_sha256"] for row in rows}

    def scores(self, claim_id: OpaqueId) -> SignedScores | None:
        """Return what the final report of a claim says of the zones; `None` while none is final, and of a study that cannot be read."""
        final = self.final(claim_id)
        if final is None or not final.report.content.interpretable:
            return None
        return SignedScores(
            study_key=final.study_key, reader_id=final.report.reader_id, points=final.report.content.zones.points,
            reported_at=final.written_s + 1.0, signed_at=final.signed_s,
        )  # fmt: skip

    def result(self, claim_id: OpaqueId) -> Final | None:
        """Return the final report of a claim if it is the result of its request: of a double read, only once that is concluded."""
        final = self.final(claim_id)
        if final is None or self._book.request(final.report.request_id).reads_required == 1:
            return final
        result = self._book.result(final.report.request_id)
        return final if result is not None and result.claim_id == claim_id else None

    def catch_up(self) -> None:
        """Send what was written down but not sent before the node stopped; the centre takes a second copy in good part."""
        for post in self._book.unsent():
            self._send(post)
            self._book.mark(post.request_id, what="sent")
        rows = self._book.connection.execute(
            "SELECT body, report_sha256, fence FROM reports JOIN read_claims USING (claim_id) WHERE receipt_s IS NULL AND ended_s IS NULL"
            " ORDER BY submitted_s, version"
        ).fetchall()
        for row in rows:
            self._send_receipt(Report.model_validate_json(row["body"]), row["report_sha256"], row["fence"])
        self._deliver()

    def _refuse_while_asked(self, claim_id: OpaqueId) -> None:
        """Take no report while the hospital is asked: the centre would refuse its receipt for good, and nobody could sign it.

        An amendment is not held up: what is signed stays so, and the centre takes its receipts at any time.
        """
        row = self._book.connection.execute(
            "SELECT side FROM read_messages WHERE claim_id = ? ORDER BY question DESC, side LIMIT 1", (claim_id,)
        ).fetchone()
        if row is not None and row["side"] == "reader" and not self._was_final(claim_id):
            raise ConflictError(
                Code.ILLEGAL_TRANSITION,
                "The hospital has not answered your question yet. Hand the report in when it has; the form stays as it is.",
            )

    def _next_version(self, claim_id: OpaqueId) -> int:
        row = self._book.connection.execute(
            "SELECT ended_s, (SELECT max(version) FROM reports p WHERE p.claim_id = c.claim_id) AS last"
            " FROM read_claims c WHERE claim_id = ?",
            (claim_id,),
        ).fetchone()
        if row["ended_s"] is not None:
            raise ConflictError(
                Code.ILLEGAL_TRANSITION, "This report is signed. To amend it, open it again on the worklist."
            )
        return (row["last"] or 0) + 1

    def _send_receipt(self, report: Report, report_sha256: Sha256, fence: int) -> None:
        self._send(
            ReportReceipt(
                request_id=report.request_id,
                claim_id=report.claim_id,
                fence=fence,
                version=report.version,
                status=ReportStatus.AMENDED if self._was_final(report.claim_id) else ReportStatus.PRELIMINARY,
                report_sha256=report_sha256,
                coded=report.content.coded,
            )
        )
        self._stamp("receipt_s", report.claim_id, report.version)

    def _was_final(self, claim_id: OpaqueId) -> bool:
        """Say whether an earlier version of the claim's report was signed."""
        return (
            self._book.connection.execute(
                "SELECT 1 FROM reports WHERE claim_id = ? AND final_s IS NOT NULL", (claim_id,)
            ).fetchone()
            is not None
        )

    def _deliver(self) -> None:
        """Tell the centre of every final report that it was not told of yet."""
        rows = self._book.connection.execute(
            "SELECT claim_id, version, report_sha256, request_id FROM reports JOIN read_claims USING (claim_id)"
            " WHERE final_s IS NOT NULL AND delivered_s IS NULL"
        ).fetchall()
        for row in rows:
            self._send(
                ReadDelivered(
                    request_id=row["request_id"], claim_id=row["claim_id"], report_sha256=row["report_sha256"]
                )
            )
            self._stamp("delivered_s", row["claim_id"], row["version"])

    def _stamp(self, column: str, claim_id: OpaqueId, version: int) -> None:
        with transaction(self._book.connection):
            self._book.connection.execute(
                f"UPDATE reports SET {column} = ? WHERE claim_id = ? AND version = ?",  # noqa: S608 - a column of the table
                (self._book.now_s(), claim_id, version),
            )

    def _kept(self, where: str, *values: str) -> list[Kept]:
        rows = self._book.connection.execute(
            f"SELECT reports.*, {_FIRST_FINAL} AS first_final FROM reports {where}",  # noqa: S608 - constants of this module
            values,
        )
        return [
            Kept(
                report=Report.model_validate_json(row["body"]),
                report_sha256=row["report_sha256"],
                status=_status(row),
                delivered=row["delivered_s"] is not None,
            )
            for row in rows
        ]

    def _send(self, parcel: Parcel) -> None:
        send(self._gate, parcel)


_FIRST_FINAL = "(SELECT min(version) FROM reports f WHERE f.claim_id = reports.claim_id AND f.final_s IS NOT NULL)"


def _status(row: sqlite3.Row) -> ReportStatus:
    """The first version that was signed is final, a later one amends it; what nobody signed is preliminary."""
    if row["final_s"] is None:
        return ReportStatus.PRELIMINARY
    return ReportStatus.FINAL if row["version"] == row["first_final"] else ReportStatus.AMENDED


def send(gate: WayOut, parcel: Parcel) -> None:
    """Hand a parcel to the gate.

    Raises:
        FederationError: With the gate's code if it refuses.
    """
    verdict = gate.submit(parcel)
    if isinstance(verdict, Refusal):
        raise error_for(verdict.code)
