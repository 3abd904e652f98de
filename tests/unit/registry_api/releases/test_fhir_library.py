"""Our MeasureReports in the eyes of `fhir.resources`, a library that we did not write: both versions pass, and what is wrong does not."""

import copy
import warnings
from typing import Any

import pytest

from registry_api.releases.disclosure import protect
from registry_api.releases.document import Document, WeekTable, published_cells, read, write
from registry_api.releases.fhir import FhirVersion, as_measure_report
from registry_api.releases.query import answers, ask
from tests.unit.registry_api.releases.tables_of_studies import RULE, random_week

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("fhir.resources", reason="fhir.resources is not installed (group dev)")
    from fhir.resources.bundle import Bundle
    from fhir.resources.R4B.bundle import Bundle as BundleR4B

MODELS: dict[FhirVersion, Any] = {FhirVersion.R5: Bundle, FhirVersion.R4B: BundleR4B}


@pytest.fixture(scope="module")
def document() -> Document:
    week = random_week(4, per_site=[20] * 5)
    cells = published_cells(protect(week.tallies, week.lines, RULE))
    places = sorted({place for place, _ in cells})
    return read(write(1, RULE, places, [WeekTable("2020-W53", 1, cells)]))


@pytest.fixture(params=list(FhirVersion))
def bundle(request: pytest.FixtureRequest, document: Document) -> tuple[Any, dict[str, Any]]:
    found = answers(document, ask(["week", "region", "severity"], {}), region="XA")
    return MODELS[request.param], as_measure_report(document, found, request.param)


def test_the_library_takes_our_bundle_and_reads_the_same_numbers(bundle) -> None:
    model, content = bundle
    taken = model.model_validate(content)
    reports = [entry.resource for entry in taken.entry]
    counts = [group.population[0].count for report in reports for group in report.group]
    assert counts == [
        group["population"][0].get("count") for entry in content["entry"] for group in entry["resource"]["group"]
    ]
    hidden = [group.population[0] for report in reports for group in report.group if group.population[0].count is None]
    assert hidden
    assert {one.count__ext.extension[0].valueCode for one in hidden} == {"masked"}


@pytest.mark.parametrize("name", ["status", "type", "period"])
def test_the_library_misses_what_is_not_there(bundle, name: str) -> None:
    model, content = bundle
    broken = copy.deepcopy(content)
    del broken["entry"][0]["resource"][name]
    with pytest.raises(ValueError, match=name):
        model.model_validate(broken)


def test_the_library_knows_no_element_of_ours(bundle) -> None:
    model, content = bundle
    broken = copy.deepcopy(content)
    broken["entry"][0]["resource"]["group"][0]["bound"] = "1-10"
    with pytest.raises(ValueError, match="bound"):
        model.model_validate(broken)
