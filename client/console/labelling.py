"""Labels: which there are, who made them, which count, and which wait as drafts; and the radiologist's decisions on them."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from client.console import rim, views
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.plan import LabelUse
from protocol.shape import OpaqueId, Sha256

StudyKey = Annotated[OpaqueId, Path()]
Digest = Annotated[Sha256, Path()]

router = APIRouter()


@router.get("/labels")
async def show_labels(request: Request, page: Annotated[int, Query(ge=1, le=1_000_000)] = 1) -> HTMLResponse:
    """Show labels, the newest first."""
    ward = rim.ward_of(request)
    found, use = ward.labelling.page(page), views.labels_allowed(ward)
    return rim.show(
        request, "labels.html", here="labels", found=found, rows=[views.label_row(one, use) for one in found.rows],
        counts=ward.labelling.counts(), masks_only=use is LabelUse.MASKS, link=views.link("/labels", {}),
        drafts=views.draft_rows(ward),
    )  # fmt: skip


@router.post("/labels/drafts/{sha256}/approve")
async def approve_draft(request: Request, sha256: Digest) -> Response:
    """Let a mask that came by a door become the label of its study; the worker makes it within a moment."""
    ward, visitor = rim.ward_of(request), rim.visitor_of(request)
    draft = ward.store.drawn.approve(sha256, by=visitor.who)
    ward.note("label.approved", visitor, draft.study_key)
    return rim.go_to("/labels")


@router.post("/labels/drafts/{sha256}/discard")
async def discard_draft(request: Request, sha256: Digest) -> Response:
    """Let a mask that came by a door become no label; sent again, it is not asked about again."""
    ward, visitor = rim.ward_of(request), rim.visitor_of(request)
    draft = ward.store.drawn.discard(sha256, by=visitor.who)
    ward.note("label.discarded", visitor, draft.study_key)
    return rim.go_to("/labels")


@router.post("/labels/{study_key}/hold-out")
async def hold_out(request: Request, study_key: StudyKey) -> Response:
    """Keep a study out of training, whatever label it has."""
    return _decided(request, study_key, held_out=True)


@router.post("/labels/{study_key}/take-in")
async def take_in(request: Request, study_key: StudyKey) -> Response:
    """Let a study be trained on again."""
    return _decided(request, study_key, held_out=False)


@router.post("/labels/{study_key}/withdraw")
async def withdraw(request: Request, study_key: StudyKey, *, sure: Annotated[bool, Form()] = False) -> Response:
    """Keep a patient out of every later training, with all studies of theirs. There is no way back, so it is asked for twice."""
    ward = rim.ward_of(request)
    if not sure:
        raise InvalidInputError(Code.BAD_REQUEST, "A withdrawal cannot be taken back. Go back and tick the box first.")
    ward.store.labels.withdraw_subject(study_key)
    ward.note("label.withdrawn", rim.visitor_of(request), study_key)
    return rim.go_to(f"/studies/{study_key}")


def _decided(request: Request, study_key: str, *, held_out: bool) -> Response:
    ward = rim.ward_of(request)
    ward.labelling.hold_out(study_key, held_out=held_out)
    ward.note("label.held-out" if held_out else "label.taken-in", rim.visitor_of(request), study_key)
    return rim.go_to("/labels")
