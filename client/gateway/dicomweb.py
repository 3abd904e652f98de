"""QIDO-RS and WADO-RS for the one granted study, so that a site can put a viewer of its own beside ours. No object can be taken away whole.

Searching finds that study whatever is asked; there is nothing else to find. Frames are what viewers draw; there is no route for objects.
"""

import asyncio
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response
from pydicom.uid import ExplicitVRLittleEndian

from client.gateway.asking import absent, desk_of, session_of
from client.gateway.dicom_json import DicomStudy
from client.gateway.volume import refuse_identifiers
from client.store.results import CT

router = APIRouter(prefix="/dicom-web")

Uid = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$")]

_SERIES = "/studies/{study}/series"
_INSTANCES = "/studies/{study}/series/{series}/instances"
_INSTANCE = _INSTANCES + "/{instance}"


@router.get("/studies")
async def search_studies(request: Request) -> Response:
    """Find the granted study."""
    return _json([(await _granted(request)).study()])


@router.get(_SERIES)
async def search_series(request: Request, study: Uid) -> Response:
    """Find its series."""
    return _json([(await _granted(request, study)).series()])


@router.get(_INSTANCES)
async def search_instances(request: Request, study: Uid, series: Uid) -> Response:
    """Find its instances."""
    return await _every_instance(request, study, series)


@router.get("/studies/{study}/metadata")
async def read_study_metadata(request: Request, study: Uid) -> Response:
    """Return the metadata of every instance."""
    return await _every_instance(request, study)


@router.get(_SERIES + "/{series}/metadata")
async def read_series_metadata(request: Request, study: Uid, series: Uid) -> Response:
    """Return the metadata of every instance."""
    return await _every_instance(request, study, series)


@router.get(_INSTANCE + "/metadata")
async def read_instance_metadata(request: Request, study: Uid, series: Uid, instance: Uid) -> Response:
    """Return the metadata of one instance."""
    found = await _granted(request, study, series)
    return _json([found.instance(_slice_of(found, instance))])


@router.get(_INSTANCE + "/frames/{frame}")
async def read_frame(request: Request, study: Uid, series: Uid, instance: Uid, frame: str) -> Response:
    """Return the one frame of an instance; the first look is told to the centre."""
    found = await _granted(request, study, series)
    index = _slice_of(found, instance)
    if frame != "1":
        raise absent()
    desk_of(request).reports.note_opened(session_of(request).claim)
    return _one_part(found.frame(index))


async def _granted(request: Request, study: str | None = None, series: str | None = None) -> DicomStudy:
    """Return the study of the caller's session; under any other UID it looks absent.

    Raises:
        FederationError: If the session does not hold, or the volume may not be shown.
    """
    desk, session = desk_of(request), session_of(request)
    request.state.subject = session.claim.request_id
    path = desk.findings.folder(session.claim.study_key) / CT
    refuse_identifiers(path)
    async with desk.unpacking:
        voxels = await asyncio.to_thread(desk.voxels.get, path)
    found = DicomStudy(session.claim.request_id, voxels)
    session_of(request)  # it may have ended while the volume was unpacked
    if study not in {None, found.study_uid} or series not in {None, found.series_uid}:
        raise absent()
    return found


def _slice_of(found: DicomStudy, instance: str) -> int:
    index = found.index_of(instance)
    if index is None:
        raise absent()
    return index


async def _every_instance(request: Request, study: str, series: str | None = None) -> Response:
    found = await _granted(request, study, series)
    return _json([found.instance(index) for index in range(found.slices)])


def _json(found: list[dict[str, Any]]) -> Response:
    return JSONResponse(found, media_type="application/dicom+json")


def _one_part(content: bytes) -> Response:
    """Return bulk data as PS3.18 8.7.1 wants it: one part of a multipart answer."""
    boundary = secrets.token_hex(16)
    kind = f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
    head = f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return Response(
        head.encode() + content + f"\r\n--{boundary}--\r\n".encode(),
        media_type=f'multipart/related; type="application/octet-stream"; boundary={boundary}',
    )
