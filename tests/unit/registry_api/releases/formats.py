"""Reads every export format back into the same thing, so that formats can be held against each other cell by cell."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import date
from typing import Any

from registry_api.releases.cube import DIMENSIONS
from registry_api.releases.document import Document
from registry_api.releases.export import as_csv, as_dhis2, as_json
from registry_api.releases.fhir import FhirVersion, as_measure_report
from registry_api.releases.parquet import as_parquet, available
from registry_api.releases.query import Answer

Coordinates = tuple[str, str, str]
"""Week, place, categories as one code."""
Shown = tuple[int | None, str]
"""The count and the status."""


def read_all(document: Document, found: Sequence[Answer]) -> dict[str, dict[Coordinates, Shown]]:
    """Write the answers in every format, as bytes, and read each back."""
    fhir = {
        f"fhir-{version}": from_fhir(json.dumps(as_measure_report(document, found, version))) for version in FhirVersion
    }
    columns = {"parquet": from_parquet(as_parquet(document.number, found))} if available() else {}
    return {
        "json": from_json(json.dumps([as_json(one) for one in found])),
        "csv": from_csv(as_csv(document.number, found)),
        "dhis2": from_dhis2(json.dumps(as_dhis2(found))),
        **fhir,
        **columns,
    }


def from_json(text: str) -> dict[Coordinates, Shown]:
    return {_coordinates(cell): (cell["count"], cell["status"]) for cell in json.loads(text)}


def from_csv(text: str) -> dict[Coordinates, Shown]:
    return {
        (row["week"], row["place"], _code(row)): (int(row["count"]) if row["count"] else None, row["status"])
        for row in csv.DictReader(io.StringIO(text))
    }


def from_parquet(content: bytes) -> dict[Coordinates, Shown]:
    from pyarrow import parquet

    rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    return {(row["week"], row["place"], _code(row)): (row["count"], row["status"]) for row in rows}


def from_dhis2(text: str) -> dict[Coordinates, Shown]:
    """A value that DHIS2 gets is a published one; the side file says why the others are not there."""
    body = json.loads(text)
    shown: dict[Coordinates, Shown] = {}
    for value in body["import"]["dataValues"]:
        year, week = value["period"].split("W")
        patients = value["dataElement"] == "ACINUS_PATIENTS"
        code = "unit:patients" if patients else value["categoryOptionCombo"]
        key = f"{year}-W{int(week):02d}", value["orgUnit"], code
        assert key not in shown
        shown[key] = int(value["value"]), "published"
    for cell in body["left_out"]:
        assert _coordinates(cell) not in shown
        shown[_coordinates(cell)] = cell["count"], cell["status"]
    return shown


def from_fhir(text: str) -> dict[Coordinates, Shown]:
    shown: dict[Coordinates, Shown] = {}
    for entry in json.loads(text)["entry"]:
        report = entry["resource"]
        calendar = date.fromisoformat(report["period"]["start"]).isocalendar()
        for group in report["group"]:
            [population] = group["population"]
            status = "published"
            if "_count" in population:
                absent, ours = population["_count"]["extension"]
                assert absent["valueCode"] == "masked"
                status = ours["valueCode"]
            week = f"{calendar.year}-W{calendar.week:02d}"
            place = report["subject"]["identifier"]["value"]
            shown[week, place, group["code"]["coding"][0]["code"]] = population.get("count"), status
    return shown


def _coordinates(cell: dict[str, Any]) -> Coordinates:
    return cell["week"], cell["region"], _code(cell)


def _code(cell: dict[str, Any]) -> str:
    return ";".join(f"{name}:{cell[name]}" for name in DIMENSIONS if cell.get(name)) or "all"
