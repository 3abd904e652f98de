"""What happens to each attribute: PS3.15 table E.1-1 first, a list of what may stay for everything that the table does not name. Pure.

Options taken: Clean Descriptors (by dropping), Retain Longitudinal Temporal Information with Modified Dates, Retain Patient
Characteristics, and where the hospital asks for it Retain Device Identity. Pixel data is cleaned by refusal (`refusals.py`).

Two letters or more (`X/Z/D`) are resolved by the attribute's Type in the object (PS3.15 E.1.1): D for Type 1, Z for Type 2, X
otherwise. A single Z or D is treated alike, so an attribute that the CT objects do not demand always goes; nothing becomes weaker than
the table says. `U*`, a sequence of references, always keeps its items with their UIDs replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from client.deidentify.refusals import CT_CLASSES
from client.deidentify.table import ConfidentialityTable, Row
from client.deidentify.vocabulary import CODE_WORDS, ETHNIC_WORDS, ORIENTATION_WORDS, TEXT_WORDS


class Action(Enum):
    """What happens to an attribute, with the letter of table E.1-1."""

    REMOVE = auto()
    """X. Where the object demands the attribute it becomes empty (Type 2) or a dummy (Type 1)."""
    EMPTY = auto()
    """Z."""
    DUMMY = auto()
    """D."""
    REPLACE_UID = auto()
    """U."""
    PSEUDONYM = auto()
    """D for the patient's name and number: what stands for the patient at every occasion."""
    SHIFT = auto()
    """C of the modified dates: dates move by the patient's own number of days, times of day stay."""
    KEEP = auto()
    """K, if the value has its VR's proper shape and is made of known words."""
    KEEP_VERBATIM = auto()
    """K for what has no words: pixels, and the device's names that a hospital chose to keep."""
    DESCEND = auto()
    """A sequence whose items are treated in turn."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a hospital may choose."""

    keep_device: bool = False
    """Retain Device Identity (113109): serial number, station name, device UID, calibration."""


PROFILE_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
"""(0012,0064), coding scheme DCM (PS3.16 CID 7050)."""
DEVICE_CODE = ("113109", "Retain Device Identity Option")

ALWAYS_THERE = (
    "AccessionNumber", "PatientBirthDate", "PatientSex", "ReferringPhysicianName", "StudyDate", "StudyID", "StudyTime",
)  # fmt: skip
"""Type 2 in modules that every CT object has, besides the patient's name and number (PS3.3 C.7.1.1, C.7.2.1)."""
_TYPES_OF_ALL = dict.fromkeys((*ALWAYS_THERE, "PatientName", "PatientID"), 2) | {
    "PositionReferenceIndicator": 2, "Manufacturer": 2, "ContrastBolusAgent": 2, "Laterality": 2, "PatientPosition": 2,
    "PatientOrientation": 2, "ImageType": 1,
}  # fmt: skip
_TYPES_OF_ENHANCED = {
    "ContentDate": 1, "ContentTime": 1, "DeviceSerialNumber": 1, "Manufacturer": 1, "ManufacturerModelName": 1, "SoftwareVersions": 1,
    "AcquisitionContextSequence": 2,
}  # fmt: skip
"""Of an enhanced CT or a converted one (PS3.3 C.7.5.2, C.7.6.14, C.8.15.2)."""

DUMMIES = {"DA": "19000101", "TM": "000000", "CS": "OTHER", "LO": "REMOVED", "SH": "REMOVED"}
"""By VR: what stands where the object demands a value and the source's cannot stay."""

_SEQUENCES = {
    "AnatomicRegionSequence", "AnatomicRegionModifierSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "FrameVOILUTSequence", "FrameContentSequence", "FrameAnatomySequence", "CTImageFrameTypeSequence", "CTAcquisitionTypeSequence",
    "CTAcquisitionDetailsSequence", "CTTableDynamicsSequence", "CTGeometrySequence", "CTReconstructionSequence", "CTExposureSequence",
    "CTXRayDetailsSequence", "CTPositionSequence", "CTAdditionalXRaySourceSequence", "DerivationImageSequence", "SourceImageSequence",
    "ReferencedImageSequence", "DimensionOrganizationSequence", "DimensionIndexSequence", "PurposeOfReferenceCodeSequence",
    "DerivationCodeSequence", "UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence",
    "CTDIPhantomTypeCodeSequence", "IrradiationEventIdentificationSequence", "CardiacSynchronizationSequence",
    "RespiratorySynchronizationSequence", "TemporalPositionSequence", "ConversionSourceAttributesSequence", "ReferencedSeriesSequence",
    "ReferencedInstanceSequence", "ReferencedSOPSequence", "StudiesContainingOtherReferencedInstancesSequence",
    "SourceImageEvidenceSequence", "ReferencedImageEvidenceSequence", "ContrastBolusUsageSequence",
}  # fmt: skip
"""Sequences of geometry, technique and references that the table does not name; any other one goes."""
_TEXTS = {
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel", "FilterType", "RescaleType",
    "WindowCenterWidthExplanation", "StackID", "ContrastBolusRoute", "PositionReferenceIndicator",
}  # fmt: skip
"""Texts that the table does not name and that tell how an image was made; their words are checked."""
_NUMBERS = {"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "US or SS"}
_TIMES = {"DA", "DT", "TM"}
_PIXELS = {"PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"}
_ZONE = "TimezoneOffsetFromUTC"
_COMMAND_AND_FILE_GROUPS = {0x0000, 0x0002, 0x0004}
"""Not of a data set: messages, file meta, directories."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The table with the options that are taken."""

    table: ConfidentialityTable
    options: Options

    def action(self, tag: int, keyword: str, vr: str, required: int = 3) -> Action:
        """Return what happens to an attribute.

        Args:
            tag: Group and element in 32 bits.
            keyword: PS3.6's; empty for an unknown attribute.
            vr: As the file has it.
            required: The attribute's Type in this object and place: 1, 2 or 3.
        """
        row = self.table.row(tag)
        if not keyword or tag >> 16 in _COMMAND_AND_FILE_GROUPS or not tag & 0xFFFF:
            return Action.REMOVE
        if row is None:
            return _unnamed(keyword, vr)
        if keyword in {"PatientName", "PatientID"}:
            return Action.PSEUDONYM if required < 3 else Action.REMOVE  # noqa: PLR2004 - Type 3
        return self._retained(row, keyword, vr) or _resolved(row.basic, required)

    def codes(self) -> tuple[tuple[str, str], ...]:
        """Return what (0012,0064) declares."""
        return (*PROFILE_CODES, DEVICE_CODE) if self.options.keep_device else PROFILE_CODES

    def _retained(self, row: Row, keyword: str, vr: str) -> Action | None:
        """Return what an option makes of the attribute; `None` where no option says more than the basic profile."""
        if row.options.get("modified-dates") == "C" and (vr in _TIMES or keyword == _ZONE):
            return Action.SHIFT
        if self.options.keep_device and row.options.get("device") == "K":
            return Action.DESCEND if vr == "SQ" else Action.KEEP_VERBATIM
        return Action.KEEP if row.options.get("characteristics") == "K" else None


def types_of(sop_class: str) -> Mapping[str, int]:
    """Return the Types of the attributes that this profile touches and a CT object demands; all others are Type 3."""
    return _TYPES_OF_ALL if sop_class == CT_CLASSES[0] else _TYPES_OF_ALL | _TYPES_OF_ENHANCED


def words_of(keyword: str, vr: str) -> frozenset[str]:
    """Return the words that a text which stays may hold."""
    own = {"EthnicGroup": ETHNIC_WORDS, "PatientOrientation": ORIENTATION_WORDS}
    return own.get(keyword, CODE_WORDS if vr == "CS" else TEXT_WORDS)


def _resolved(code: str, required: int) -> Action:
    letters = set(code.split("/"))
    if letters & {"U", "U*"}:
        return Action.DESCEND if "U*" in letters else Action.REPLACE_UID
    by_type = {1: (("D", Action.DUMMY), ("Z", Action.EMPTY)), 2: (("Z", Action.EMPTY), ("D", Action.DUMMY))}
    return next((action for letter, action in by_type.get(required, ()) if letter in letters), Action.REMOVE)


def _unnamed(keyword: str, vr: str) -> Action:
    rules = (
        (vr == "SQ" and keyword in _SEQUENCES, Action.DESCEND),
        (vr == "UI", Action.REPLACE_UID),
        (vr in _TIMES, Action.SHIFT),
        (keyword in _PIXELS, Action.KEEP_VERBATIM),
        (vr in _NUMBERS or vr == "CS" or keyword in _TEXTS, Action.KEEP),
    )
    return next((action for holds, action in rules if holds), Action.REMOVE)
