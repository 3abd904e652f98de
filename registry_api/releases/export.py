"""Other forms of a release's cells: CSV, DHIS2 data values, FHIR MeasureReport. Every number is one that the release shows. Pure."""

import csv
import io
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from registry_api.releases.cube import DIMENSIONS
from registry_api.releases.disclosure import Status
from registry_api.releases.document import Document
from registry_api.releases.query import Answer

CSV_COLUMNS = ("release", "week", "version", "place", *DIMENSIONS, "count", "status", "bound", "persons", "per_100k")
_CODE_SYSTEM = "urn:acinus:registry"
_MASKED = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}


def as_json(answer: Answer) -> dict[str, Any]:
    """Return a cell with its coordinates; `region` is the place, whether region or country."""
    cell = answer.cell
    return {
        "week": answer.week,
        "region": answer.place,
        **dict(answer.categories),
        "count": cell.count,
        "status": cell.status.value,
        "bound": cell.bound,
        "per_100k": answer.per_100k,
    }


def as_csv(release: int, answers: Sequence[Answer]) -> str:
    """Return the cells as CSV (RFC 4180): an empty count with its status where a number is hidden, never a stand-in number."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    for answer in answers:
        values = dict(answer.categories)
        cell = answer.cell
        writer.writerow(
            [release, answer.week, answer.version, answer.place]
            + [values.get(name, "") for name in DIMENSIONS]
            + ["" if cell.count is None else cell.count, cell.status.value, cell.bound or ""]
            + ["" if number is None else number for number in (answer.persons, answer.per_100k)]
        )
    return out.getvalue()


def as_dhis2(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return a DHIS2 `dataValueSets` body by codes, plus the cells it must leave out because DHIS2 has no masked value."""
    values = [
        {
            "dataElement": "ACINUS_STUDIES",
            "period": f"{answer.week[:4]}W{int(answer.week[6:])}",
            "orgUnit": answer.place,
            "categoryOptionCombo": _combination(answer),
            "value": str(answer.cell.count),
        }
        for answer in answers
        if answer.cell.count is not None
    ]
    hidden = [as_json(answer) for answer in answers if answer.cell.count is None]
    return {
        "import": {
            "dataSet": "ACINUS_WEEKLY",
            "orgUnitIdScheme": "CODE",
            "dataElementIdScheme": "CODE",
            "dataValues": values,
        },
        "left_out": hidden,
    }


def as_measure_report(document: Document, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return a FHIR R5 Bundle with one summary MeasureReport per week and place; hidden counts carry the data-absent-reason `masked`."""
    groups: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.week, answer.place), []).append(answer)
    entries = [{"resource": _report(document, week, place, part)} for (week, place), part in groups.items()]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def _report(document: Document, week: str, place: str, answers: Sequence[Answer]) -> dict[str, Any]:
    monday = date.fromisocalendar(int(week[:4]), int(week[6:]), 1)
    return {
        "resourceType": "MeasureReport",
        "status": "complete",
        "type": "summary",
        "measure": f"{_CODE_SYSTEM}:measure:chest-ct-studies",
        "identifier": [{"system": f"{_CODE_SYSTEM}:release", "value": f"{document.number}/{week}/{place}"}],
        "subject": {"identifier": {"system": "urn:iso:std:iso:3166", "value": place}},
        "period": {"start": monday.isoformat(), "end": (monday + timedelta(days=6)).isoformat()},
        "group": [_group(answer) for answer in answers],
    }


def _group(answer: Answer) -> dict[str, Any]:
    code = {"coding": [{"system": f"{_CODE_SYSTEM}:category", "code": _combination(answer)}]}
    population: dict[str, Any] = {"code": {"coding": [{"code": "initial-population"}]}}
    if answer.cell.status is Status.PUBLISHED:
        population["count"] = answer.cell.count
    else:
        population["_count"] = {"extension": [_MASKED]}
    return {"code": code, "population": [population]}


def _combination(answer: Answer) -> str:
    """Return the categories as one code, such as `severity:mild;sex:female`, or `all`."""
    return ";".join(f"{name}:{value}" for name, value in answer.categories) or "all"
