"""Slots as DICOM Unified Procedure Steps (PS3.4 annex CC), in the JSON of PS3.18 annex F. Read only; no patient, no study. Pure."""

from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from protocol.case import Sex
from protocol.reading import Priority
from registry_api.reading.lifecycle import UPS, Purpose
from registry_api.reading.offers import ReadView, SlotView

MEDIA_TYPE = "application/dicom+json"

_UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
_PRIORITY = {Priority.STAT: "HIGH", Priority.URGENT: "MEDIUM", Priority.ROUTINE: "LOW"}
_SEX = {Sex.FEMALE: "F", Sex.MALE: "M", Sex.OTHER: "O"}
_LABEL = {
    Purpose.READ: "CT chest read",
    Purpose.ADJUDICATION: "CT chest adjudication",
    Purpose.REVIEW: "CT chest peer review",
}

STATE_TAG = "00741000"
"""Procedure Step State, by which a worklist may be narrowed."""


def workitem_uid(view: ReadView, slot: SlotView) -> str:
    """Return the workitem's UID, made of the request's opaque id and the slot's number (PS3.5 annex B.2)."""
    return f"2.25.{uuid5(NAMESPACE_URL, f'urn:acinus:reading:{view.request_id}/{slot.number}').int}"


def workitem(view: ReadView, slot: SlotView) -> dict[str, Any]:
    """Return a slot as a workitem. The Transaction UID, which would let its holder change it, is not among its attributes."""
    sex = _SEX.get(view.sex) if view.sex is not None else None
    return {
        "00080016": _value("UI", _UPS_PUSH),
        "00080018": _value("UI", workitem_uid(view, slot)),
        "00100010": _value("PN"),
        "00100020": _value("LO"),
        "00100030": _value("DA"),
        "00100040": _value("CS", sex),
        "00404005": _value("DT", _moment(view.posted_at)),
        "00404011": _value("DT", _moment(view.due_at)),
        "00404018": {"vr": "SQ", "Value": [_code("110005", "DCM", "Interpretation")]},
        "00404021": _value("SQ"),
        "00404041": _value("CS", "READY"),
        STATE_TAG: _value("CS", UPS[slot.state]),
        "00741200": _value("CS", _PRIORITY[view.priority]),
        "00741202": _value("LO", "Acinus"),
        "00741204": _value("LO", _LABEL[slot.purpose]),
    }


def _value(vr: str, value: str | None = None) -> dict[str, Any]:
    return {"vr": vr} if value is None else {"vr": vr, "Value": [value]}


def _code(value: str, scheme: str, meaning: str) -> dict[str, Any]:
    return {"00080100": _value("SH", value), "00080102": _value("SH", scheme), "00080104": _value("LO", meaning)}


def _moment(moment: datetime) -> str:
    """A DICOM date time in UTC, to the second."""
    return moment.strftime("%Y%m%d%H%M%S+0000")
