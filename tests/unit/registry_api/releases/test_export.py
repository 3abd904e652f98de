"""Exports: in no format a number of 1 to 10, none off the grid, and all formats agree cell by cell."""

import copy
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import canonical_json
from registry_api.releases.disclosure import protect
from registry_api.releases.document import Document, WeekTable, published_cells, read, write
from registry_api.releases.export import CSV_COLUMNS, as_csv, as_dhis2
from registry_api.releases.fhir import FhirVersion, as_measure_report
from registry_api.releases.parquet import as_parquet
from registry_api.releases.query import Answer, answers, ask
from registry_api.units.tree import Unit
from tests.unit.registry_api.releases.fhir_rules import complaints
from tests.unit.registry_api.releases.formats import read_all
from tests.unit.registry_api.releases.tables_of_studies import RULE, random_week

QUESTIONS = [["week"], ["week", "region"], ["week", "region", "severity"], ["week", "country", "age", "sex"]]


def document_of(seed: int, size: int = 20) -> Document:
    week = random_week(seed, per_site=[size] * 5)
    cells = published_cells(protect(week.tallies, week.lines, RULE))
    places = sorted({place for place, _ in cells})
    return read(write(1, RULE, places, [WeekTable("2020-W53", 1, cells)]))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 80))
def test_all_formats_agree_cell_by_cell_and_show_no_small_number_nor_one_off_the_grid(seed: int, size: int) -> None:
    document = document_of(seed, size)
    for by in QUESTIONS:
        found = answers(document, ask(by, {}), region="XA")
        formats = read_all(document, found)
        for name, cells in formats.items():
            assert cells == formats["json"], f"{name} says otherwise than json"
        numbers = [count for count, _ in formats["json"].values() if count is not None]
        assert len(formats["json"]) == len(found)
        assert all(number == 0 or number > 10 for number in numbers)
        assert all(number % 5 == 0 for number in numbers)


@pytest.fixture(scope="module")
def shown() -> tuple[Document, list[Answer]]:
    document = document_of(4)
    return document, answers(document, ask(["week", "region", "severity"], {}), region="XA")


def test_csv_has_a_line_per_cell_and_an_empty_field_where_a_number_is_hidden(shown) -> None:
    _, found = shown
    rows = list(csv.DictReader(io.StringIO(as_csv(7, found))))
    assert list(rows[0]) == list(CSV_COLUMNS)
    assert len(rows) == len(found)
    hidden = [row for row in rows if row["count"] == ""]
    assert hidden
    assert {row["status"] for row in hidden} <= {"masked", "withheld"}
    assert {row["bound"] for row in hidden if row["status"] == "masked"} == {"1-10"}
    assert {row["release"] for row in rows} == {"7"}


def test_parquet_has_the_columns_of_the_csv_with_types_and_null_where_a_number_is_hidden(shown) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow comes with the extra `parquet` only")
    _, found = shown
    table = parquet.read_table(io.BytesIO(as_parquet(7, found)))
    assert table.column_names == list(CSV_COLUMNS)
    types = {name: str(table.schema.field(name).type) for name in ("release", "week", "count", "bound", "per_100k")}
    assert types == {"release": "int64", "week": "string", "count": "int64", "bound": "string", "per_100k": "double"}
    text = list(csv.DictReader(io.StringIO(as_csv(7, found))))
    read_back = [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in table.to_pylist()
    ]
    assert read_back == text
    assert table.column("count").null_count > 0


def test_without_pyarrow_the_way_to_it_is_named(shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_api.releases.parquet.find_spec", lambda _: None)
    with pytest.raises(InvalidInputError, match="acinus") as raised:
        as_parquet(1, shown[1])
    assert raised.value.code is Code.NOT_FOUND


def test_dhis2_leaves_hidden_cells_out_and_lists_them(shown) -> None:
    _, found = shown
    body = as_dhis2(found)
    assert len(body["import"]["dataValues"]) + len(body["left_out"]) == len(found)
    assert body["left_out"]
    assert {value["period"] for value in body["import"]["dataValues"]} == {"2020W53"}
    assert {value["categoryOptionCombo"] for value in body["import"]["dataValues"]} <= {
        "severity:none", "severity:mild", "severity:moderate", "severity:severe"
    }  # fmt: skip


def test_a_measure_report_has_a_count_or_the_reason_why_not(shown) -> None:
    document, found = shown
    bundle = as_measure_report(document, found)
    reports = [entry["resource"] for entry in bundle["entry"]]
    assert {report["subject"]["identifier"]["value"] for report in reports} == {a.place for a in found}
    assert {(report["period"]["start"], report["period"]["end"]) for report in reports} == {
        ("2020-12-28", "2021-01-03")
    }
    populations = [group["population"][0] for report in reports for group in report["group"]]
    assert len(populations) == len(found)
    for population in populations:
        assert ("count" in population) != ("_count" in population)


@pytest.mark.parametrize("version", list(FhirVersion))
def test_a_bundle_keeps_the_rules_of_its_version(shown, version: FhirVersion) -> None:
    document, found = shown
    assert complaints(as_measure_report(document, found, version), version) == []


OWN = {
    "XA": Unit("XA", None, "iso-3166-1", "Aland"),
    "XA-0": Unit("XA-0", "XA", "urn:oid:1.2.3", "North"),
    "XA-1": Unit("XA-1", "XA", "nuts", "South"),
}


def test_every_format_names_the_list_that_a_places_code_comes_from() -> None:
    written = document_of(4)
    body = write(1, RULE, written.places, list(written.weeks.values()), OWN)
    assert json.loads(body)["place_systems"] == ["iso-3166-1", "iso-3166-2", "nuts", "urn:oid:1.2.3"]
    document = read(body)
    found = [one for by in ("country", "region") for one in answers(document, ask(["week", by], {}), region="XA")]
    systems = {"XA": "iso-3166-1", "XA-0": "urn:oid:1.2.3", "XA-1": "nuts", "XA-2": "iso-3166-2"}
    assert {row["place"]: row["place_system"] for row in csv.DictReader(io.StringIO(as_csv(1, found)))} == systems
    assert as_dhis2(found)["org_units"] == systems
    for version in FhirVersion:
        reports = [entry["resource"] for entry in as_measure_report(document, found, version)["entry"]]
        subjects = [report["subject"]["identifier"] for report in reports]
        assert {one["value"]: one["system"] for one in subjects} == {
            "XA": "urn:iso:std:iso:3166",
            "XA-0": "urn:oid:1.2.3",
            "XA-1": "urn:acinus:registry:units:nuts",
            "XA-2": "urn:iso:std:iso:3166:-2",
        }


def test_a_release_from_before_units_has_places_of_iso_3166() -> None:
    document = document_of(4)
    assert document.units == {}
    assert {document.system(place) for place in ("XA", "XA-1")} == {"iso-3166-1", "iso-3166-2"}


def _without(name: str):
    return lambda report: report.pop(name)


BREAKS = {
    "an element of another version": (FhirVersion.R4B, lambda report: report["group"][0].update(linkId="a")),
    "no measure in R4B": (FhirVersion.R4B, _without("measure")),
    "no period": (FhirVersion.R5, _without("period")),
    "an unknown status": (FhirVersion.R5, lambda report: report.update(status="final")),
    "a group that is no list": (FhirVersion.R5, lambda report: report.update(group={})),
    "a count that is a word": (FhirVersion.R5, lambda report: report["group"][0].update(population=[{"count": "5"}])),
    "neither a count nor a reason": (FhirVersion.R5, lambda report: report["group"][0].update(population=[{}])),
}


@pytest.mark.parametrize("what", sorted(BREAKS))
def test_the_rules_notice(shown, what: str) -> None:
    document, found = shown
    version, break_it = BREAKS[what]
    bundle = copy.deepcopy(as_measure_report(document, found, version))
    break_it(bundle["entry"][0]["resource"])
    assert complaints(bundle, version) != []


def test_a_report_has_the_same_url_whoever_asks(shown) -> None:
    document, found = shown
    urls = [[one["fullUrl"] for one in as_measure_report(document, part)["entry"]] for part in (found, found[:1])]
    assert urls[0][0] == urls[1][0]
    assert len(set(urls[0])) == len(urls[0])


def test_a_rate_turned_back_gives_the_published_number_and_nothing_finer(shown) -> None:
    document, _ = shown
    peopled = replace(document, units={place: Unit(place, None, "s", "n", {2019: 40_000}) for place in document.places})
    found = answers(peopled, ask(["week", "region", "severity"], {}), region="XA")
    shown_numbers = [one for one in found if one.cell.count is not None]
    assert shown_numbers
    for one in found:
        assert (one.per_100k is None) == (one.cell.count is None)
    for one in shown_numbers:
        assert round(one.per_100k * 40_000 / 100_000) == one.cell.count


def test_the_snippet_of_the_guide_reads_our_csv(shown) -> None:
    _, found = shown
    guide = (Path(__file__).parents[4] / "docs" / "how-to" / "counts.md").read_text(encoding="utf-8")
    [snippet] = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(snippet, "counts.md", "exec"), names)
    rows = names["rows"](as_csv(1, found))
    assert [row["count"] for row in rows] == [one.cell.count for one in found]
    assert {row["status"] for row in rows} == {one.cell.status.value for one in found}


def test_the_bytes_of_a_release_are_canonical_and_repeat_no_cell_in_memory() -> None:
    document = document_of(9)
    two = [WeekTable(week, 1, document.weeks["2020-W53"].cells) for week in ("2020-W53", "2020-W52")]
    body = write(1, RULE, document.places, two)
    assert canonical_json(json.loads(body)) == body
    weeks = read(body).weeks
    assert list(weeks) == ["2020-W52", "2020-W53"]
    pairs = zip(weeks["2020-W52"].cells.items(), weeks["2020-W53"].cells.items(), strict=True)
    assert all(one[0] is two[0] and one[1] is two[1] for one, two in pairs)


def test_a_release_read_back_is_what_was_written() -> None:
    document = document_of(9)
    again = read(write(1, document.rule, document.places, list(document.weeks.values())))
    assert again == document
