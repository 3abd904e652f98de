"""HL7 v2 and FHIR as hospitals send them, about nobody. `CANARY` marks what must never come out again."""

from typing import Any

RESULT = "OBX|1|CWE|94500-6^SARS-CoV-2 RNA Resp Ql NAA+probe^LN|1|{value}|||{flag}|||{state}|||20260110"


def header(
    kind: str = "ORU^R01^ORU_R01", control: str = "MSG-1", *, at: str = "20260111090000", charset: str = ""
) -> str:
    return f"MSH|^~\\&|LAB|CANARYHOSP|ACINUS|NODE|{at}||{kind}|{control}|P|2.5.1||||||{charset}"


def patient(number: str = "PAT-1", *, issuer: str = "", sex: str = "F", born: str = "19600102") -> str:
    return f"PID|1||{number}^^^{issuer}^MR||CANARY^NAME^MIDDLE||{born}|{sex}|||CANARY STREET 1"


def order_group(order: str = "LAB-9", *, day: str = "20260110080000") -> str:
    return f"ORC|RE|PLACER-{order}|{order}\rOBR|1|PLACER-{order}|{order}|94500-6^PCR^LN|||{day}||||||||||||||||||F"


def result(
    value: str = "260373001^Detected^SCT", *, state: str = "F", control: str = "MSG-1", order: str = "LAB-9",
    number: str = "PAT-1", day: str = "20260110080000", at: str = "20260111090000", flag: str = "",
) -> bytes:  # fmt: skip
    lines = [
        header(control=control, at=at), patient(number), order_group(order, day=day),
        RESULT.format(value=value, state=state, flag=flag),
    ]  # fmt: skip
    return "\r".join(lines).encode()


def imaging_order(
    accession: str = "ACC-77", *, visit: str = "I", place: str = "W3^12^1", control_word: str = "NW", number: str = "PAT-1",
    question: str = "CANARY question: pneumonia?", control: str = "ORD-1", at: str = "20260110070000", placer: str = "P-1",
) -> bytes:  # fmt: skip
    obr = f"OBR|1|{placer}|F-1|CTTHORAX^CT thorax||||||||||||||{accession}|||||||||||||R05^{question}^I10"
    lines = [
        header("ORM^O01^ORM_O01", control, at=at), patient(number), f"PV1|1|{visit}|{place}", f"ORC|{control_word}|{placer}|F-1", obr,
    ]  # fmt: skip
    return "\r".join(lines).encode()


def fhir_patient(number: str = "PAT-1", system: str = "", **rest: Any) -> dict[str, Any]:
    identifier = {"value": number, "type": {"coding": [{"code": "MR"}]}} | ({"system": system} if system else {})
    return {
        "resourceType": "Patient", "id": "p1", "identifier": [identifier], "name": [{"family": "CANARY"}],
        "gender": "female", "birthDate": "1960-01-02", **rest,
    }  # fmt: skip


def fhir_result(value: str = "260373001", status: str = "final", day: str = "2026-01-10T08:00:00Z") -> dict[str, Any]:
    return {
        "resourceType": "Observation", "id": "o1", "status": status, "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "94500-6"}]}, "effectiveDateTime": day,
        "valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": value}], "text": "CANARY"},
    }  # fmt: skip


def fhir_stay(code: str = "IMP", start: str = "2026-01-09", end: str | None = None, **rest: Any) -> dict[str, Any]:
    period = {"start": start} | ({"end": end} if end else {})
    return {
        "resourceType": "Encounter", "id": "e1", "status": "in-progress", "class": {"code": code},
        "subject": {"reference": "Patient/p1"}, "period": period, **rest,
    }  # fmt: skip


def fhir_request(accession: str = "ACC-77", **rest: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest", "id": "s1", "status": "active", "subject": {"reference": "Patient/p1"},
        "identifier": [{"type": {"coding": [{"code": "ACSN"}]}, "value": accession}],
        "category": [{"coding": [{"code": "363679005"}]}],
        "reasonCode": [{"text": "CANARY question"}], **rest,
    }  # fmt: skip


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [{"fullUrl": f"urn:uuid:{at}", "resource": one} for at, one in enumerate(resources)]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}
