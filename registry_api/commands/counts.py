"""Commands about count releases."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from registry_api.clock import utc_now
from registry_api.commands.output import AsJson, home_of, opened, say
from registry_api.keyfiles import load_signing_key
from registry_api.releases.archive import Archive
from registry_api.releases.build import build_release
from registry_api.releases.disclosure import Status
from registry_api.releases.document import Document
from registry_api.releases.export import as_csv, as_dhis2
from registry_api.releases.fhir import FhirVersion, as_measure_report
from registry_api.releases.parquet import as_parquet
from registry_api.releases.query import Answer
from registry_api.thresholds import read_lines

release = typer.Typer(help="Releases of counts.", no_args_is_help=True)


class Format(StrEnum):
    """What a release is written as: the signed bytes themselves, or its cells in a form that others read."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"
    DHIS2 = "dhis2"
    DHIS2_LEFT_OUT = "dhis2-left-out"
    FHIR_R5 = "fhir-r5"
    FHIR_R4B = "fhir-r4b"


_FHIR = {Format.FHIR_R5: FhirVersion.R5, Format.FHIR_R4B: FhirVersion.R4B}


@release.command("build")
def build(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Build a release of all closed weeks; without a change since the last one, that one is named again."""
    from registry_api.runtime import disclosure_rule

    with opened(context) as (settings, database):
        key = load_signing_key(settings.within(settings.secrets.counts))
        built = build_release(database, disclosure_rule(settings), key=key, now=utc_now())
    document = Archive().document(built.row)
    statuses = [cell.status for table in document.weeks.values() for cell in table.cells.values()]
    content = {
        "release": built.row.number,
        "new": built.new,
        "sha256": built.row.sha256,
        "signature": built.row.signature,
        "weeks": len(document.weeks),
        **{status.value: statuses.count(status) for status in Status},
    }
    what = "new" if built.new else "nothing has changed"
    say(content, as_json=as_json, lines=[f"Release {built.row.number} ({what}), SHA-256 {built.row.sha256}"])


@release.command("export")
def export(
    context: typer.Context,
    number: int,
    *,
    form: Annotated[Format, typer.Option("--format", help="json: the signed bytes; the others: every cell but zeros.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
) -> None:
    """Write a release to a file."""
    with opened(context) as (_, database), database.reading() as session:
        archive = Archive()
        row = archive.row(session, number)
        document = archive.document(row)
    out.write_bytes(row.body if form is Format.JSON else _written(form, document))
    typer.echo(f"{out}: release {number}", err=True)


@release.command("thresholds")
def show_thresholds(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List when the thresholds of the disclosure rule were weakened or tightened, and when weakening was refused. Checks the chain."""
    lines = read_lines(home_of(context))
    said = [f"{one.at}  {one.event:<9} {dict(one.thresholds)}  {one.hash[:12]}" for one in lines]
    say(
        [asdict(one) for one in lines],
        as_json=as_json,
        lines=said or ["They were always those of the national minimum."],
    )


def _written(form: Format, document: Document) -> bytes:
    cells = _all_cells(document)
    if form is Format.CSV:
        return as_csv(document.number, cells).encode()
    if form is Format.PARQUET:
        return as_parquet(document.number, cells)
    if form in _FHIR:
        return json.dumps(as_measure_report(document, cells, _FHIR[form])).encode()
    return json.dumps(as_dhis2(cells)["import" if form is Format.DHIS2 else "left_out"]).encode()


def _all_cells(document: Document) -> list[Answer]:
    return [
        Answer(week, table.version, place, categories, cell, document.persons(place, week), document.system(place))
        for week, table in sorted(document.weeks.items())
        for (place, categories), cell in table.cells.items()
    ]
