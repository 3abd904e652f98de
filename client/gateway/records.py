"""Records of the reading exchange at the hospital: requests and the stage that each is at, claims, results, earlier studies."""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from protocol.reading import AlarmReason, Priority, StudyKind
from protocol.shape import OpaqueId


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
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Request:
    """A read that this hospital posted."""

    request_id: OpaqueId
    study_key: str
    priority: Priority
    reads_required: int
    posted_s: int
    stage: Stage
    expired: int = 0
    """Reads that nobody claimed in time and that were not asked for anew."""


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
    alone: bool = False
    """Whether it is the only report that came."""

    @property
    def how(self) -> str:
        """Why it is the result."""
        decided = "it is the only report that came" if self.alone else "a third reader decided"
        return "both readers agree" if self.agreed else decided


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


OVER = frozenset({Stage.CLOSED, Stage.WITHDRAWN, Stage.EXPIRED})

_SIGNED = frozenset({Stage.SIGNED, Stage.DELIVERED})

ALARM_ENDS: dict[AlarmReason, frozenset[Stage]] = {
    AlarmReason.LATE: _SIGNED | OVER,
    AlarmReason.OVERDUE: _SIGNED | OVER,
    AlarmReason.CRITICAL: OVER,
    AlarmReason.DISCREPANCY: frozenset({Stage.WITHDRAWN}),
    AlarmReason.EXPIRED: frozenset({Stage.CLOSED, Stage.WITHDRAWN}),
}
"""The stages in which an alarm is over."""

STAGE_FACTS = """
 (SELECT count(*) FROM read_expiries e WHERE e.request_id = r.request_id AND e.reposted_s IS NULL) AS expired,
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
"""What `request_from` counts, as columns of a request called `r`."""


def request_from(row: sqlite3.Row) -> Request:
    """Return a request from its row, with `STAGE_FACTS` beside the table's own columns."""
    return Request(
        request_id=row["request_id"],
        study_key=row["study_key"],
        priority=Priority(row["priority"]),
        reads_required=row["reads_required"],
        posted_s=row["posted_s"],
        stage=_stage(row),
        expired=row["expired"],
    )


def _stage(row: sqlite3.Row) -> Stage:
    """Return the furthest stage that holds for every read that the request needs.

    What has expired is not needed. A request that was taken back needs what is signed and no more: a signed report is not undone by it.
    """
    withdrawn = row["withdrawn_s"] is not None
    needed = row["signed"] if withdrawn else max(row["reads_required"] - row["expired"], row["signed"])
    held = (
        (withdrawn and needed == 0, Stage.WITHDRAWN),
        (needed == 0, Stage.EXPIRED),
        (row["acknowledged_s"] is not None, Stage.CLOSED),
        (row["delivered"] >= needed, Stage.DELIVERED),
        (row["signed"] >= needed, Stage.SIGNED),
        (row["preliminary"] + row["signed"] >= needed, Stage.PRELIMINARY),
        (row["opened"] > 0, Stage.READING),
        (row["claimed"] > 0, Stage.CLAIMED),
    )
    return next((stage for holds, stage in held if holds), Stage.OPEN)


def studies_from(kept: str | None) -> frozenset[StudyKind]:
    """Return which kinds of study a privilege is for, from the words that the table keeps; none of them means every kind."""
    return frozenset(StudyKind(one) for one in kept.split(",")) if kept else frozenset(StudyKind)


def claim_from(row: sqlite3.Row) -> ClaimEntry:
    """Return a claim from its row, with its request's study and withdrawal, and whether it is signed, beside the table's own columns."""
    return ClaimEntry(
        claim_id=row["claim_id"],
        request_id=row["request_id"],
        study_key=row["study_key"],
        reader_id=row["reader_id"],
        fence=row["fence"],
        live=row["ended_s"] is None and (row["withdrawn_s"] is None or row["signed"]),
        opened=row["opened_s"] is not None,
    )
