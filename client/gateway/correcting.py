"""The routes by which a reader corrects the mask: strokes as they are drawn, the drawing back, and the word that it is meant so."""

import asyncio
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from client.gateway.asking import absent, desk_of, refuse_other_claim, session_of, session_to_write
from client.gateway.masks import Labels, read_labels, volumes_ml
from client.gateway.sessions import Session
from client.gateway.strokes import STROKE_MOST, Stroke, base_of, compose, packed, read_runs, sha256_of
from client.gateway.volume import extent, nifti_header
from client.store.results import MASK
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.shape import OpaqueId, Sha256

PACKED = "application/gzip"
RUNS = "application/octet-stream"

ClaimId = Annotated[OpaqueId, Path()]
Number = Annotated[int, Path(ge=1, le=1_000_000)]

router = APIRouter()


class MaskAnswer(BaseModel):
    """What the hospital holds of a corrected mask: the hash of its DICOM SEG, and how much of each label there is."""

    claim_id: OpaqueId
    sha256: Sha256
    ground_glass_ml: float
    consolidation_ml: float


class StrokeAnswer(BaseModel):
    """The number of the last stroke that the hospital keeps."""

    number: int


class DrawingAnswer(BaseModel):
    """What the hospital holds of a drawing that is being made.

    Attributes:
        number: Of its last stroke; 0 before the first.
        sha256: Of its labels in the order of the file; `None` without a drawing, or if the study was measured again under it.
        handed_in: Whether the drawing was handed in as it is.
    """

    number: int
    sha256: Sha256 | None
    handed_in: bool


class HandIn(BaseModel):
    """The reader means the drawing as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: int
    sha256: Sha256


@router.get("/masks/{claim_id}")
async def read_drawing_state(request: Request, claim_id: ClaimId) -> DrawingAnswer:
    """Say how far the drawing has come, and its digest."""
    strokes, own = _drawn(request, claim_id)
    async with desk_of(request).unpacking:
        digest = await asyncio.to_thread(_digest, strokes, own)
    last = strokes[-1] if strokes else None
    return DrawingAnswer(number=last.number if last else 0, sha256=digest, handed_in=bool(last and last.handed_in))


@router.get("/masks/{claim_id}/drawing.nii.gz")
async def read_drawing(request: Request, claim_id: ClaimId) -> Response:
    """Return the drawing as the study's own mask goes out; absent before the first stroke."""
    strokes, own = _drawn(request, claim_id)
    async with desk_of(request).unpacking:
        content = await asyncio.to_thread(_packed, strokes, own)
    if content is None:
        raise absent()
    return Response(content, media_type=PACKED, headers={"Content-Disposition": "inline"})


@router.put("/masks/{claim_id}/strokes/{number}")
async def keep_stroke(request: Request, claim_id: ClaimId, number: Number) -> StrokeAnswer:
    """Keep the next stroke: runs of what has changed, or, packed as the study's own mask, the whole drawing."""
    desk, session = desk_of(request), _drawing_session(request, claim_id)
    body, own = await request.body(), desk.findings.folder(session.claim.study_key) / MASK
    kind = request.headers.get("Content-Type")
    if kind not in {PACKED, RUNS}:
        raise InvalidInputError(Code.BAD_REQUEST, f"Send runs as {RUNS}, or the whole drawing as {PACKED}.")
    if kind == PACKED:
        async with desk.unpacking:
            await asyncio.to_thread(read_labels, body, own)
    elif len(body) > STROKE_MOST:
        raise InvalidInputError(Code.BAD_REQUEST, f"A stroke has {STROKE_MOST} bytes at most. Send the whole drawing.")
    else:
        size = extent(own)
        await asyncio.to_thread(read_runs, body, size.columns * size.rows * size.slices)
    claim = session_of(request).claim  # it may have ended meanwhile
    desk.drawings.add(claim.claim_id, number, body, base=base_of(own), whole=kind == PACKED)
    return StrokeAnswer(number=number)


@router.post("/masks/{claim_id}/hand-in", status_code=201)
async def hand_in(request: Request, claim_id: ClaimId, content: HandIn) -> MaskAnswer:
    """Make the drawing the reader's mask, if it is the one that the page shows."""
    desk, session = desk_of(request), _drawing_session(request, claim_id)
    study_key = session.claim.study_key
    strokes, own = desk.drawings.strokes(claim_id), desk.findings.folder(study_key) / MASK
    async with desk.unpacking:
        labels = await asyncio.to_thread(compose, strokes, own)
        same = labels is not None and await asyncio.to_thread(sha256_of, labels) == content.sha256
        if labels is None or not same or strokes[-1].number != content.number:
            raise ConflictError(
                Code.STALE_DRAWING, "The hospital's drawing is another one than the page's. Send the whole drawing."
            )
        return await _keep(request, session, labels, content.number)


@router.post("/masks/{claim_id}", status_code=201)
async def create_mask(request: Request, claim_id: ClaimId) -> MaskAnswer:
    """Keep the mask as the reader corrected it, whole and at once. It comes as the study's own mask went out: gzipped NIfTI, the same header."""
    desk, session = desk_of(request), _drawing_session(request, claim_id)
    if request.headers.get("Content-Type") != PACKED:
        raise InvalidInputError(Code.BAD_REQUEST, f"Send the mask as {PACKED}.")
    body, own = await request.body(), desk.findings.folder(session.claim.study_key) / MASK
    async with desk.unpacking:
        labels = await asyncio.to_thread(read_labels, body, own)
        number = desk.drawings.last(session_of(request).claim.claim_id) + 1
        desk.drawings.add(claim_id, number, body, base=base_of(own), whole=True)
        return await _keep(request, session, labels, number)


def _drawn(request: Request, claim_id: OpaqueId) -> tuple[list[Stroke], FilePath]:
    """Return the strokes of the caller's claim, and the machine's mask under them."""
    desk, session = desk_of(request), session_of(request)
    refuse_other_claim(session, claim_id)
    return desk.drawings.strokes(claim_id), desk.findings.folder(session.claim.study_key) / MASK


def _drawing_session(request: Request, claim_id: OpaqueId) -> Session:
    session = session_to_write(request, claim_id)
    if not session.claim.opened:
        raise ConflictError(Code.ILLEGAL_TRANSITION, "Open the study before you correct its mask.")
    return session


async def _keep(request: Request, session: Session, labels: Labels, number: int) -> MaskAnswer:
    """Make a DICOM SEG of a drawing and keep it, if the session still holds then."""
    desk, study_key = desk_of(request), session.claim.study_key
    segmentation = await asyncio.to_thread(desk.segment, study_key, labels, session.reader_name)
    claim_id = session_of(request).claim.claim_id
    kept = desk.corrections.keep(claim_id, study_key, segmentation)
    desk.drawings.handed_in(claim_id, number)
    volumes = volumes_ml(labels, desk.findings.folder(study_key) / MASK)
    return MaskAnswer(claim_id=claim_id, sha256=kept.sha256, **volumes)


def _digest(strokes: list[Stroke], own: FilePath) -> Sha256 | None:
    labels = compose(strokes, own)
    return None if labels is None else sha256_of(labels)


def _packed(strokes: list[Stroke], own: FilePath) -> bytes | None:
    labels = compose(strokes, own)
    return None if labels is None else packed(labels, nifti_header(own))
