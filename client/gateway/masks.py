"""Masks that readers corrected: hostile bytes until every voxel is known to be a label on the study's own grid, then a DICOM SEG of the hospital.

The machine's mask stays as it is. A correction becomes a training label only when its reader has signed the report: a draft may still change.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from client.gateway.book import Book
from client.gateway.volume import extent, nifti_header
from client.store.coarse import HEADER_BYTES
from client.store.database import transaction
from client.store.drawn import SIGNATURE
from client.store.files import write_durably
from client.store.part10 import dataset_sha256
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId, Sha256

PACKED_MOST = 16 << 20
"""Bytes of a packed mask. Labels of a whole CT pack to less than one MiB."""

LABEL_MOST = 2
"""0 nothing, 1 ground glass, 2 consolidation."""

Labels = NDArray[np.uint8]

SegmentMaker = Callable[[str, Labels, str], bytes]
"""(study, labels as (slices, rows, columns) on its grid, who drew them): returns a DICOM SEG. Called in a thread of its own."""


class Drawn(Protocol):
    """Where masks wait to become labels (`client.store.drawn`)."""

    def keep(self, study_key: str, spooled: Path, sha256: str, *, decided_by: str | None = None) -> bool:
        """Keep a mask until the worker makes a label of it; False if it is there already."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A reader's mask of a study as the hospital holds it."""

    claim_id: OpaqueId
    study_key: str
    sha256: Sha256
    path: Path


def read_labels(packed: bytes, own: Path) -> Labels:
    """Return the labels that a reader sent, (slices, rows, columns).

    They must come as the study's own mask went out: a gzipped NIfTI-1 file whose header is that mask's, byte for byte. So the grid is the
    same, and no text can come with it. Not a byte more is unpacked than that.

    Args:
        packed: The request's body.
        own: The machine's mask of the study.

    Raises:
        InvalidInputError: `unreadable` if it does not unpack to exactly such a file; `no-label-match` for another grid; `bad-request` for
            other labels.
    """
    header, size = nifti_header(own), extent(own)
    shape = (size.slices, size.rows, size.columns)
    content = _inflated(packed, HEADER_BYTES + int(np.prod(shape)))
    if content[:HEADER_BYTES] != header:
        raise InvalidInputError(
            Code.NO_LABEL_MATCH, "The mask lies on another grid than the study. Draw it on the study."
        )
    labels = np.frombuffer(content, np.uint8, offset=HEADER_BYTES).reshape(shape)
    if labels.max() > LABEL_MOST:
        raise InvalidInputError(Code.BAD_REQUEST, f"The mask holds other labels than 0 to {LABEL_MOST}.")
    return labels


def _inflated(packed: bytes, size: int) -> bytes:
    """Return what one gzip member holds, if that is exactly `size` bytes."""
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)  # 16: a gzip header (zlib's manual, inflateInit2)
    try:
        content = inflater.decompress(packed, size + 1)
    except zlib.error as error:
        raise _not_a_mask() from error
    if len(content) != size or not inflater.eof or inflater.unused_data:
        raise _not_a_mask()
    return content


def _not_a_mask() -> InvalidInputError:
    return InvalidInputError(
        Code.UNREADABLE, "The mask is damaged, or larger or smaller than the study. Send it again."
    )


class Corrections:
    """The corrected masks of one node."""

    def __init__(self, book: Book, folder: Callable[[str], Path]) -> None:
        self._book = book
        self._folder = folder

    def keep(self, claim_id: OpaqueId, study_key: str, segmentation: bytes) -> Correction:
        """Keep a reader's mask beside the study; one that the same claim sent before goes.

        Each lies under a name of its own content, and the row says which one counts: a crash in between leaves the one before as it was.

        Raises:
            UnavailableError: `disk-full`.
        """
        sha256 = dataset_sha256(segmentation)
        kept = Correction(claim_id, study_key, sha256, self._path(claim_id, study_key, sha256))
        write_durably(kept.path, segmentation)
        with transaction(self._book.connection) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO read_masks VALUES (?, ?, ?)", (claim_id, kept.sha256, self._book.now_s())
            )
        for path in self._folder(study_key).glob(f"reader-{claim_id}-*.seg.dcm"):
            if path != kept.path:
                path.unlink(missing_ok=True)
        return kept

    def of_claim(self, claim_id: OpaqueId) -> Correction | None:
        """Return the mask that was sent under a claim, if any."""
        row = self._book.connection.execute(
            "SELECT m.sha256, r.study_key FROM read_masks m JOIN read_claims USING (claim_id)"
            " JOIN read_requests r USING (request_id) WHERE claim_id = ?",
            (claim_id,),
        ).fetchone()
        if row is None:
            return None
        path = self._path(claim_id, row["study_key"], row["sha256"])
        return Correction(claim_id, row["study_key"], row["sha256"], path)

    def hand_to(self, drawn: Drawn, claim_id: OpaqueId) -> bool:
        """Let the mask of a claim whose report is signed become a label; return whether there is one. Twice changes nothing.

        Raises:
            UnavailableError: `disk-full`.
        """
        correction = self.of_claim(claim_id)
        if correction is None or not correction.path.exists():
            return False
        drawn.keep(correction.study_key, correction.path, correction.sha256, decided_by=SIGNATURE)
        return True

    def _path(self, claim_id: OpaqueId, study_key: str, sha256: Sha256) -> Path:
        return self._folder(study_key) / f"reader-{claim_id}-{sha256[:16]}.seg.dcm"


def volumes_ml(labels: Labels, own: Path) -> dict[str, float]:
    """Return how much of each label there is, in ml: what the page shows of a correction."""
    header = nifti_header(own)
    voxel_ml = float(np.prod(np.frombuffer(header, "<f4", 3, offset=80).astype(np.float64))) / 1000
    counts = np.bincount(labels.ravel(), minlength=LABEL_MOST + 1)
    return {"ground_glass_ml": round(counts[1] * voxel_ml, 1), "consolidation_ml": round(counts[2] * voxel_ml, 1)}
