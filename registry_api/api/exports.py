"""Routes of exports: a release's cells as CSV, Parquet, DHIS2 data values and FHIR, the same cells as the answers of `counts.py`."""

import json
from collections.abc import Callable
from enum import StrEnum

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from registry_api.api.answering import answer_with
from registry_api.api.asking import ASKING, Asked, AskedOfNumber
from registry_api.releases.document import Document
from registry_api.releases.export import as_csv, as_dhis2
from registry_api.releases.fhir import FhirVersion, as_measure_report
from registry_api.releases.parquet import as_parquet
from registry_api.releases.query import Answer, answers

router = APIRouter(prefix="/v1/registry/releases/{number}")


class CsvResponse(Response):
    """Names the media type in the document of the API."""

    media_type = "text/csv"


class ParquetResponse(Response):
    """Names the media type in the document of the API."""

    media_type = "application/vnd.apache.parquet"


class FhirResponse(JSONResponse):
    """Names the media type in the document of the API."""

    media_type = "application/fhir+json"


@router.get("/export.csv", response_class=CsvResponse, **ASKING)
def read_csv(asked: AskedOfNumber) -> Response:
    """Return the cells as CSV."""
    return _export(
        asked,
        lambda document, found: as_csv(document.number, found).encode(),
        media_type="text/csv; charset=utf-8",
        name=f"counts-{asked.entry.number}.csv",
    )


@router.get("/export.parquet", response_class=ParquetResponse, **ASKING)
def read_parquet(asked: AskedOfNumber) -> Response:
    """Return the cells as Parquet; `not-found` where the registry was installed without it."""
    return _export(
        asked,
        lambda document, found: as_parquet(document.number, found),
        media_type=ParquetResponse.media_type,
        name=f"counts-{asked.entry.number}.parquet",
    )


class Dhis2Part(StrEnum):
    """Which part of a DHIS2 export: what DHIS2 takes as it is, the side files of hidden cells and of the lists of place codes, or all in one document."""

    BOTH = "both"
    IMPORT = "import"
    ORG_UNITS = "org-units"
    LEFT_OUT = "left-out"


@router.get("/dhis2.json", **ASKING)
def read_dhis2(asked: AskedOfNumber, part: Dhis2Part = Dhis2Part.BOTH) -> Response:
    """Return the cells as DHIS2 data values, and those that DHIS2 cannot hold beside them or as a side file."""

    def render(_: Document, found: list[Answer]) -> bytes:
        parts = as_dhis2(found)
        return json.dumps(parts if part is Dhis2Part.BOTH else parts[part.replace("-", "_")]).encode()

    name = f"counts-{asked.entry.number}-dhis2{'' if part is Dhis2Part.BOTH else f'-{part}'}.json"
    return _export(asked, render, media_type="application/json", name=name, part=part)


@router.get("/measurereport.json", response_class=FhirResponse, **ASKING)
def read_measure_report(asked: AskedOfNumber, fhir: FhirVersion = FhirVersion.R5) -> Response:
    """Return the cells as a Bundle of FHIR MeasureReports, in R5 or R4B."""
    return _export(
        asked,
        lambda document, found: json.dumps(as_measure_report(document, found, fhir)).encode(),
        media_type=fhir.media_type,
        name=f"counts-{asked.entry.number}-fhir-{fhir.lower()}.json",
        fhir=fhir,
    )


def _export(
    asked: Asked, render: Callable[[Document, list[Answer]], bytes], *, media_type: str, name: str, **extra: object
) -> Response:
    def body() -> bytes:
        document = asked.runtime.archive.open(asked.session, asked.entry)
        return render(document, answers(document, asked.question, region=asked.caller.region))

    return answer_with(asked, body, extra=extra, media_type=media_type, name=name)
