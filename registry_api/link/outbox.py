"""Notices to nodes, durable until the node says that they are durable there."""

import secrets
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import insert
from sqlmodel import Session, col, select, update

from protocol.parcel import Notice
from protocol.shape import canonical_json
from registry_api.database import ask, row_table
from registry_api.link.tables import NoticeRow


def send_notice(session: Session, site: str, notice: Notice) -> str:
    """Put a notice to `site` into the outbox, in the caller's transaction, and return its id.

    It is pushed within a second if the node is connected, and on its next connection otherwise.
    """
    notice_id = secrets.token_hex(16)
    values = {"id": notice_id, "site": site, "kind": notice.kind, "body": canonical_json(notice)}
    ask(session, insert(row_table(NoticeRow)), **values)
    return notice_id


def open_notices(session: Session, sites: Collection[str], *, limit: int = 1000) -> list[NoticeRow]:
    """Return the notices to `sites` that have not been received, oldest first."""
    query = (
        select(NoticeRow)
        .where(col(NoticeRow.site).in_(sites), col(NoticeRow.received_at).is_(None))
        .order_by(col(NoticeRow.seq))
        .limit(limit)
    )
    return list(session.exec(query))


def mark_received(session: Session, site: str, notice_id: str, *, now: datetime) -> None:
    """Note that the node holds the notice. One of another site, or one already received, is left as it is."""
    session.exec(
        update(NoticeRow)
        .where(col(NoticeRow.id) == notice_id, col(NoticeRow.site) == site, col(NoticeRow.received_at).is_(None))
        .values(received_at=now)
    )
