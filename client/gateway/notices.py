"""What the link hands to the gateway's tables: claims made and ended, grants revoked, reports signed."""

import logging
from collections.abc import Callable
from typing import Any

from client.gateway.book import Book
from client.gateway.reports import Reports
from client.gateway.sessions import Sessions
from protocol.reading import ReportSigned

log = logging.getLogger(__name__)


def receivers(book: Book, sessions: Sessions, reports: Reports) -> dict[str, Callable[[Any], None]]:
    """Return the receiver of each kind of notice that concerns reads. Each may be called twice with the same notice."""

    def report_signed(notice: ReportSigned) -> None:
        if not reports.sign(notice):
            log.warning("read.signature-without-report", extra={"request": notice.request_id, "claim": notice.claim_id})

    return {
        "claim-made": book.claim_made,
        "claim-ended": book.claim_ended,
        "grant-revoked": sessions.revoke,
        "report-signed": report_signed,
    }
