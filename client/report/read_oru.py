"""A radiologist's final report as an HL7 v2.5.1 message ORU^R01, for systems that know nothing newer. For the hospital's own systems."""

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from client.report.read import LOINC_CT_CHEST, ReadDocument, Statement

_ESCAPES = {
    "\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r\n": "\\.br\\", "\n": "\\.br\\", "\r": "\\.br\\",
}  # fmt: skip
"""HL7 v2.5.1, section 2.7. Line ends would end a segment."""

_FINAL, _CORRECTED = "F", "C"
"""Tables 0085 and 0123: a final result, and one that takes the place of a final result."""

_SCHEMES = {"99ACINUS": "L"}
"""Table 0396: a local code system."""


def oru_message(document: ReadDocument, *, site: str, receiver: tuple[str, str] = ("", "")) -> str:
    """Return the message, its segments ended by carriage returns. Its control id is of the very version: the same again is the same message.

    Args:
        document: The report.
        site: The sending facility.
        receiver: The receiving application and facility.
    """
    status = _CORRECTED if document.amended else _FINAL
    lines = [
        *_observations(document.statements),
        ("TX", "impression^Impression^L", escaped(document.impression), ""),
        ("ST", "sha256^Hash that the reader signed^L", document.sha256, ""),
    ]
    segments = [
        ["MSH", "^~\\&", "ACINUS", escaped(site), *map(escaped, receiver), _stamp(document.signed_at), "", "ORU^R01^ORU_R01", document.sha256[:20], "P", "2.5.1",
         *[""] * 5, "UNICODE UTF-8"],
        _pid(document.header),
        _obr(document, status),
        *(["OBX", str(number), kind, name, "", value, unit, *[""] * 4, status] for number, (kind, name, value, unit) in enumerate(lines, start=1)),
    ]  # fmt: skip
    return "".join("|".join(fields).rstrip("|") + "\r" for fields in segments)


def escaped(text: str) -> str:
    r"""Return a text as a field may hold it.

    >>> escaped("a|b^c")
    'a\\F\\b\\S\\c'
    """
    out = text.replace("\r\n", "\n")
    return "".join(_ESCAPES.get(sign, sign if sign.isprintable() else " ") for sign in out)


def _pid(header: Dataset) -> list[str]:
    issuer = escaped(str(header.get("IssuerOfPatientID") or ""))
    number = escaped(str(header.get("PatientID") or ""))
    name = "^".join(escaped(part) for part in str(header.get("PatientName") or "").split("=")[0].split("^")[:5])
    born, sex = str(header.get("PatientBirthDate") or ""), str(header.get("PatientSex") or "")
    return ["PID", "1", "", f"{number}^^^{issuer}" if issuer else number, "", name, "", escaped(born), escaped(sex)]


def _obr(document: ReadDocument, status: str) -> list[str]:
    header = document.header
    placer, filler = (
        escaped(str(header.get(tag) or "")) for tag in ("PlacerOrderNumberImagingServiceRequest", "AccessionNumber")
    )
    begun = escaped(str(header.get("StudyDate") or "") + str(header.get("StudyTime") or "").split(".")[0])
    fields = ["OBR", "1", placer, filler, _coded(LOINC_CT_CHEST), "", "", begun]
    fields += [""] * (22 - len(fields)) + [_stamp(document.signed_at), "", "RAD", status]
    return fields + [""] * (32 - len(fields)) + [f"&{escaped(document.reader)}"]


def _observations(statements: tuple[Statement, ...]) -> list[tuple[str, str, str, str]]:
    """Return type, name, value and unit of each."""
    out = []
    for one in statements:
        if isinstance(one.value, Code):
            out.append(("CE", _coded(one.name), _coded(one.value), ""))
        elif isinstance(one.value, str):
            out.append(("TX", _coded(one.name), escaped(one.value), ""))
        else:
            out.append(
                ("NM", _coded(one.name), f"{one.value:g}", escaped(one.unit.value) if one.unit is not None else "")
            )
    return out


def _coded(code: Code) -> str:
    scheme = _SCHEMES.get(code.scheme_designator, code.scheme_designator)
    return "^".join((escaped(code.value), escaped(code.meaning), scheme))


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S+0000")
