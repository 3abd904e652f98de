"""What a DICOM header says of one cross-section: where it lies, what its numbers mean, how it was made."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from client.store.part10 import Content, Place, coded, read_header, read_part10
from protocol.codes import Code
from protocol.errors import InvalidInputError

Vector = tuple[float, float, float]

MOST_EDGE, MOST_FRAMES, MOST_PIXEL_BYTES = 4096, 8192, 1 << 30
"""Bounds on Rows and Columns, NumberOfFrames and the decoded size of one object, checked before anything is allocated."""

MOST_VOXELS = 1 << 30
"""Bound on a volume, whatever it comes as: 1024 x 1024 x 1024. A chest of 512 x 512 pixels every 0.5 mm has a fifth of it."""

TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "FrameType",
    "InstanceNumber", "SeriesNumber", "AcquisitionNumber", "BodyPartExamined", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "Manufacturer", "ConvolutionKernel", "ContrastBolusAgent", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
"""All that is read of a header before its series is chosen."""

_MULTI_FRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_HOUNSFIELD = re.compile(r"(HU|US|HOUND?SFIELD.*)?")
"""Rescale Type (0028,1054): for CT an absent or unspecified type is HU (PS3.3 C.8.2.1); some makers write the word, misspelt."""

_LEAST_BITS, _WORD_BITS = 9, 16
_UNIT_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Plain:
    """How to take the pixels of a slice from its file as they lie there: words of 16 bits, little endian, of which `bits` count.

    `padding` holds the least and the greatest stored value that mean "no pixel".
    """

    place: Place
    signed: bool
    bits: int
    padding: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One cross-section. `across` runs along a row (towards higher columns), `down` along a column."""

    content: Content
    frame: int | None
    study_uid: str
    series_uid: str
    instance_uid: str
    number: int
    series_number: int
    acquisition: int
    position_mm: Vector
    across: Vector
    down: Vector
    row_mm: float
    column_mm: float
    thickness_mm: float | None
    rows: int
    columns: int
    slope: float
    intercept: float
    image_type: tuple[str, ...]
    manufacturer: str
    kernel: str
    contrast: bool
    body_part: str
    plain: Plain | None = None
    """Without it a decoder has to read the object."""


def read_slices(content: Content) -> list[Slice]:
    """Return the cross-sections in one DICOM file.

    Raises:
        InvalidInputError: `unreadable`, `not-ct`, `localizer`, `not-hu`.
    """
    header, place = read_header(content, TAGS)
    with coded():
        _require_ct(header, content)
        _require_cross_section(header)
        _require_hounsfield(header)
        _require_bounds(header)
        plain = _plain(header, place)
        return [_slice(content, header, groups, frame, plain) for frame, groups in _frames(header)]


def padding_of(header: Dataset) -> tuple[int, int] | None:
    """Return the stored values that mean "no pixel": (0028,0120) and, for a range, (0028,0121)."""
    value = header.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    limit = header.get("PixelPaddingRangeLimit")
    ends = sorted((int(value), int(limit if limit not in {None, ""} else value)))
    return ends[0], ends[1]


def _plain(header: Dataset, place: Place | None) -> Plain | None:
    """Say how the pixels of a single cross-section can be taken as they are; `None` for all that is out of the ordinary."""
    if place is None or header.get("SOPClassUID") in _MULTI_FRAME or "NumberOfFrames" in header:
        return None
    try:
        with coded():
            return _usual(header, place)
    except InvalidInputError:  # the decoder looks at it again, and says what is wrong
        return None


def _usual(header: Dataset, place: Place) -> Plain | None:
    allocated, bits, high, signed, samples = (
        header.get(word)
        for word in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel")
    )
    words = allocated == _WORD_BITS and bits in range(_LEAST_BITS, _WORD_BITS + 1) and high == bits - 1
    size = int(header.Rows) * int(header.Columns) * _WORD_BITS // 8
    if not words or samples != 1 or signed not in {0, 1} or place.length != size:
        return None
    return Plain(place, bool(signed), int(bits), padding_of(header))


def _require_ct(header: Dataset, content: Content) -> None:
    """Only CT image objects hold what we measure; a header without a SOP class must at least say CT."""
    sop_class = header.get("SOPClassUID", CTImageStorage)
    if header.get("Modality") == "CT" and sop_class in (CTImageStorage, *_MULTI_FRAME):
        return
    if header.get("Modality") == "CT" and "PixelData" not in read_part10(content, pixels=True):
        raise InvalidInputError(Code.UNREADABLE, "The object says CT and holds no pixel data. Export the series again.")
    raise InvalidInputError(Code.NOT_CT, "The object is not a CT image. Send a chest CT series.")


def _require_cross_section(header: Dataset) -> None:
    if "LOCALIZER" in _words(header, "ImageType"):
        raise InvalidInputError(Code.LOCALIZER, "The image is a localizer (scout). Send the cross-sections.")


def _require_hounsfield(header: Dataset) -> None:
    """Refuse what cannot be HU by its own header; whether the values are plausible is seen later."""
    grey = header.get("PhotometricInterpretation") == "MONOCHROME2" and int(header.get("SamplesPerPixel", 1)) == 1
    if not grey or int(header.get("BitsStored", 16)) < _LEAST_BITS or not _is_hounsfield(header.get("RescaleType")):
        raise _not_hounsfield()


def _is_hounsfield(rescale_type: object) -> bool:
    return bool(_HOUNSFIELD.fullmatch(str(rescale_type or "").strip().upper()))


def _not_hounsfield() -> InvalidInputError:
    return InvalidInputError(
        Code.NOT_HU, "The pixels are no Hounsfield units (8-bit, colour or another scale). Send the original series."
    )


def _require_bounds(header: Dataset) -> None:
    rows, columns = (int(header.get(word) or 0) for word in ("Rows", "Columns"))
    frames = int(header.get("NumberOfFrames") or 1)
    sample_bytes = -(-int(header.get("BitsAllocated", 16)) // 8)
    inside = 1 <= rows <= MOST_EDGE and 1 <= columns <= MOST_EDGE and 1 <= frames <= MOST_FRAMES
    if not inside or rows * columns * frames * sample_bytes > MOST_PIXEL_BYTES:
        raise InvalidInputError(
            Code.UNREADABLE, "The header claims an image larger than any CT. The file is damaged; export it again."
        )


def _frames(header: Dataset) -> Iterator[tuple[int | None, list[Dataset]]]:
    """Yield (frame, places to look for attributes, nearest first): the header itself, or the functional groups of each frame."""
    if header.get("SOPClassUID") not in _MULTI_FRAME:
        yield None, [header]
        return
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    own = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    if len(own) != int(header.get("NumberOfFrames", 1)):
        raise InvalidInputError(Code.UNREADABLE, "The frames of the object are not all described. Export it again.")
    for index, groups in enumerate(own):
        yield index, [*_opened(groups), *(inner for group in shared for inner in _opened(group)), header]


def _opened(groups: Dataset) -> list[Dataset]:
    """Return the first item of each functional group: attributes lie one level down (PS3.3 C.7.6.16)."""
    return [element.value[0] for element in groups if element.VR == "SQ" and len(element.value)]


def _slice(content: Content, header: Dataset, places: list[Dataset], frame: int | None, plain: Plain | None) -> Slice:
    def find(keyword: str) -> object:
        return next((value for place in places if (value := place.get(keyword)) is not None), None)

    across, down = _directions(find("ImageOrientationPatient"))
    row_mm, column_mm = _numbers(find("PixelSpacing"), 2)
    thickness = find("SliceThickness")
    if frame is not None and "LOCALIZER" in [str(word).upper() for word in _listed(find("FrameType"))]:
        raise InvalidInputError(Code.LOCALIZER, "The image is a localizer (scout). Send the cross-sections.")
    if not _is_hounsfield(find("RescaleType")):  # of a frame: its header does not say it
        raise _not_hounsfield()
    slope, intercept = find("RescaleSlope"), find("RescaleIntercept")
    return Slice(
        content=content, frame=frame, study_uid=str(header.get("StudyInstanceUID", "")),
        series_uid=str(header.get("SeriesInstanceUID", "")), instance_uid=str(header.get("SOPInstanceUID", "")),
        number=_whole(header.get("InstanceNumber")), series_number=_whole(header.get("SeriesNumber")),
        acquisition=_whole(header.get("AcquisitionNumber")),
        position_mm=_vector(find("ImagePositionPatient")), across=across, down=down,
        row_mm=_positive(row_mm), column_mm=_positive(column_mm),
        thickness_mm=float(str(thickness)) if thickness not in {None, ""} else None,
        rows=int(header.Rows), columns=int(header.Columns),
        slope=1.0 if slope in {None, ""} else float(str(slope)),
        intercept=0.0 if intercept in {None, ""} else float(str(intercept)),
        image_type=tuple(_words(header, "ImageType")), manufacturer=str(header.get("Manufacturer") or ""),
        kernel=str(_first(find("ConvolutionKernel"))), contrast=bool(str(header.get("ContrastBolusAgent") or "").strip()),
        body_part=str(header.get("BodyPartExamined") or "").strip().upper(), plain=plain,
    )  # fmt: skip


def _directions(value: object) -> tuple[Vector, Vector]:
    """Return the unit vectors of (0020,0037).

    Raises:
        InvalidInputError: `unreadable` if they are not two unit vectors at a right angle.
    """
    numbers = _numbers(value, 6)
    across, down = (numbers[0], numbers[1], numbers[2]), (numbers[3], numbers[4], numbers[5])
    products = (_dot(across, across) - 1, _dot(down, down) - 1, _dot(across, down))
    if any(abs(product) > _UNIT_TOLERANCE for product in products):
        raise InvalidInputError(Code.UNREADABLE, "The orientation in the header is damaged. Export the series again.")
    return across, down


def _vector(value: object) -> Vector:
    x, y, z = _numbers(value, 3)
    return x, y, z


def _numbers(value: object, count: int) -> list[float]:
    """Return `count` finite numbers.

    Raises:
        InvalidInputError: `unreadable` if there are fewer.
    """
    numbers = [float(str(one)) for one in _listed(value)]
    if len(numbers) != count or not all(abs(number) < 1e6 for number in numbers):  # noqa: PLR2004 - a kilometre
        raise InvalidInputError(
            Code.UNREADABLE, "The header does not say where the slice lies. Send the original series, not a copy of it."
        )
    return numbers


def _positive(value: float) -> float:
    if not 0.01 <= value <= 50:  # noqa: PLR2004 - mm: from micro-CT to nonsense
        raise InvalidInputError(Code.UNREADABLE, "The pixel spacing in the header is damaged. Export the series again.")
    return value


def _whole(value: object) -> int:
    text = str(value if value is not None else "").strip()
    return int(text) if text.lstrip("+-").isdigit() else 0


def _words(header: Dataset, keyword: str) -> list[str]:
    return [str(word).upper() for word in _listed(header.get(keyword))]


def _listed(value: object) -> list[object]:
    if value is None or value == "":
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]


def _first(value: object) -> object:
    listed = _listed(value)
    return listed[0] if listed else ""


def _dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
