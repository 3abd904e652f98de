"""The reads as FHIR and as DICOM workitems: what each caller may see, under the standards' own names, and nothing else."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from protocol.reading import ReadPost
from registry_api.people.roles import Role
from registry_api.reading.lifecycle import FHIR_TASK, UPS, State
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import Registry
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import HASH, Story, delivered, opened, receipt

KINDS = ["Task", "ServiceRequest", "ImagingStudy", "DiagnosticReport"]
OTHER = "2" * 32


@dataclass
class Front:
    """A registry with a double read half done at northport and an open read at southbay, seen through the façade."""

    client: AsgiClient
    headers: dict[str, dict[str, str]]

    def get(self, who: str, path: str) -> Any:
        answer = self.client.get(f"/v1{path}", headers=self.headers[who])
        assert answer.status_code == 200, answer.text
        return answer.json()

    def found(self, who: str, kind: str, query: str = "") -> list[dict[str, Any]]:
        bundle = self.get(who, f"/fhir/{kind}{query}")
        assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset")
        return [entry["resource"] for entry in bundle["entry"]]


@pytest.fixture
def front(client: AsgiClient, registry: Registry, post: Callable[..., ReadPost]) -> Front:
    for site in ("northport", "southbay"):
        registry.enrol(site)
    with registry.runtime.database.writing() as session:
        first, second = (
            ready_reader(session, name, sites=("northport", "southbay"), now=registry.clock()) for name in ("A", "B")
        )
    story = Story(registry.runtime.database, registry.clock())
    story.arrives(post(REQUEST, reads_required=2))
    story.arrives(post(OTHER), site="southbay")
    claim = story.claims(first.person_id, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    story.signs(claim, first.person_id)
    story.arrives(delivered(claim))
    keys = {
        "first": first.api_key, "second": second.api_key, "coordinator": registry.add(Role.COORDINATOR).api_key,
        "northport": registry.add(Role.HOSPITAL, site="northport").api_key,
    }  # fmt: skip
    return Front(client, {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()})


def ids(resources: list[dict[str, Any]]) -> list[str]:
    return sorted(one["id"] for one in resources)


def test_everybody_sees_what_is_theirs(front: Front) -> None:
    at_northport, everywhere = [f"{REQUEST}-1", f"{REQUEST}-2"], [f"{REQUEST}-1", f"{REQUEST}-2", f"{OTHER}-1"]
    report = [f"{REQUEST}-1"]
    for who, tasks, reports in (
        ("coordinator", everywhere, report),
        ("northport", at_northport, report),
        ("first", everywhere, report),
        ("second", everywhere, []),
    ):
        assert ids(front.found(who, "Task")) == tasks
        assert ids(front.found(who, "DiagnosticReport")) == reports
        assert ids(front.found(who, "ServiceRequest")) == sorted({one[:32] for one in tasks})


def test_a_task_has_the_state_in_fhirs_words_and_in_ours(front: Front) -> None:
    done, waits = (front.get("coordinator", f"/fhir/Task/{REQUEST}-{number}") for number in (1, 2))
    assert (done["status"], waits["status"]) == ("completed", "requested")
    assert [one["businessStatus"]["coding"][0]["code"] for one in (done, waits)] == ["delivered", "open"]
    assert done["output"][0]["valueReference"]["reference"] == f"DiagnosticReport/{REQUEST}-1"
    assert "output" not in waits
    assert (done["intent"], done["priority"], done["focus"]["reference"]) == (
        "order", "routine", f"ServiceRequest/{REQUEST}",
    )  # fmt: skip


def test_a_report_is_codes_and_a_hash(front: Front) -> None:
    report = front.get("first", f"/fhir/DiagnosticReport/{REQUEST}-1")
    codes = {
        one["coding"][0]["system"].rpartition(":")[2]: one["coding"][0]["code"] for one in report["conclusionCode"]
    }
    assert codes == {"rsna-class": "typical", "corads": "5", "zone-score": "9"}
    assert (report["status"], report["identifier"][0]["value"]) == ("final", HASH)
    assert not {"conclusion", "presentedForm", "text", "performer", "resultsInterpreter"} & set(report)


def test_no_resource_says_whose_study_it_is(front: Front) -> None:
    for one in (one for kind in KINDS for one in front.found("coordinator", kind)):
        text = json.dumps(one)
        assert not [word for word in ("60-69", "female", "birth", "northport") if word in text]
        assert not re.search(r"\d+(\.\d+){4,}", text), "no DICOM UID"
        if "subject" in one:
            assert one["subject"] == {
                "extension": [
                    {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}
                ]
            }


def test_references_lead_to_resources_and_every_one_can_be_read(front: Front) -> None:
    for one in (one for kind in KINDS for one in front.found("coordinator", kind)):
        assert front.get("coordinator", f"/fhir/{one['resourceType']}/{one['id']}") == one
        for target in re.findall(r'"reference": "([^"]+)"', json.dumps(one)):
            assert front.get("coordinator", f"/fhir/{target}")["id"] == target.split("/")[1]


def test_searching_by_status_and_by_pages(front: Front) -> None:
    assert ids(front.found("coordinator", "Task", "?status=requested")) == [f"{REQUEST}-2", f"{OTHER}-1"]
    bundle = front.get("coordinator", "/fhir/Task?_count=1")
    assert (bundle["total"], len(bundle["entry"])) == (3, 1)
    assert bundle["entry"][0]["fullUrl"].startswith("https://localhost:8443/v1/fhir/Task/")
    assert front.client.get("/v1/fhir/Patient", headers=front.headers["coordinator"]).status_code == 422


def test_another_slots_report_looks_absent(front: Front) -> None:
    answer = front.client.get(f"/v1/fhir/DiagnosticReport/{REQUEST}-1", headers=front.headers["second"])
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_the_capability_statement_offers_reading_only(front: Front) -> None:
    said = front.get("second", "/fhir/metadata")
    (rest,) = said["rest"]
    assert [one["type"] for one in rest["resource"]] == KINDS
    assert {item["code"] for one in rest["resource"] for item in one["interaction"]} == {"read", "search-type"}
    assert said["fhirVersion"] == "5.0.0"


def test_nothing_is_written_through_the_facade(front: Front) -> None:
    for path in ("/fhir/Task", f"/fhir/Task/{REQUEST}-1", "/dicom-web/workitems"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = front.client.request(method, f"/v1{path}", headers=front.headers["coordinator"])
            assert answer.status_code == 405


def test_a_worklist_as_dicom_asks_for_it(front: Front) -> None:
    answer = front.client.get("/v1/dicom-web/workitems", headers=front.headers["coordinator"])
    assert answer.headers["Content-Type"] == "application/dicom+json"
    states = sorted(item["00741000"]["Value"][0] for item in answer.json())
    assert states == ["COMPLETED", "SCHEDULED", "SCHEDULED"]
    for item in answer.json():
        assert all(re.fullmatch(r"[0-9A-F]{8}", tag) for tag in item)
        assert all(set(element) <= {"vr", "Value"} for element in item.values())
        assert re.fullmatch(r"2\.25\.[1-9]\d{1,38}", item["00080018"]["Value"][0])
        assert [item[tag] for tag in ("00100010", "00100020", "00100030")] == [
            {"vr": "PN"}, {"vr": "LO"}, {"vr": "DA"},
        ]  # fmt: skip
        assert re.fullmatch(r"\d{14}\+0000", item["00404011"]["Value"][0])
        assert "00081195" not in item, "no Transaction UID: whoever has it may change the step"


def test_a_workitem_by_its_uid_and_a_worklist_by_state(front: Front) -> None:
    waiting = front.get("second", "/dicom-web/workitems?ProcedureStepState=SCHEDULED&limit=1")
    assert len(waiting) == 1
    uid = waiting[0]["00080018"]["Value"][0]
    assert front.get("second", f"/dicom-web/workitems/{uid}") == waiting
    assert front.get("second", "/dicom-web/workitems?ProcedureStepState=CANCELED") == []
    absent = front.client.get("/v1/dicom-web/workitems/2.25.1", headers=front.headers["second"])
    assert absent.status_code == 404


def test_every_state_has_a_word_in_both_standards() -> None:
    assert set(FHIR_TASK) == set(UPS) == set(State)
