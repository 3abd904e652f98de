"""Sends a study's volume or mask, or the coarse copy that a reader far away sees first."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Literal

from fastapi.responses import Response, StreamingResponse

from client.gateway import volume
from client.gateway.desk import Desk
from client.store.coarse import coarse_copy
from client.store.results import COARSE_CT, COARSE_MASK, CT, MASK
from protocol.errors import FederationError

log = logging.getLogger(__name__)

VolumeName = Literal["ct.nii.gz", "mask.nii.gz", "ct-coarse.nii.gz", "mask-coarse.nii.gz"]

_FILES: dict[VolumeName, str] = {
    "ct.nii.gz": CT, "mask.nii.gz": MASK, "ct-coarse.nii.gz": COARSE_CT, "mask-coarse.nii.gz": COARSE_MASK,
}  # fmt: skip
_WHOLE = {COARSE_CT: CT, COARSE_MASK: MASK}

_KIND = "application/gzip"
_INLINE = {"Content-Disposition": "inline"}

LOOK_SECONDS = 1.0
"""So long a session that has ended may go unnoticed while a volume is on its way: a line far away takes minutes for one."""

Holds = Callable[[], object]
"""Raises when what let the volume go out holds no longer."""


async def send_volume(desk: Desk, study_key: str, name: VolumeName, *, holds: Holds) -> Response:
    """Return the answer that carries one of a study's volumes; what holds more than voxels and geometry is refused.

    Args:
        desk: The gateway's.
        study_key: Whose.
        name: Which of its files.
        holds: Asked again while the volume is on its way; when it raises, the rest stays here.

    Raises:
        InvalidInputError: `unreadable` if it is missing or damaged.
        RefusedError: `policy-shape` if its header holds a text.
        UnavailableError: `disk-full` if a copy has to be made and there is no room.
    """
    path = desk.findings.folder(study_key) / _FILES[name]
    whole = path.with_name(_WHOLE.get(path.name, path.name))
    if _is_stale(path, whole):
        return Response(await _made(desk, whole), media_type=_KIND, headers=_INLINE)
    volume.refuse_identifiers(path)
    return StreamingResponse(
        _while(holds, volume.bare(path)),
        media_type=_KIND,
        headers=_INLINE | {"Content-Length": str(volume.bare_size(path))},
    )


async def _while(holds: Holds, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Pass the pieces on. An end before the announced length tells the browser that it has no whole file."""
    looked = time.monotonic()
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        if time.monotonic() - looked >= LOOK_SECONDS:
            looked = time.monotonic()
            try:
                holds()
            except FederationError as error:
                log.warning("volume.cut", extra={"code": error.code.value})
                return
        yield piece


def _is_stale(path: Path, whole: Path) -> bool:
    """Say whether a copy has to be made: none is there, or the study was measured again since."""
    if path == whole:
        return False
    try:
        return path.stat().st_mtime_ns < whole.stat().st_mtime_ns
    except FileNotFoundError:
        return True


async def _made(desk: Desk, whole: Path) -> bytes:
    """Return the coarse copy of a volume that was measured before copies were kept. Seconds of work, so it has a thread of its own."""
    volume.refuse_identifiers(whole)
    async with desk.unpacking:
        voxels = await asyncio.to_thread(desk.voxels.get, whole)
        return await asyncio.to_thread(coarse_copy, voxels.header, voxels.values)
