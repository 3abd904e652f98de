"""Notices to nodes, durable until the node says that they are durable there."""

import secrets
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import insert
from sqlmodel import Session, col, func, select, update

from protocol.parcel import Notice
from protocol.reading import GrantRevoked
from protocol.shape import canonical_json
from registry_api.database import ask, row_table, unasked
from registry_api.link.tables import NoticeRow

AT_ONCE = 100
"""So many of one site are on the way at once: a node that takes none, its disk full, keeps nobody else's from leaving."""

_VOIDS = GrantRevoked.model_fields["kind"].default


def send_notice(session: Session, site: str, notice: Notice) -> str:
    """Put a notice to `site` into the outbox, in the caller's transaction, and return its id.

    It is pushed within a second if the node is connected, and on its next connection otherwise.
    """
    notice_id = secrets.token_hex(16)
    values = {"id": notice_id, "site": site, "kind": notice.kind, "body": canonical_json(notice)}
    ask(session, _NOTICE, **values)
    return notice_id


_NOTICE = unasked(insert(row_table(NoticeRow)).inline())
"""Made once; and nobody asks which place the notice got."""


def open_notices(session: Session, sites: Collection[str]) -> list[NoticeRow]:
    """Return the notices to `sites` that have not been received, of each site the first `AT_ONCE`.

    A site's notices stand in the order in which they were written, for a claim that ends before it was made would not end. Only what voids
    a grant goes before everything else: it holds whenever it comes.
    """
    order = (col(NoticeRow.kind) != _VOIDS, col(NoticeRow.seq))
    place = func.row_number().over(partition_by=col(NoticeRow.site), order_by=order)
    ranked = (
        select(NoticeRow.seq, place.label("place"))
        .where(col(NoticeRow.site).in_(sites), col(NoticeRow.received_at).is_(None))
        .subquery()
    )
    query = select(NoticeRow).join(ranked, col(NoticeRow.seq) == ranked.c.seq).where(ranked.c.place <= AT_ONCE)
    return list(session.exec(query.order_by(*order)))


def mark_received(session: Session, site: str, notice_id: str, *, now: datetime) -> None:
    """Note that the node holds the notice. One of another site, or one already received, is left as it is."""
    session.exec(
        update(NoticeRow)
        .where(col(NoticeRow.id) == notice_id, col(NoticeRow.site) == site, col(NoticeRow.received_at).is_(None))
        .values(received_at=now)
    )
