"""Other forms of a release's cells: JSON, CSV, DHIS2 data values (FHIR: `fhir.py`). Every number is one that the release shows. Pure."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from registry_api.releases.cube import DIMENSIONS, PATIENTS
from registry_api.releases.disclosure import Cell
from registry_api.releases.query import Answer, Reporting

ABSENT = "absent"
"""The status of a cell of a week that the release does not hold; no release says it."""

CSV_COLUMNS = (
    *("release", "week", "version", "place", *DIMENSIONS),
    *("count", "status", "bound", "persons", "per_100k", "place_system"),
)


def as_json(answer: Answer) -> dict[str, Any]:
    """Return a cell with its coordinates; `region` is the place, whether region or country."""
    return {
        "week": answer.week,
        "region": answer.place,
        **dict(answer.categories),
        **shown(answer.cell),
        "per_100k": answer.per_100k,
    }


def shown(cell: Cell | None) -> dict[str, Any]:
    """Return what is published of a cell; None is a week that the release does not hold."""
    if cell is None:
        return {"count": None, "status": ABSENT, "bound": None}
    return {"count": cell.count, "status": cell.status.value, "bound": cell.bound}


def as_reporting(one: Reporting) -> dict[str, Any]:
    """Return how many hospitals of a place sent records of a week, and how these came."""
    quality = {name: {"sites": have, "of": of} for name, (have, of) in one.quality.items()}
    return {"week": one.week, "region": one.place, "sites": one.sites, "of": one.expected, "quality": quality}


def as_csv(release: int, answers: Sequence[Answer]) -> str:
    """Return the cells as CSV (RFC 4180): an empty count with its status where a number is hidden, never a stand-in number."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    writer.writerows(row_of(release, answer) for answer in answers)
    return out.getvalue()


def row_of(release: int, answer: Answer) -> list[int | float | str | None]:
    """Return the values of a cell in the order of `CSV_COLUMNS`; None where a number is hidden or a column says nothing of it."""
    values = dict(answer.categories)
    cell = answer.cell
    return [
        *(release, answer.week, answer.version, answer.place),
        *(values.get(name) for name in DIMENSIONS),
        *(cell.count, cell.status.value, cell.bound, answer.persons, answer.per_100k, answer.system),
    ]


def as_dhis2(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return a DHIS2 `dataValueSets` body by codes (`import`), and beside it what DHIS2 cannot hold.

    It has no masked value: a hidden cell is left out of the import, which is not the same as a zero, and listed in `left_out`. Nor
    does it know from which list the code of an organisation unit comes: `org_units` says so.
    """
    values = [
        {
            "dataElement": "ACINUS_PATIENTS" if answer.categories == PATIENTS else "ACINUS_STUDIES",
            "period": f"{answer.week[:4]}W{int(answer.week[6:])}",
            "orgUnit": answer.place,
            "categoryOptionCombo": "all" if answer.categories == PATIENTS else combination(answer),
            "value": str(answer.cell.count),
        }
        for answer in answers
        if answer.cell.count is not None
    ]
    schemes = ("dataSetIdScheme", "dataElementIdScheme", "orgUnitIdScheme", "categoryOptionComboIdScheme")
    return {
        "import": {"dataSet": "ACINUS_WEEKLY", **dict.fromkeys(schemes, "CODE"), "dataValues": values},
        "org_units": {answer.place: answer.system for answer in answers},
        "left_out": [as_json(answer) for answer in answers if answer.cell.count is None],
    }


def combination(answer: Answer) -> str:
    """Return the categories as one code, such as `severity:mild;sex:female`, or `all`."""
    return ";".join(f"{name}:{value}" for name, value in answer.categories) or "all"
