"""Decodes the pixels of chosen slices into Hounsfield units."""

import hashlib
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGExtended12Bit, RLELossless

from client.infer.codestream import claimed_size
from client.infer.slices import Plain, Slice, padding_of
from client.infer.stack import Stack
from client.store.part10 import Content, coded, read_part10, read_place
from protocol.codes import Code
from protocol.errors import InvalidInputError

PADDING_HU = -2048
"""What lies outside the field of view, whatever the scanner wrote there (-3024, -2048, a padding value)."""

AIR_HU = -1024
"""The least value that tissue can have; noise below it is cut off."""

_PADDING_BELOW_HU = -1500
_MOST_HU = 32_767
_RLE_SLACK, _MOST_RLE_BYTES = 4096, 12 << 20
"""RLE grows by one byte in 128 at worst (PS3.5 annex G.3); two bytes become 128 at most, and decoders unpack all of it before they count."""

_TISSUE_HU = (-1100, 3071)
_WORDS = np.iinfo(np.int16)

Plane = NDArray[np.int16]


def fill(stack: Stack) -> NDArray[np.int16]:
    """Return the stack's voxels in HU, (slots, rows, columns); empty slots are interpolated between their neighbours.

    Raises:
        InvalidInputError: `unreadable`, `unsupported-transfer-syntax`.
    """
    out = np.empty(stack.shape, np.int16)
    content, dataset = None, None
    for one, slot in zip(stack.slices, stack.slots, strict=True):
        if one.plain is not None:
            out[slot] = _plain_hu(one, one.plain)
            continue
        if dataset is None or one.content is not content:  # the frames of one object share it
            content, dataset = one.content, read_part10(one.content, pixels=True)
        out[slot] = plane_hu(dataset, one)
    _bridge(out, stack.slots)
    return out


def plane_hu(dataset: FileDataset, one: Slice) -> Plane:
    """Return one slice in HU, (rows, columns).

    Raises:
        InvalidInputError: `unreadable`, `unsupported-transfer-syntax`.
    """
    _require_decoder(dataset)
    with coded("The pixel data"):
        _require_honest_size(dataset, one)
        stored = _decoded(dataset, one)
        if stored.shape != (one.rows, one.columns):
            raise InvalidInputError(Code.UNREADABLE, "The pixel data does not fill the image. Export the series again.")
        return to_hu(stored, slope=one.slope, intercept=one.intercept, padding=padding_of(dataset))


def _plain_hu(one: Slice, plain: Plain) -> Plane:
    """Return one slice in HU whose pixels lie in its file as they are: as `plane_hu`, without reading the header again."""
    words = np.frombuffer(read_place(one.content, plain.place), "<i2" if plain.signed else "<u2")
    if unused := _WORDS.bits - plain.bits:  # whatever a scanner left in them (PS3.5 8.1.1)
        words = (words << unused) >> unused
    stored = words.reshape(one.rows, one.columns)
    with coded("The pixel data"):
        return to_hu(stored, slope=one.slope, intercept=one.intercept, padding=plain.padding)


def to_hu(stored: NDArray[Any], *, slope: float, intercept: float, padding: tuple[int, int] | None) -> Plane:
    """Rescale stored values, cut off what no tissue has, and give all padding one value.

    Args:
        stored: As decoded, integers.
        slope: (0028,1053).
        intercept: (0028,1052).
        padding: Least and greatest stored value that means "no pixel", if the header names any.
    """
    if slope == 1.0 and intercept.is_integer():
        hu = _shifted(stored, int(intercept))
    else:
        hu = np.rint(stored.astype(np.float64) * slope + intercept).astype(np.int32)
    outside = hu < _PADDING_BELOW_HU
    if padding is not None:
        ends = sorted(value * slope + intercept for value in padding)
        if ends[0] < _TISSUE_HU[0] or ends[1] > _TISSUE_HU[1]:  # padding that looks like air or bone is left as it is
            outside |= (stored >= padding[0]) & (stored <= padding[1])
    np.clip(hu, AIR_HU, _MOST_HU, out=hu)
    if outside.any():
        hu[outside] = PADDING_HU
    return hu.astype(np.int16, copy=False)


def _shifted(stored: NDArray[Any], by: int) -> NDArray[Any]:
    """Return `stored` + `by`, in 16 bits where every sum has room in them: half the memory to walk."""
    sums = (int(end) + by for end in (stored.min(), stored.max()))
    if stored.dtype.itemsize == _WORDS.bits // 8 and all(_WORDS.min <= one <= _WORDS.max for one in (by, *sums)):
        narrow = stored.astype(np.int16)  # what does not fit wraps, and wraps back below
        narrow += np.int16(by)
        return narrow
    return stored.astype(np.int32) + np.int32(by)


def pixel_sha256(content: Content) -> str:
    """Return the hash of a file's stored pixel data, to tell copies of one slice from different slices.

    Raises:
        InvalidInputError: `unreadable`.
    """
    dataset = read_part10(content, pixels=True)
    with coded():
        return hashlib.sha256(dataset.PixelData).hexdigest()


def _decoded(dataset: FileDataset, one: Slice) -> NDArray[Any]:
    if "PixelData" not in dataset:
        raise InvalidInputError(Code.UNREADABLE, "The CT object holds no pixel data. Export the series again.")
    if one.frame is None:
        whole: NDArray[Any] = dataset.pixel_array
        return whole
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    return decoder.as_array(dataset, index=one.frame)[0]


def _require_honest_size(dataset: FileDataset, one: Slice) -> None:
    """Refuse a compressed frame that claims another size than the header: decoders would allocate what it claims.

    Raises:
        InvalidInputError: `unreadable`.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" not in dataset or not syntax.is_encapsulated:
        return
    frames = int(dataset.get("NumberOfFrames") or 1)
    frame = get_frame(dataset.PixelData, one.frame or 0, number_of_frames=frames)
    if syntax == RLELossless:
        plain_bytes = one.rows * one.columns * -(-int(dataset.get("BitsAllocated", 16)) // 8)
        honest = len(frame) <= plain_bytes + plain_bytes // 64 + _RLE_SLACK and len(frame) <= _MOST_RLE_BYTES
    else:
        honest = claimed_size(frame) == (one.rows, one.columns)
    if not honest:
        raise InvalidInputError(
            Code.UNREADABLE, "The compressed image has another size than its header. Export it again."
        )


def _require_decoder(dataset: FileDataset) -> None:
    """Ask before decoding whether any decoder is at hand.

    Raises:
        InvalidInputError: `unsupported-transfer-syntax`.
    """
    with coded():
        syntax = dataset.file_meta.TransferSyntaxUID
        try:
            able = get_decoder(syntax).is_available and not _is_extended_12_bit(dataset)
        except NotImplementedError:  # a syntax that pydicom does not know
            able = False
    if not able:
        raise InvalidInputError(
            Code.UNSUPPORTED_TRANSFER_SYNTAX,
            "The pixel data is compressed in a way that is not decoded. Send it uncompressed or in a lossless format.",
        )


def _is_extended_12_bit(dataset: FileDataset) -> bool:
    """No decoder under a permissive licence reads JPEG Extended with 12 bits; GDCM returns rubbish without an error."""
    return dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit and int(dataset.get("BitsStored", 12)) > 8  # noqa: PLR2004


def _bridge(volume: NDArray[np.int16], slots: tuple[int, ...]) -> None:
    """Fill empty slots by linear interpolation between the slices on either side, in place."""
    for before, after in itertools.pairwise(slots):
        for slot in range(before + 1, after):
            share = (slot - before) / (after - before)
            mixed = (1 - share) * volume[before].astype(np.float32) + share * volume[after].astype(np.float32)
            volume[slot] = np.rint(mixed).astype(np.int16)
