"""Reads on the staff page: asked for, followed, answered, taken note of; and the reader keys that this hospital approved."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from client.console import read_views, rim
from client.store.search import cut
from protocol.reading import Priority, StudyKind, Subspecialty
from protocol.shape import OpaqueId, Sha256

Number = Annotated[int, Query(ge=1, le=1_000_000)]
RequestId = Annotated[OpaqueId, Path()]
StudyKey = Annotated[OpaqueId, Path()]

router = APIRouter()


@router.get("/reads")
async def show_reads(request: Request, page: Number = 1) -> HTMLResponse:
    """Show reads, and the reader keys that this hospital approved."""
    ward = rim.ward_of(request)
    reads = cut(read_views.read_rows(ward.reads()), page)
    return rim.show(
        request, "reads.html", here="reads", reads=reads, keys=ward.keys.all(), alarming=ward.counter.alarming(),
        privileges=read_views.privilege_rows(ward.privileges.all()), kinds=read_views.KINDS,
    )  # fmt: skip


@router.get("/reads/{request_id}")
async def show_read(request: Request, request_id: RequestId) -> HTMLResponse:
    """Show one read: every report, preliminary beside final, and what reader and hospital said to each other."""
    ward = rim.ward_of(request)
    seen = ward.counter.seen(request_id)
    sent_on = ward.sent_on.of_claims(read_views.claims_of(seen))
    return rim.show(request, "read.html", here="reads", read=read_views.seen_read(seen), sent_on=sent_on)


@router.post("/studies/{study_key}/read")
async def post_read(
    request: Request,
    study_key: StudyKey,
    priority: Annotated[Priority, Form()],
    reads: Annotated[int, Form(ge=1, le=2)] = 1,
    prior: Annotated[str, Form(max_length=32)] = "",
    subspecialty: Annotated[Subspecialty | Literal[""], Form()] = "",
) -> Response:
    """Ask the network for a read of a study."""
    ward = rim.ward_of(request)
    request_id = ward.counter.post(
        study_key, priority=priority.value, reads=reads, prior=prior, subspecialty=str(subspecialty)
    )
    ward.note("read.posted", rim.visitor_of(request), request_id)
    return rim.go_to(f"/reads/{request_id}")


@router.post("/reads/{request_id}/answer")
async def answer_reader(
    request: Request,
    request_id: RequestId,
    text: Annotated[str, Form(max_length=4000)],
    claim: Annotated[OpaqueId | None, Form()] = None,
) -> Response:
    """Answer a reader's question; the words go to the reader alone."""
    ward = rim.ward_of(request)
    ward.counter.answer(request_id, text, claim)
    ward.note("read.answered", rim.visitor_of(request), request_id)
    return rim.go_to(f"/reads/{request_id}")


@router.post("/reads/{request_id}/note")
async def note_report(request: Request, request_id: RequestId, seen: Annotated[Sha256, Form()]) -> Response:
    """Take note of one final report while others are still to come."""
    ward = rim.ward_of(request)
    ward.counter.note(request_id, seen)
    ward.note("report.noted", rim.visitor_of(request), request_id)
    return rim.go_to(f"/reads/{request_id}")


@router.post("/reads/{request_id}/acknowledge")
async def acknowledge(
    request: Request, request_id: RequestId, seen: Annotated[list[Sha256], Form(max_length=10)]
) -> Response:
    """Take note of the final reports, of which these were on the page: the read closes."""
    ward = rim.ward_of(request)
    ward.counter.acknowledge(request_id, seen)
    ward.note("read.acknowledged", rim.visitor_of(request), request_id)
    return rim.go_to(f"/reads/{request_id}")


@router.post("/reads/{request_id}/repost")
async def repost(request: Request, request_id: RequestId) -> Response:
    """Ask anew for the reads that nobody claimed in time."""
    ward = rim.ward_of(request)
    ward.counter.repost(request_id)
    ward.note("read.reposted", rim.visitor_of(request), request_id)
    return rim.go_to(f"/reads/{request_id}")


@router.post("/reads/{request_id}/withdraw")
async def withdraw(request: Request, request_id: RequestId) -> Response:
    """Take a read back; a reader who has it open is cut off."""
    ward = rim.ward_of(request)
    ward.counter.withdraw(request_id)
    ward.note("read.withdrawn", rim.visitor_of(request), request_id)
    return rim.go_to(f"/reads/{request_id}")


@router.post("/reads/{request_id}/send")
async def send_again(request: Request, request_id: RequestId) -> Response:
    """Let the final reports be sent on to the hospital's other systems again, now."""
    ward = rim.ward_of(request)
    ward.sent_on.retry(read_views.claims_of(ward.counter.seen(request_id)))
    ward.note("read.sent-again", rim.visitor_of(request), request_id)
    return rim.go_to(f"/reads/{request_id}")


@router.post("/privileges")
async def grant_privilege(
    request: Request,
    reader: Annotated[str, Form(max_length=100)],
    name: Annotated[str, Form(max_length=200)],
    until: Annotated[date | Literal[""], Form()] = "",
    studies: Annotated[StudyKind | Literal[""], Form()] = "",
) -> Response:
    """Let a reader of the network read for this hospital, to the end of a day and studies of one kind where they are named."""
    ward = rim.ward_of(request)
    kinds = (studies,) if studies else tuple(StudyKind)
    ward.privileges.grant_through(reader.strip(), name=name, last_day=until or None, studies=kinds)
    ward.note("privilege.granted", rim.visitor_of(request), reader.strip())
    return rim.go_to("/reads")


@router.post("/privileges/withdraw")
async def withdraw_privilege(request: Request, reader: Annotated[str, Form(max_length=100)]) -> Response:
    """Take a reader's privilege back; what they hold of this hospital goes back to the queue."""
    ward = rim.ward_of(request)
    ward.privileges.withdraw(reader)
    ward.note("privilege.withdrawn", rim.visitor_of(request), reader)
    return rim.go_to("/reads")


@router.post("/readers")
async def approve_reader(
    request: Request, thumbprint: Annotated[str, Form(max_length=100)], name: Annotated[str, Form(max_length=200)]
) -> Response:
    """Approve a reader's key."""
    ward = rim.ward_of(request)
    ward.keys.approve(thumbprint.strip(), name=name)
    ward.note("reader.approved", rim.visitor_of(request))
    return rim.go_to("/reads")


@router.post("/readers/revoke")
async def revoke_reader(request: Request, thumbprint: Annotated[str, Form(max_length=100)]) -> Response:
    """Take an approval back."""
    ward = rim.ward_of(request)
    ward.keys.revoke(thumbprint.strip())
    ward.note("reader.revoked", rim.visitor_of(request))
    return rim.go_to("/reads")
