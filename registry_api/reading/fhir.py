"""Reads as FHIR R5 resources, for worklists and portals that speak FHIR. Codes and opaque ids; no subject, no UID, no text. Pure."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

from protocol.reading import ReportStatus
from registry_api.reading.lifecycle import FHIR_TASK, State
from registry_api.reading.offers import ReadView, ResultView, SlotView

SYSTEM = "urn:acinus:reading"
FHIR_VERSION = "5.0.0"
MEDIA_TYPE = "application/fhir+json; fhirVersion=5.0"

_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_CHEST_CT = {"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}
_CT = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT", "display": "Computed Tomography"}

_REQUEST_STATUS: dict[State, str] = {
    State.DRAFT: "draft",
    State.CLOSED: "completed",
    State.WITHDRAWN: "revoked",
    State.EXPIRED: "revoked",
}
"""FHIR R5 `ServiceRequest.status`; a request in any other state is active."""


class Kind(StrEnum):
    """The resources of the façade."""

    TASK = "Task"
    SERVICE_REQUEST = "ServiceRequest"
    IMAGING_STUDY = "ImagingStudy"
    DIAGNOSTIC_REPORT = "DiagnosticReport"


def resources(kind: Kind, views: Iterable[ReadView]) -> list[dict[str, Any]]:
    """Return the resources of a kind that these reads have: one task and report per slot, one request and study per read."""
    if kind is Kind.SERVICE_REQUEST:
        return [service_request(view) for view in views]
    if kind is Kind.IMAGING_STUDY:
        return [imaging_study(view) for view in views]
    if kind is Kind.TASK:
        return [task(view, slot) for view in views for slot in view.slots]
    return [diagnostic_report(view, slot, slot.result) for view in views for slot in view.slots if slot.result]


def task(view: ReadView, slot: SlotView) -> dict[str, Any]:
    """Return a slot as a Task. Its own state goes into `businessStatus`; the report, where the caller sees one, into `output`."""
    resource: dict[str, Any] = {
        "resourceType": "Task",
        "id": slot_id(view, slot),
        "groupIdentifier": _identifier("request", view.request_id),
        "status": FHIR_TASK[slot.state],
        "businessStatus": _concept("state", slot.state),
        "intent": "order",
        "priority": view.priority.value,
        "code": _concept("purpose", slot.purpose),
        "focus": _reference(Kind.SERVICE_REQUEST, view.request_id),
        "authoredOn": _instant(view.posted_at),
        "restriction": {"period": {"end": _instant(view.due_at)}},
    }
    if slot.result is not None:
        value = _reference(Kind.DIAGNOSTIC_REPORT, slot_id(view, slot))
        resource["output"] = [{"type": _concept("output", "report"), "valueReference": value}]
    return resource


def service_request(view: ReadView) -> dict[str, Any]:
    """Return a read request as a ServiceRequest."""
    return {
        "resourceType": "ServiceRequest",
        "id": view.request_id,
        "identifier": [_identifier("request", view.request_id)],
        "status": _REQUEST_STATUS.get(view.state, "active"),
        "intent": "order",
        "priority": view.priority.value,
        "code": {"concept": {"coding": [_CHEST_CT]}},
        "subject": _masked(),
        "authoredOn": _instant(view.posted_at),
        "supportingInfo": [{"reference": _reference(Kind.IMAGING_STUDY, view.request_id)}],
    }


def imaging_study(view: ReadView) -> dict[str, Any]:
    """Return the study that is to be read: that there is one, and how large. Who may see it gets it from the hospital by a grant."""
    size = {"numberOfInstances": view.slices} if view.slices is not None else {}
    return {
        "resourceType": "ImagingStudy",
        "id": view.request_id,
        "identifier": [_identifier("study", view.request_id)],
        "status": "available",
        "modality": [{"coding": [_CT]}],
        "subject": _masked(),
        "basedOn": [_reference(Kind.SERVICE_REQUEST, view.request_id)],
        **size,
    }


def diagnostic_report(view: ReadView, slot: SlotView, result: ResultView) -> dict[str, Any]:
    """Return the codes of a report, its hash as its identifier. The text is the hospital's."""
    issued = {"issued": _instant(result.signed_at)} if result.signed_at is not None else {}
    return {
        "resourceType": "DiagnosticReport",
        "id": slot_id(view, slot),
        "identifier": [_identifier("report-sha256", result.report_sha256)],
        "basedOn": [_reference(Kind.SERVICE_REQUEST, view.request_id)],
        "status": report_status(result),
        "code": {"coding": [_CHEST_CT]},
        "subject": _masked(),
        "study": [_reference(Kind.IMAGING_STUDY, view.request_id)],
        **issued,
        "conclusionCode": [
            _concept("rsna-class", result.rsna_class),
            _concept("corads", str(result.corads)),
            _concept("zone-score", str(result.severity_score)),
            *([_concept("critical", "critical")] if result.critical else []),
        ],
    }


def report_status(result: ResultView) -> str:
    """Return FHIR R5 `DiagnosticReport.status`: preliminary until it is signed, amended if an earlier version was."""
    if result.signed_at is None:
        return ReportStatus.PRELIMINARY.value
    return (ReportStatus.AMENDED if result.status is ReportStatus.AMENDED else ReportStatus.FINAL).value


def slot_id(view: ReadView, slot: SlotView) -> str:
    """Return the id of what belongs to one slot."""
    return f"{view.request_id}-{slot.number}"


def searchset(base: str, found: list[dict[str, Any]], *, total: int) -> dict[str, Any]:
    """Return a Bundle of search results; `base` is the address of the façade."""
    entries = [
        {
            "fullUrl": f"{base}/{one['resourceType']}/{one['id']}",
            "resource": one,
            "search": {"mode": "match"},
        }
        for one in found
    ]
    return {"resourceType": "Bundle", "type": "searchset", "total": total, "entry": entries}


def capability(base: str, *, now: datetime) -> dict[str, Any]:
    """Return what the façade can do: read and search, nothing else."""
    interactions = [{"code": "read"}, {"code": "search-type"}]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _instant(now),
        "kind": "instance",
        "implementation": {"description": "Acinus reading exchange, read only", "url": base},
        "fhirVersion": FHIR_VERSION,
        "format": ["json"],
        "rest": [{"mode": "server", "resource": [{"type": kind.value, "interaction": interactions} for kind in Kind]}],
    }


def _concept(name: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": f"{SYSTEM}:{name}", "code": code}]}


def _identifier(name: str, value: str) -> dict[str, str]:
    return {"system": f"{SYSTEM}:{name}", "value": value}


def _reference(kind: Kind, value: str) -> dict[str, str]:
    return {"reference": f"{kind.value}/{value}"}


def _masked() -> dict[str, Any]:
    """FHIR asks for a subject; who it is stays at the hospital."""
    return {"extension": [{"url": _ABSENT, "valueCode": "masked"}]}


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
