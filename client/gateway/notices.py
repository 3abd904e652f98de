"""What the link hands to the gateway's tables: claims made and ended, grants revoked, reports signed and compared."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from joserfc.jwk import OKPKey

from client.gateway.book import Book
from client.gateway.grant import read_grant
from client.gateway.reports import Reports
from client.gateway.sessions import Sessions
from client.store.records import SignedScores
from protocol.errors import InvalidInputError
from protocol.reading import DiscrepancyOpened, GrantRenewed, ReadAlarm, ReadConcluded, ReadExpired, ReportSigned
from protocol.shape import OpaqueId, SiteId

log = logging.getLogger(__name__)


def receivers(
    book: Book,
    sessions: Sessions,
    reports: Reports,
    keep_scores: Callable[[SignedScores], bool],
    also: Sequence[Callable[[OpaqueId], object]] = (),
) -> dict[str, Callable[[Any], None]]:
    """Return the receiver of each kind of notice that concerns reads. Each may be called twice with the same notice.

    Args:
        book: Requests and claims.
        sessions: Of readers.
        reports: What readers wrote.
        keep_scores: Keeps a signed report's zone scores as a label of the study; returns whether they fit it.
        also: What else is done once the report of a claim is final, and once a double read has its result: each is called with the claim,
            perhaps more than once.
    """

    def label(claim_id: OpaqueId) -> None:
        scores = reports.scores(claim_id)
        if scores is not None:
            log.info("label.scored" if keep_scores(scores) else "label.outdated", extra={"study": scores.study_key})

    def report_signed(notice: ReportSigned) -> None:
        if reports.sign(notice):
            _follow((label, *also), notice.claim_id)
        else:
            log.warning("read.signature-without-report", extra={"request": notice.request_id, "claim": notice.claim_id})

    def concluded(notice: ReadConcluded) -> None:
        book.concluded(notice)
        _follow(also, notice.claim_id)

    return {
        "claim-made": book.claim_made,
        "claim-ended": book.claim_ended,
        "grant-revoked": sessions.revoke,
        "report-signed": report_signed,
        "second-read-added": book.second_read_added,
        "adjudication-opened": book.adjudication_opened,
        "read-concluded": concluded,
        "read-expired": _aloud("read.expired", book.expired),
        "read-alarm": _aloud("read.alarm", book.alarmed),
        "amendment-opened": book.reopened,
        "discrepancy-opened": _aloud("read.disputed", book.disputed),
    }


def _aloud(event: str, take: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return `take` with a warning in the log: the hospital should look at the read."""

    def receive(notice: ReadAlarm | ReadExpired | DiscrepancyOpened) -> None:
        take(notice)
        said = notice.model_dump(mode="json", include={"reason", "score"})
        log.warning(event, extra={"request": notice.request_id, **said})

    return receive


def _follow(steps: Sequence[Callable[[OpaqueId], object]], claim_id: OpaqueId) -> None:
    """Take every step; one that cannot be done does not keep the others. What fails of them is raised at the end: all are taken again."""
    with ExitStack() as stack:
        for step in reversed(steps):
            stack.callback(_take, step, claim_id)


def _take(step: Callable[[OpaqueId], object], claim_id: OpaqueId) -> None:
    try:
        step(claim_id)
    except InvalidInputError as error:
        log.warning("read.step-refused", extra={"claim": claim_id, "code": error.code.value})


def renewal_receiver(book: Book, sessions: Sessions, *, key: OKPKey, site: SiteId) -> Callable[[GrantRenewed], None]:
    """Return the receiver of fresh grants. The link is trusted to bring them, not to make them: each is read like a reader's own."""

    def grant_renewed(notice: GrantRenewed) -> None:
        sessions.offer(read_grant(notice.token, key=key, site=site, now_s=book.now_s()))

    return grant_renewed
