"""What the hospital's staff do with reads: post, withdraw, acknowledge."""

import json
import math
import secrets
from collections.abc import Collection

from client.gate.policy import ReadingPolicy
from client.gateway.book import Book
from client.gateway.records import OVER, Prior, Request, Stage
from client.gateway.reports import Reports, WayOut, send
from client.gateway.volume import extent
from client.store.records import Finding
from client.store.results import CT
from client.store.studies import StudyStore
from protocol.case import AgeBand, CaseRecord, Sex
from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError
from protocol.reading import (
    AlarmReason,
    Priority,
    ReadAcknowledged,
    ReadPost,
    ReadReposted,
    ReadWithdrawn,
    ReportNoted,
    Subspecialty,
)
from protocol.shape import OpaqueId, Sha256

_MEGABYTE = 1024 * 1024


def post_read(  # noqa: PLR0913 - where to write it, the way out, and what is asked for
    book: Book,
    gate: WayOut,
    store: StudyStore,
    *,
    study_key: str,
    wish: ReadingPolicy,
    priority: Priority,
    subspecialty: Subspecialty | None = None,
    prior: Prior | None = None,
) -> Request:
    """Ask the network for a read of a measured study.

    Args:
        book: Where it is written down.
        gate: Where it asks to leave.
        store: The studies.
        study_key: Of the study.
        wish: Under which law, in which language, by how many readers.
        priority: How soon.
        subspecialty: Asks for a reader trained in it.
        prior: The earlier study of the patient that the readers may see too; the centre does not learn of it.

    Raises:
        InvalidInputError: `not-found` if there is no such study, or it is not measured.
        ConflictError: `already-exists` if a read of it is under way.
        RefusedError: `policy-sharing` if the site's policy posts no reads.
    """
    store.study(study_key)
    finding = store.finding(study_key)
    if finding is None:
        raise InvalidInputError(
            Code.NOT_FOUND, "This study is not measured (yet); `status` says why. Only measured studies are read."
        )
    age_band, sex, ggo_percent = _coarse(finding)
    volume = store.folder(study_key) / CT
    request_id = secrets.token_hex(16)
    post = ReadPost(
        request_id=request_id,
        priority=priority,
        age_band=age_band,
        sex=sex,
        slices=extent(volume).slices,
        megabytes=math.ceil(volume.stat().st_size / _MEGABYTE),
        ggo_percent=ggo_percent,
        jurisdiction=wish.jurisdiction,
        language=wish.language,
        reads_required=wish.reads,
        subspecialty=subspecialty,
        uncertainty_percent=_uncertainty(finding),
    )
    book.post(post, study_key=study_key, prior=prior)
    try:
        send(gate, post)
    except FederationError:
        book.forget(request_id)
        raise
    book.mark(request_id, what="sent")
    return book.request(request_id)


def _coarse(finding: Finding) -> tuple[AgeBand, Sex, int]:
    """Return age band, sex and percent of ground glass. A study without a date has no case record; it can be read all the same."""
    if finding.record:
        record = CaseRecord.model_validate_json(finding.record)
        return record.age_band, record.sex, record.ggo_percent
    return AgeBand.UNKNOWN, Sex.UNKNOWN, round(100 * json.loads(finding.document)["ggo_fraction"])


def _uncertainty(finding: Finding) -> int:
    """Return how wide the interval of the measured opacity is, in percentage points of lung; 0 where it was not kept."""
    low, high = json.loads(finding.document).get("opacity_interval", (0.0, 0.0))
    return round(100 * (float(high) - float(low)))


def withdraw_read(book: Book, gate: WayOut, request_id: OpaqueId) -> Request:
    """Take a request back; its reader's session ends with the next request.

    Raises:
        ConflictError: `illegal-transition` if a report is signed already.
    """
    if book.request(request_id).stage in {Stage.SIGNED, Stage.DELIVERED, Stage.CLOSED}:
        raise ConflictError(
            Code.ILLEGAL_TRANSITION, "The report is signed; acknowledge it instead of withdrawing the read."
        )
    send(gate, ReadWithdrawn(request_id=request_id))
    book.mark(request_id, what="withdrawn")
    return book.request(request_id)


def repost_read(book: Book, gate: WayOut, request_id: OpaqueId) -> Request:
    """Ask anew for the reads of a request that nobody claimed in time; they have the whole time of its priority again.

    Raises:
        ConflictError: `illegal-transition` if none has expired, or the request was closed or taken back; `already-exists` if another read
            of the study is under way.
    """
    request = book.request(request_id)
    numbers = book.missing(request_id)
    if not numbers or request.stage in {Stage.CLOSED, Stage.WITHDRAWN}:
        raise ConflictError(
            Code.ILLEGAL_TRANSITION, "No read of this request has expired; there is none to ask for anew."
        )
    if request.stage is Stage.EXPIRED and book.is_under_way(request.study_key):
        raise ConflictError(Code.ALREADY_EXISTS, "Another read of this study is under way. `read list` shows it.")
    for number in numbers:
        send(gate, ReadReposted(request_id=request_id, number=number))
        book.reposted(request_id, number)
    return book.request(request_id)


def acknowledge_read(
    book: Book, gate: WayOut, reports: Reports, request_id: OpaqueId, *, seen: Collection[Sha256]
) -> Request:
    """Take note of the final reports: the request closes.

    Args:
        book: The requests.
        gate: The way out.
        reports: Of the request, among others.
        request_id: Of the request.
        seen: Hashes of the final reports that the person saw.

    Raises:
        ConflictError: `illegal-transition` if no final report is here yet, or one is still to come; `stale-report` if others are here than
            those that were seen.
    """
    stage = book.request(request_id).stage
    if stage not in {Stage.DELIVERED, Stage.CLOSED}:
        raise ConflictError(
            Code.ILLEGAL_TRANSITION,
            f"There is no final report yet: the read is {stage}. Acknowledge it once it is delivered.",
        )
    finals = tuple(reports.finals(request_id).values())
    if set(seen) != set(finals):
        raise _stale()
    send(gate, ReadAcknowledged(request_id=request_id, reports=finals))
    book.mark(request_id, what="acknowledged")
    return book.request(request_id)


def note_report(book: Book, gate: WayOut, reports: Reports, request_id: OpaqueId, *, report_sha256: Sha256) -> Request:
    """Take note of one final report while others of the request are still to come: a critical result must not wait for the second reader.

    The read stays open, and is acknowledged as a whole in the end.

    Raises:
        InvalidInputError: `not-found` if there is no such request.
        ConflictError: `stale-report` if that is no final report of it (any more); `illegal-transition` if the request is over.
    """
    if book.request(request_id).stage in OVER:
        raise ConflictError(Code.ILLEGAL_TRANSITION, "The read is over; there is nothing to take note of any more.")
    finals = reports.finals(request_id)
    claim_id = next((claim for claim, sha256 in finals.items() if sha256 == report_sha256), None)
    if claim_id is None:
        raise _stale()
    send(gate, ReportNoted(request_id=request_id, claim_id=claim_id, report_sha256=report_sha256))
    book.note(claim_id, report_sha256)
    left = set(finals.values()) - book.noted(request_id)
    if not any(one.report_sha256 in left and one.report.content.critical for one in reports.of_request(request_id)):
        book.quiet(request_id, AlarmReason.CRITICAL)
    return book.request(request_id)


def _stale() -> ConflictError:
    return ConflictError(
        Code.STALE_REPORT,
        "A report has come or was amended since you looked. Read what is here now, then take note of it.",
    )
