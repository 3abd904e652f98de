"""What FHIR R5 (5.0.0) and R4B (4.3.0) ask of a summary MeasureReport in a Bundle, as far as our reports go: names, how many, types.

Written from memory of the element tables (hl7.org/fhir/R5/measurereport.html and hl7.org/fhir/R4B/measurereport.html) and not yet held
against the pages. The lock holds no FHIR library, so these checks stand in for one; they know no terminology beyond the code lists below.
"""

import re
from typing import Any

from registry_api.releases.fhir import FhirVersion

_ELEMENTS: dict[FhirVersion, dict[str, dict[str, str]]] = {
    FhirVersion.R5: {
        "report": {
            "resourceType": "1", "status": "1", "type": "1", "measure": "0..1", "identifier": "0..*", "subject": "0..1",
            "date": "0..1", "period": "1", "group": "0..*",
        },
        "group": {"linkId": "0..1", "code": "0..1", "population": "0..*"},
        "population": {"linkId": "0..1", "code": "0..1", "count": "0..1", "_count": "0..1"},
    },
    FhirVersion.R4B: {
        "report": {
            "resourceType": "1", "status": "1", "type": "1", "measure": "1", "identifier": "0..*", "subject": "0..1",
            "date": "0..1", "period": "1", "group": "0..*",
        },
        "group": {"code": "0..1", "population": "0..*"},
        "population": {"code": "0..1", "count": "0..1", "_count": "0..1"},
    },
}  # fmt: skip
_STATUS = {"complete", "pending", "error"}
_TYPE = {
    FhirVersion.R5: {"individual", "subject-list", "summary", "data-exchange"},
    FhirVersion.R4B: {"individual", "subject-list", "summary", "data-collection"},
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_URN = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CANONICAL = re.compile(r"(urn:[a-z0-9][a-z0-9-]+:\S+|https?://\S+)")


def complaints(bundle: dict[str, Any], version: FhirVersion) -> list[str]:
    """Return what is wrong with a bundle of reports; nothing is the answer of a good one."""
    found = [] if (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection") else ["not a collection"]
    urls = [entry.get("fullUrl", "") for entry in bundle["entry"]]
    if len(set(urls)) != len(urls) or not all(_URN.fullmatch(url) for url in urls):
        found.append("fullUrl")
    for entry in bundle["entry"]:
        found += _of_report(entry["resource"], version)
    return found


def _of_report(report: dict[str, Any], version: FhirVersion) -> list[str]:
    found = _of_elements(report, _ELEMENTS[version]["report"])
    rules = {
        "resourceType": report.get("resourceType") == "MeasureReport",
        "status": report.get("status") in _STATUS,
        "type": report.get("type") in _TYPE[version],
        "measure": _CANONICAL.fullmatch(report.get("measure", "urn:none:")) is not None,
        "period": all(_DATE.fullmatch(day) for day in report.get("period", {}).values()),
    }
    found += [name for name, holds in rules.items() if not holds]
    for group in report.get("group", []):
        found += _of_elements(group, _ELEMENTS[version]["group"])
        for population in group.get("population", []):
            found += _of_elements(population, _ELEMENTS[version]["population"])
            found += _of_population(population)
    return found


def _of_population(population: dict[str, Any]) -> list[str]:
    """SANER's invariant: a count, or the reason why there is none."""
    count, reasons = population.get("count"), population.get("_count", {}).get("extension", [])
    absent = [one for one in reasons if one["url"] == "http://hl7.org/fhir/StructureDefinition/data-absent-reason"]
    whole = isinstance(count, int) and not isinstance(count, bool) and count >= 0
    return [] if whole != (len(absent) == 1) else ["count or reason"]


def _of_elements(element: dict[str, Any], allowed: dict[str, str]) -> list[str]:
    unknown = [f"no element {name}" for name in element if name not in allowed]
    missing = [f"{name} is missing" for name, times in allowed.items() if times == "1" and name not in element]
    shape = [
        f"{name} is no list" for name, times in allowed.items() if times == "0..*" and name in element
        and not (isinstance(element[name], list) and element[name])
    ]  # fmt: skip
    return unknown + missing + shape
