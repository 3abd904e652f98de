"""A radiologist's final report as a FHIR R4 DiagnosticReport, its statements as contained Observations. For the hospital's own systems."""

from datetime import datetime
from typing import Any

from pydicom.sr.coding import Code

from client.report.read import LOINC_CT_CHEST, ReadDocument, Statement

_SYSTEMS = {
    "LN": "http://loinc.org", "SCT": "http://snomed.info/sct", "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org", "99ACINUS": "urn:acinus:codes",
}  # fmt: skip

Resource = dict[str, Any]


def diagnostic_report(document: ReadDocument) -> Resource:
    """Return the resource as JSON-ready values."""
    observations = [_observation(number, one, document) for number, one in enumerate(document.statements, start=1)]
    return {
        "resourceType": "DiagnosticReport",
        "contained": observations,
        "identifier": [
            {"system": "urn:acinus:read", "value": document.claim_id}, {"system": "urn:acinus:report-sha256", "value": document.sha256},
        ],
        "basedOn": [{"type": "ServiceRequest", "identifier": {"value": number}} for number in _orders(document)],
        "status": "amended" if document.amended else "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD", "display": "Radiology"}]}],
        "code": _concept(LOINC_CT_CHEST),
        "subject": _subject(document),
        "issued": _instant(document.signed_at),
        "resultsInterpreter": [{"type": "Practitioner", "display": document.reader}],
        "result": [{"reference": f"#{one['id']}"} for one in observations],
        "imagingStudy": [
            {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{document.header.get('StudyInstanceUID', '')}"}}
        ],
        "conclusion": document.impression,
    }  # fmt: skip


def _observation(number: int, one: Statement, document: ReadDocument) -> Resource:
    return {
        "resourceType": "Observation", "id": f"o{number}", "status": "final", "code": _concept(one.name),
        "subject": _subject(document), **_value(one),
    }  # fmt: skip


def _value(one: Statement) -> Resource:
    if isinstance(one.value, Code):
        return {"valueCodeableConcept": _concept(one.value)}
    if isinstance(one.value, str):
        return {"valueString": one.value}
    unit = {} if one.unit is None else {"unit": one.unit.meaning, "system": _SYSTEMS["UCUM"], "code": one.unit.value}
    return {"valueQuantity": {"value": one.value, **unit}}


def _concept(code: Code) -> Resource:
    system = _SYSTEMS[code.scheme_designator]
    return {"coding": [{"system": system, "code": code.value, "display": code.meaning}], "text": code.meaning}


def _subject(document: ReadDocument) -> Resource:
    patient = str(document.header.get("PatientID") or "")
    return (
        {"type": "Patient", "identifier": {"value": patient}} if patient else {"type": "Patient", "display": "unknown"}
    )


def _orders(document: ReadDocument) -> list[str]:
    number = str(document.header.get("AccessionNumber") or "").strip()
    return [number] if number else []


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
