"""The voxels of a study as the gateway reads them: unpacked once, within the bounds that the header states, and seen slice by slice."""

import gzip
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.gateway.volume import nifti_header, unreadable
from client.store.coarse import HEADER_BYTES, Volume
from client.store.files import disk_faults

_DTYPES: dict[int, np.dtype[Any]] = {4: np.dtype("<i2"), 2: np.dtype("u1")}
"""NIfTI datatype codes that the store writes: Hounsfield units and labels."""

_VOXELS_MOST = 1 << 30
_CHUNK_BYTES = 1 << 20
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Voxels:
    """A volume in memory that the system may drop and read again.

    Attributes:
        header: The first 352 bytes of its file.
        values: (slices, rows, columns), read only.
    """

    header: bytes
    values: Volume

    @property
    def affine(self) -> NDArray[np.float64]:
        """From (column, row, slice) to LPS in mm, (4, 4)."""
        rows = np.array(struct.unpack_from("<12f", self.header, 280), np.float64).reshape(3, 4)
        return np.asarray(_RAS_TO_LPS @ np.vstack([rows, [0.0, 0.0, 0.0, 1.0]]), np.float64)


def unpack(path: Path) -> Voxels:
    """Return the voxels of a `.nii.gz` file of the store. No byte more is unpacked than its header states.

    The unpacked copy is a file without a name beside the packed one: it lies where the images lie and goes with the process.

    Raises:
        InvalidInputError: `unreadable` if it is damaged, or not what the store writes.
        UnavailableError: `disk-full`.
    """
    header = nifti_header(path)
    dims, (datatype,) = struct.unpack_from("<4h", header, 40), struct.unpack_from("<h", header, 70)
    columns, rows, slices = dims[1:]
    if datatype not in _DTYPES or min(dims) < 1 or columns * rows * slices > _VOXELS_MOST:
        raise unreadable()
    dtype, shape = _DTYPES[datatype], (slices, rows, columns)
    size = slices * rows * columns * dtype.itemsize
    with disk_faults(), tempfile.TemporaryFile(dir=path.parent) as file:
        for chunk in _unpacked(path, size):
            file.write(chunk)
        file.flush()
        return Voxels(header, np.memmap(file, dtype, "r", shape=shape))


def _unpacked(path: Path, size: int) -> Iterator[bytes]:
    """Yield the `size` bytes that follow the header, and make sure that they are all there.

    Raises:
        InvalidInputError: `unreadable`.
    """
    left = size
    try:
        with gzip.open(path) as packed:
            packed.read(HEADER_BYTES)
            while left and (chunk := packed.read(min(_CHUNK_BYTES, left))):
                yield chunk
                left -= len(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable() from error
    if left:
        raise unreadable()


class VoxelShelf:
    """Keeps the volumes that were unpacked last: a viewer asks for one slice after the other."""

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._kept: dict[tuple[Path, int, int], Voxels] = {}

    def get(self, path: Path) -> Voxels:
        """Return the voxels of `path`, unpacked if they are not at hand or the file has changed since.

        Raises:
            InvalidInputError: `unreadable`.
            UnavailableError: `disk-full`.
        """
        try:
            state = path.stat()
        except OSError as error:
            raise unreadable() from error
        key = (path, state.st_mtime_ns, state.st_size)
        voxels = self._kept.pop(key, None) or unpack(path)
        while len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = voxels
        return voxels
