"""Gathers signed reads and peer reviews for the figures, as far as the caller may know them."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session, col, select

from protocol.case import RsnaClass
from protocol.shape import OpaqueId, SiteId
from registry_api.reading.comparison import Coded
from registry_api.reading.figures import Figures, Reviewed, SignedRead, figures, pairs_of
from registry_api.reading.lifecycle import COUNTED, SIGNED_AND_AFTER, Purpose
from registry_api.reading.tables import (
    ClaimRow,
    PeerReviewRow,
    ReaderRow,
    ReadRequestRow,
    ReceiptRow,
    SlotRow,
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose reads are counted: one reader's, one hospital's, or with neither those of some hospitals, or the whole network's."""

    reader_id: OpaqueId | None = None
    site: SiteId | None = None
    sites: Collection[SiteId] | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of a span, and for the coordinator the same by reading group and by hospital."""

    since: datetime
    until: datetime
    overall: Figures
    groups: dict[str, Figures] = field(default_factory=dict)
    hospitals: dict[SiteId, Figures] = field(default_factory=dict)


def statistics(session: Session, scope: Scope, *, since: datetime, until: datetime) -> Statistics:
    """Return the figures of what was signed (reviews: scored) from `since` to before `until`."""
    reads, reviews = signed_reads(session, since=since, until=until), peer_reviews(session, since=since, until=until)
    if scope.reader_id is not None or scope.site is not None:
        return Statistics(since, until, figures_of(reads, reviews, reader_id=scope.reader_id, site=scope.site))
    if scope.sites is not None:
        reads = [one for one in reads if one.site in scope.sites]
        reviews = [one for one in reviews if one.site in scope.sites]
    groups = sorted({one.group for one in reads if one.group})
    sites = sorted({one.site for one in reads})
    return Statistics(
        since,
        until,
        figures_of(reads, reviews),
        {name: figures_of(reads, reviews, group=name) for name in groups},
        {name: figures_of(reads, reviews, site=name) for name in sites},
    )


def figures_of(reads: list[SignedRead], reviews: list[Reviewed], **whose: str | None) -> Figures:
    """Return the figures of what has these values, where they are given; a double read counts where either of its readers does."""

    def belongs(one: SignedRead | Reviewed) -> bool:
        return all(value in {None, getattr(one, name)} for name, value in whose.items())

    pairs = [two for two in pairs_of(reads).values() if any(belongs(one) for one in two)]
    return figures(
        [one for one in reads if belongs(one)],
        [(first.coded, second.coded) for first, second in pairs],
        [one for one in reviews if belongs(one)],
    )


def signed_reads(session: Session, *, since: datetime, until: datetime) -> list[SignedRead]:
    """Return every slot whose first signature falls into the span, in order of requests and slots."""
    lately = select(ReceiptRow.claim_id).where(col(ReceiptRow.signed_at) >= since, col(ReceiptRow.signed_at) < until)
    query = (
        select(SlotRow, ReadRequestRow.site, ReaderRow.reading_group, ReceiptRow)
        .join(ReadRequestRow, col(ReadRequestRow.request_id) == SlotRow.request_id)
        .join(ReceiptRow, col(ReceiptRow.claim_id) == SlotRow.claim_id)
        .join(ReaderRow, col(ReaderRow.reader_id) == SlotRow.reader_id, isouter=True)
        .where(
            col(SlotRow.state).in_([state.value for state in SIGNED_AND_AFTER]),
            col(SlotRow.purpose).in_([purpose.value for purpose in COUNTED]),
            col(SlotRow.claim_id).in_(lately),
        )
        .order_by(col(SlotRow.request_id), col(SlotRow.number), col(ReceiptRow.version))
    )
    first: dict[OpaqueId, SignedRead] = {}
    started: dict[OpaqueId, datetime] = {}
    for slot, site, group, receipt in session.exec(query):
        started.setdefault(receipt.claim_id, receipt.received_at)
        if receipt.signed_at is not None and receipt.claim_id not in first:
            first[receipt.claim_id] = _signed(slot, site, group, receipt, started[receipt.claim_id])
    return [one for one in first.values() if since <= one.signed_at < until]


def _signed(slot: SlotRow, site: SiteId, group: str | None, receipt: ReceiptRow, started: datetime) -> SignedRead:
    return SignedRead(
        request_id=slot.request_id,
        site=site,
        reader_id=slot.reader_id or "",
        group=group,
        purpose=Purpose(slot.purpose),
        opened_at=slot.opened_at,
        due_at=slot.due_at,
        preliminary_at=started,
        signed_at=receipt.signed_at or started,
        coded=Coded(RsnaClass(receipt.rsna_class), receipt.corads, receipt.severity_score, receipt.critical),
    )


def peer_reviews(session: Session, *, since: datetime, until: datetime) -> list[Reviewed]:
    """Return every peer review of the span. Who reviewed stays out of it."""
    query = (
        select(PeerReviewRow.score, ReadRequestRow.site, ClaimRow.reader_id, ReaderRow.reading_group)
        .join(ClaimRow, col(ClaimRow.claim_id) == PeerReviewRow.reviewed_claim_id)
        .join(ReadRequestRow, col(ReadRequestRow.request_id) == PeerReviewRow.request_id)
        .join(ReaderRow, col(ReaderRow.reader_id) == ClaimRow.reader_id, isouter=True)
        .where(col(PeerReviewRow.reviewed_at) >= since, col(PeerReviewRow.reviewed_at) < until)
    )
    return [Reviewed(site, reader_id, group, score) for score, site, reader_id, group in session.exec(query)]
