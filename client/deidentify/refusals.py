"""Which objects are not passed on at all, each by the name of its kind: what may show a person in a picture is refused, not cleaned. Pure.

PS3.15 E.3.1 (Clean Pixel Data) leaves the method open. Ours is refusal: reading text off pixels misses some, and a missed one is a name.
"""

from collections.abc import Callable
from math import prod

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from client.deidentify.own import OwnIdentifiers
from protocol.codes import Code
from protocol.errors import InvalidInputError

CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_REPORTS, _DOCUMENTS = "1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.104."
_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
_CURVES, _OVERLAYS = range(0x5000, 0x5100), range(0x6000, 0x6100)
_SCREEN_WORDS = {"SCREEN", "SCREENSAVE", "SCREENSHOT", "DOSE", "PROT", "PROTOCOL", "REPORT", "SUMMARY"}
"""In Image Type: GE and Philips write SCREEN SAVE and DOSE_INFO, Siemens ends with PROT."""
_SCREEN_PHRASES = (
    "dose report", "dose info", "dose record", "dose summary", "dose sheet", "dosereport", "patient protocol", "patientprotokoll",
    "exam protocol", "screen save", "screensave", "screen shot", "screenshot", "screen cap", "exam summary", "examination summary",
)  # fmt: skip
"""In descriptions of series whose pictures are pages of text."""
_PADDING = 2
"""Bytes that follow a picture in files of old senders."""
_GREY = ("MONOCHROME1", "MONOCHROME2")

_COLOURED = ("COLOR", "MIXED", "COLOR_RANGE", "COLOR_REF")

_Rule = tuple[Code, str, Callable[[Dataset], bool]]


def require_clean(dataset: Dataset, own: OwnIdentifiers) -> None:
    """Let only CT images pass whose picture is not known or likely to show a person.

    Args:
        dataset: As read, pixels included.
        own: The identifiers of its header.

    Raises:
        InvalidInputError: The code of the first kind in `_RULES` that the object is.
    """
    for code, sentence, holds in _RULES:
        if holds(dataset):
            raise InvalidInputError(code, sentence)
    if own.stand_in(dataset.get("PixelData") or b""):
        raise InvalidInputError(
            Code.BURNED_IN,
            "The pixel data spells an identifier of the header. Leave the image out, or clean it by hand.",
        )


def require_known_pixels(dataset: Dataset, syntax: UID) -> None:
    """Refuse pixel data that may hold more than a picture: coded in a maker's own way, or longer than rows and columns say.

    Args:
        dataset: As read, pixels included.
        syntax: Its transfer syntax.

    Raises:
        InvalidInputError: `unsupported-transfer-syntax`, `unreadable`.
    """
    if syntax.type != "Transfer Syntax":
        raise InvalidInputError(
            Code.UNSUPPORTED_TRANSFER_SYNTAX,
            "The file is coded in a maker's own way. Send it in a syntax of the standard.",
        )
    sizes = [int(dataset.get(keyword) or 1) for keyword in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")]
    expected = prod(sizes) * int(dataset.get("BitsAllocated") or 8) / 8
    if not syntax.is_compressed and len(dataset.get("PixelData") or b"") > expected + _PADDING:
        raise InvalidInputError(
            Code.UNREADABLE,
            "The pixel data is longer than the picture, and what else it holds is unknown. Send the series again.",
        )


def _is_class(root: str) -> Callable[[Dataset], bool]:
    return lambda dataset: str(dataset.get("SOPClassUID") or "").startswith(root)


def _is_capture(dataset: Dataset) -> bool:
    uid = str(dataset.get("SOPClassUID") or "")
    return uid == _CAPTURES or uid.startswith(_CAPTURES + ".") or bool(dataset.get("ConversionType"))


def _is_no_ct(dataset: Dataset) -> bool:
    return dataset.get("SOPClassUID") not in CT_CLASSES or dataset.get("Modality") != "CT"


def _is_screen(dataset: Dataset) -> bool:
    image_type = dataset.get("ImageType") or []
    values = [image_type] if isinstance(image_type, str) else image_type
    words = {word for value in values for word in str(value).upper().replace("_", " ").split()}
    said = " ".join(str(dataset.get(keyword) or "") for keyword in ("SeriesDescription", "ProtocolName")).lower()
    grey = (
        str(dataset.get("PhotometricInterpretation") or _GREY[1]) in _GREY
        and dataset.get("PixelPresentation") not in _COLOURED
    )
    return (
        not grey or bool(words & _SCREEN_WORDS) or any(phrase in said.replace("_", " ") for phrase in _SCREEN_PHRASES)
    )


def _has_group(groups: range) -> Callable[[Dataset], bool]:
    return lambda dataset: any(tag.group in groups and tag.group % 2 == 0 for tag in dataset.keys())  # noqa: SIM118 - items, not values


def _is_burned_in(dataset: Dataset) -> bool:
    burned = str(dataset.get("BurnedInAnnotation") or "NO").strip().upper()
    recognizable = str(dataset.get("RecognizableVisualFeatures") or "NO").strip().upper()
    return burned != "NO" or recognizable != "NO"


_RULES: tuple[_Rule, ...] = (
    (
        Code.STRUCTURED_REPORT,
        "A structured report names its patient in text. Export the CT series alone.",
        _is_class(_REPORTS),
    ),
    (
        Code.ENCAPSULATED_DOCUMENT,
        "A document is inside the object, and documents are not read. Export the CT series alone.",
        lambda dataset: _is_class(_DOCUMENTS)(dataset) or "EncapsulatedDocument" in dataset,
    ),
    (
        Code.SECONDARY_CAPTURE,
        "A secondary capture may show names in its picture. Export the CT series alone.",
        _is_capture,
    ),
    (Code.NOT_CT, "Only CT images are de-identified. Export the CT series alone.", _is_no_ct),
    (
        Code.OVERLAY,
        "The image has an overlay, which may spell a name. Leave it out, or remove the overlay.",
        _has_group(_OVERLAYS),
    ),
    (
        Code.CURVE,
        "The image has a curve, which may spell a name. Leave it out, or remove the curve.",
        _has_group(_CURVES),
    ),
    (
        Code.SCREEN,
        "The image is a screen or a page of dose figures, which shows its patient's name. Leave it out.",
        _is_screen,
    ),
    (
        Code.BURNED_IN,
        "The sender says that the picture shows identifiers or a face. Leave it out, or clean it by hand.",
        _is_burned_in,
    ),
)
