"""A release's cells as FHIR MeasureReports, in R5 (5.0.0) and R4B (4.3.0). Every number is one that the release shows. Pure."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from registry_api.releases.disclosure import Status
from registry_api.releases.document import Document
from registry_api.releases.export import combination
from registry_api.releases.query import Answer
from registry_api.releases.weeks import monday_of
from registry_api.units.tree import system_uri

_CODE_SYSTEM = "urn:acinus:registry"
_POPULATION = "http://terminology.hl7.org/CodeSystem/measure-population"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


class FhirVersion(StrEnum):
    """The versions that a MeasureReport is written in. R5 names each group by a link id, R4B has no such element."""

    R5 = "R5"
    R4B = "R4B"

    @property
    def media_type(self) -> str:
        """The media type with the version, as FHIR's HTTP pages ask for it."""
        return f"application/fhir+json; fhirVersion={'5.0' if self is FhirVersion.R5 else '4.3'}"


def as_measure_report(
    document: Document, answers: Sequence[Answer], version: FhirVersion = FhirVersion.R5
) -> dict[str, Any]:
    """Return a Bundle with one summary MeasureReport per week and place.

    A hidden count carries the data-absent-reason `masked`, and beside it whether it is masked (1 to 10) or withheld.
    """
    groups: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.week, answer.place), []).append(answer)
    entries = [
        {"fullUrl": _url(document, week, place), "resource": _report(document, week, place, part, version)}
        for (week, place), part in groups.items()
    ]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def _url(document: Document, week: str, place: str) -> str:
    """Return the same UUID for the same report, whoever asks and whenever."""
    return uuid5(NAMESPACE_URL, f"{_CODE_SYSTEM}:release:{document.number}/{week}/{place}").urn


def _report(
    document: Document, week: str, place: str, answers: Sequence[Answer], version: FhirVersion
) -> dict[str, Any]:
    monday = monday_of(week)
    return {
        "resourceType": "MeasureReport",
        "status": "complete",
        "type": "summary",
        "measure": f"{_CODE_SYSTEM}:measure:chest-ct-studies",
        "identifier": [{"system": f"{_CODE_SYSTEM}:release", "value": f"{document.number}/{week}/{place}"}],
        "subject": {"identifier": {"system": system_uri(document.system(place)), "value": place}},
        "period": {"start": monday.isoformat(), "end": (monday + timedelta(days=6)).isoformat()},
        "group": [_group(answer, version) for answer in answers],
    }


def _group(answer: Answer, version: FhirVersion) -> dict[str, Any]:
    code = combination(answer)
    link = {"linkId": code} if version is FhirVersion.R5 else {}
    population: dict[str, Any] = {"code": {"coding": [{"system": _POPULATION, "code": "initial-population"}]}}
    if answer.cell.status is Status.PUBLISHED:
        population["count"] = answer.cell.count
    else:
        population["_count"] = {
            "extension": [
                {"url": _ABSENT, "valueCode": "masked"},
                {"url": f"{_CODE_SYSTEM}:status", "valueCode": answer.cell.status.value},
            ]
        }
    return {
        **link,
        "code": {"coding": [{"system": f"{_CODE_SYSTEM}:category", "code": code}]},
        "population": [population],
    }
