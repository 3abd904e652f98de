"""Exports: in no format a number of 1 to 10, none off the grid, and all formats agree cell by cell."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_api.releases.disclosure import protect
from registry_api.releases.document import Document, WeekTable, published_cells, read, write
from registry_api.releases.export import CSV_COLUMNS, as_csv, as_dhis2, as_json, as_measure_report
from registry_api.releases.query import Answer, answers, ask
from tests.unit.registry_api.releases.tables_of_studies import RULE, random_week

QUESTIONS = [["week"], ["week", "region"], ["week", "region", "severity"], ["week", "country", "age", "sex"]]


def document_of(seed: int, size: int = 20) -> Document:
    week = random_week(seed, per_site=[size] * 5)
    cells = published_cells(protect(week.tallies, week.lines, RULE))
    places = sorted({place for place, _ in cells})
    return read(write(1, RULE, places, [WeekTable("2020-W53", 1, cells)]))


def numbers_in(text: str) -> list[int]:
    """Every JSON number at a key that counts."""
    found: list[int] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            found.extend(
                int(value)
                for key, value in node.items()
                if key in ("count", "value") and value is not None and str(value).isdecimal()
            )
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(json.loads(text))
    return found


def csv_counts(text: str) -> list[int]:
    return [int(row["count"]) for row in csv.DictReader(io.StringIO(text)) if row["count"]]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 80))
def test_no_format_shows_a_small_number_or_one_off_the_grid(seed: int, size: int) -> None:
    document = document_of(seed, size)
    for by in QUESTIONS:
        found = answers(document, ask(by, {}), region="XA")
        formats = {
            "json": numbers_in(json.dumps([as_json(answer) for answer in found])),
            "csv": csv_counts(as_csv(1, found)),
            "dhis2": numbers_in(json.dumps(as_dhis2(found)["import"])),
            "fhir": numbers_in(json.dumps(as_measure_report(document, found))),
        }
        assert len({tuple(numbers) for numbers in formats.values()}) == 1, "the formats disagree"
        for numbers in formats.values():
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


def test_a_release_read_back_is_what_was_written() -> None:
    document = document_of(9)
    again = read(write(1, document.rule, document.places, list(document.weeks.values())))
    assert again == document
