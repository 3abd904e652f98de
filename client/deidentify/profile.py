"""The de-identification of CT images after PS3.15 annex E: the basic profile and three options, as one table. Pure.

The table says what *stays*: an attribute that it does not name goes. Options taken: Clean Descriptors (by dropping them), Retain
Longitudinal Temporal Information with Modified Dates, Retain Patient Characteristics. Pixels are cleaned by refusal: an object that may
show a name is not passed on.
"""

from collections.abc import Callable
from datetime import date, timedelta
from enum import Enum, auto
from typing import Protocol

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from protocol.codes import Code
from protocol.errors import InvalidInputError


class Action(Enum):
    """What happens to an attribute (the letters of PS3.15 table E.1-1)."""

    KEEP = auto()
    """K."""
    REMOVE = auto()
    """X."""
    EMPTY = auto()
    """Z: the standard wants it to be there."""
    REPLACE_UID = auto()
    """U."""
    SHIFT = auto()
    """A date, moved by the patient's own number of days."""
    PSEUDONYM = auto()
    """D: a name that stands for the patient."""
    CAP_AGE = auto()
    """Ages of 90 years and more become 90."""
    DESCEND = auto()
    """A sequence whose items are treated in turn."""


class Names(Protocol):
    """The keyed names that take the place of the real ones (`client.deidentify.pseudonyms`)."""

    def uid(self, uid: str) -> str:
        """Return the UID that stands for `uid`."""

    def patient_id(self, patient_id: str, issuer: str = "") -> str:
        """Return the number that stands for a patient."""

    def shift_days(self, patient_id: str, issuer: str = "") -> int:
        """Return by how many days the patient's dates move."""


PROFILE_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
"""(0012,0064), coding scheme DCM."""

_METHOD = "Acinus CT profile 1, PS3.15 annex E"

_EMPTIED = {
    "AccessionNumber", "PatientBirthDate", "ReferringPhysicianName", "StudyID", "PositionReferenceIndicator",
}  # fmt: skip
_TEXTS_KEPT = {
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel", "RescaleType", "FilterMaterial",
    "WindowCenterWidthExplanation", "LUTExplanation", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning",
}  # fmt: skip
_SEQUENCES_KEPT = {
    "AnatomicRegionSequence", "AnatomicRegionModifierSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "FrameVOILUTSequence", "FrameContentSequence", "FrameAnatomySequence", "CTImageFrameTypeSequence", "CTAcquisitionTypeSequence",
    "CTAcquisitionDetailsSequence", "CTTableDynamicsSequence", "CTGeometrySequence", "CTReconstructionSequence", "CTExposureSequence",
    "CTXRayDetailsSequence", "CTPositionSequence", "CTAdditionalXRaySourceSequence", "DerivationImageSequence", "SourceImageSequence",
    "ReferencedImageSequence", "DimensionOrganizationSequence", "DimensionIndexSequence", "PurposeOfReferenceCodeSequence",
    "DerivationCodeSequence", "UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence",
}  # fmt: skip
_NEVER = {
    "PatientBirthTime", "PatientMotherBirthName", "PregnancyStatus", "SmokingStatus", "LastMenstrualDate", "DateOfSecondaryCapture",
    "PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar", "IssueDateOfImagingServiceRequest",
    "IssueTimeOfImagingServiceRequest", "InstanceCoercionDateTime", "DigitalSignatureDateTime", "SOPAuthorizationDateTime",
}  # fmt: skip
_NUMBERS = {"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "CS", "TM"}
_DATES = {"DA", "DT"}
_CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_STANDARD_UID = "1.2.840.10008."
_OLDEST_YEARS = 90
_OVERLAYS, _CURVES = range(0x6000, 0x6100), range(0x5000, 0x5100)
_SCREENS = {"SCREEN SAVE", "SCREEN_SAVE", "SCREENSHOT", "DOSE_INFO"}


def action_for(element: DataElement) -> Action:
    """Return what happens to an attribute; whatever is not known to be harmless is removed."""
    keyword, vr = element.keyword, element.VR
    named = {"PatientName": Action.PSEUDONYM, "PatientID": Action.PSEUDONYM, "PatientAge": Action.CAP_AGE}
    rules: tuple[tuple[bool, Action], ...] = (
        (element.tag.is_private or not keyword or keyword in _NEVER, Action.REMOVE),
        (keyword in named, named.get(keyword, Action.REMOVE)),
        (keyword in _EMPTIED, Action.EMPTY),
        (vr == "SQ" and keyword in _SEQUENCES_KEPT, Action.DESCEND),
        (vr == "UI", Action.REPLACE_UID),
        (vr in _DATES, Action.SHIFT),
        (vr in _NUMBERS or keyword in _TEXTS_KEPT or keyword == "PixelData", Action.KEEP),
    )
    return next((action for holds, action in rules if holds), Action.REMOVE)


def deidentify(dataset: Dataset, names: Names) -> Dataset:
    """Return a copy of a CT object without the person.

    Args:
        dataset: As read; it is not changed.
        names: The site's keyed names.

    Raises:
        InvalidInputError: `not-ct` for other objects, `burned-in` if pixels or overlays may show a name.
    """
    _require_ct(dataset)
    _require_clean_pixels(dataset)
    patient = str(dataset.get("PatientID") or ""), str(dataset.get("IssuerOfPatientID") or "")
    out = _treated(dataset, names, patient)
    out.PatientName = out.PatientID = names.patient_id(*patient)
    for keyword in _EMPTIED - {"PositionReferenceIndicator"}:
        setattr(out, keyword, "")
    _declare(out)
    return out


def shifted(value: str, days: int) -> str:
    """Return a DA or DT value moved by `days`; an empty string if it is no date (then it is not safe to keep)."""
    try:
        day = date(int(value[:4]), int(value[4:6]), int(value[6:8])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return day.strftime("%Y%m%d") + value[8:]


def capped_age(value: str) -> str:
    """Return an age of (0010,1010), 90 years at most: so few are older that the number alone may name them."""
    years = int(value[:3]) if value[:3].isdigit() and value[3:4] == "Y" else 0
    return f"{_OLDEST_YEARS:03d}Y" if years > _OLDEST_YEARS else value


def _treated(dataset: Dataset, names: Names, patient: tuple[str, str]) -> Dataset:
    out = Dataset()
    days = names.shift_days(*patient)
    edits: dict[Action, Callable[[DataElement], object]] = {
        Action.KEEP: lambda element: element.value,
        Action.EMPTY: lambda _element: "",
        Action.PSEUDONYM: lambda _element: names.patient_id(*patient),
        Action.REPLACE_UID: lambda element: _each(element.value, lambda uid: _uid(uid, names)),
        Action.SHIFT: lambda element: _each(element.value, lambda value: shifted(value, days)),
        Action.CAP_AGE: lambda element: capped_age(str(element.value)),
        Action.DESCEND: lambda element: Sequence([_treated(item, names, patient) for item in element.value]),
    }
    for element in dataset:
        action = action_for(element)
        if action is not Action.REMOVE:
            out.add(DataElement(element.tag, element.VR, edits[action](element)))
    return out


def _each(value: object, edit: Callable[[str], str]) -> object:
    if value is None or isinstance(value, str):
        return edit(str(value)) if value else ""
    return [edit(str(one)) for one in value] if hasattr(value, "__iter__") else edit(str(value))


def _uid(uid: str, names: Names) -> str:
    """UIDs that the standard itself defines (SOP classes, syntaxes) say nothing of anybody."""
    return uid if uid.startswith(_STANDARD_UID) else names.uid(uid)


def _require_ct(dataset: Dataset) -> None:
    if dataset.get("SOPClassUID") not in _CT_CLASSES or dataset.get("Modality") != "CT":
        raise InvalidInputError(
            Code.NOT_CT, "Only CT images are de-identified; screens, reports and other objects are left out."
        )


def _require_clean_pixels(dataset: Dataset) -> None:
    words = {str(word).upper() for word in dataset.get("ImageType") or []}
    drawn = any(tag.group in _OVERLAYS or tag.group in _CURVES for tag in dataset.keys())  # noqa: SIM118 - items, not values
    if drawn or words & _SCREENS or str(dataset.get("BurnedInAnnotation") or "").upper() == "YES":
        raise InvalidInputError(
            Code.BURNED_IN,
            "The image may show identifiers in its pixels or overlays. Leave it out, or clean it by hand.",
        )


def _declare(out: Dataset) -> None:
    """Write what was done (PS3.15 E.1.1, PS3.3 C.7.1.1, C.12.1)."""
    out.PatientIdentityRemoved = "YES"
    out.DeidentificationMethod = _METHOD
    out.BurnedInAnnotation = "NO"
    out.LongitudinalTemporalInformationModified = "MODIFIED"
    items = []
    for value, meaning in PROFILE_CODES:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    out.DeidentificationMethodCodeSequence = Sequence(items)
