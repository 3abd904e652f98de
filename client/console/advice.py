"""What a person can do about a study or an instance that cannot be used. The codes' meanings stand in `protocol.codes`."""

from protocol.codes import MEANINGS, Code

_NEXT = {
    Code.NOT_CT: "Nothing to do: this node measures CT only. Send chest CT, or discard it.",
    Code.NOT_HU: "Send the original series from the scanner; derived, 8-bit or label images cannot be measured.",
    Code.NO_LUNG: "Check that the study shows the chest; send the series that covers both lungs.",
    Code.GANTRY_TILT: "A tilted gantry cannot be measured. Send a reconstruction without tilt, if the scanner can make one.",
    Code.MISSING_SLICES: "Send the series again from the PACS: some slices did not arrive. It is then measured by itself.",
    Code.LOCALIZER: "Only a localizer arrived. Send the series of cross-sections.",
    Code.UNREADABLE: "Send it again from the PACS. If it stays damaged, the copy there is damaged too: discard it here.",
    Code.UNSUPPORTED_TRANSFER_SYNTAX: "Let the PACS send it uncompressed, or in JPEG-LS, JPEG 2000 or JPEG Lossless.",
    Code.MIXED_GEOMETRY: "The slices do not stack. Send one axial series with one matrix and one orientation.",
    Code.NOT_AXIAL: "Send the axial series; reformats are not measured.",
    Code.BURNED_IN: "The image may show a name. It stays here; send the series without burned-in text.",
    Code.STRUCTURED_REPORT: "A report may name the patient and holds no image. Send the CT series.",
    Code.ENCAPSULATED_DOCUMENT: "A document may name the patient and holds no image. Send the CT series.",
    Code.SECONDARY_CAPTURE: "A captured screen may show a name. Send the original CT series.",
    Code.SCREEN: "A saved screen may show a name. Send the original CT series.",
    Code.OVERLAY: "An overlay may show a name. Send the series without it.",
    Code.CURVE: "A curve may hold text. Send the series without it.",
    Code.NO_LABEL_MATCH: "Draw the mask on the study's own slices, or bring it in by hand: `acinus-node label import --study KEY --resample`.",
    Code.MACHINE_MADE: "Nothing to do: it was not drawn or corrected by a person. If it was, bring it in by hand: `acinus-node label import`.",
    Code.ALREADY_EXISTS: "Other bytes came before under the same UID and count. If these are right, correct the UID at the source.",
    Code.STUDY_DELETED: "The study was deleted on request and is not taken in again. Discard it.",
    Code.NODE_FAULT: "Measuring it failed five times. Measure it again after an update; if it fails, report it with the node's log.",
    Code.DISK_FULL: "Free some space, then try it again.",
}

FALLBACK = "Look the code up in the list of codes, put the cause right, and try again."


def meaning(code: str) -> str:
    """Return what a code says."""
    return MEANINGS[Code(code)][1] if code in set(Code) else "An unknown code."


def next_step(code: str) -> str:
    """Return what to do about it."""
    return _NEXT.get(Code(code), FALLBACK) if code in set(Code) else FALLBACK
