"""Sends a study's volume or mask, or the coarse copy that a reader far away sees first."""

import asyncio
from pathlib import Path
from typing import Literal

from fastapi.responses import Response, StreamingResponse

from client.gateway import volume
from client.gateway.desk import Desk
from client.store.coarse import coarse_copy
from client.store.results import COARSE_CT, COARSE_MASK, CT, MASK

VolumeName = Literal["ct.nii.gz", "mask.nii.gz", "ct-coarse.nii.gz", "mask-coarse.nii.gz"]

_FILES: dict[VolumeName, str] = {
    "ct.nii.gz": CT, "mask.nii.gz": MASK, "ct-coarse.nii.gz": COARSE_CT, "mask-coarse.nii.gz": COARSE_MASK,
}  # fmt: skip
_WHOLE = {COARSE_CT: CT, COARSE_MASK: MASK}

_KIND = "application/gzip"
_INLINE = {"Content-Disposition": "inline"}


async def send_volume(desk: Desk, study_key: str, name: VolumeName) -> Response:
    """Return the answer that carries one of a study's volumes; what holds more than voxels and geometry is refused.

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
        volume.bare(path), media_type=_KIND, headers=_INLINE | {"Content-Length": str(volume.bare_size(path))}
    )


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
