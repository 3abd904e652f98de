"""A final report in three formats says one thing: what the reader wrote, of whom, and that it is final."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import hl7
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from client.gateway.documents import Documents
from client.gateway.report import ReportCreate
from client.report.read_oru import escaped
from client.rooms.pacs import open_report_queue
from client.sections import ReportsSettings
from client.settings import NodeSettings
from client.wiring.notices import sender_on
from protocol.reading import AmendmentOpened, ReadConcluded, ReportSigned
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.gateway import CLAIM, REQUEST, GatewayUnderTest
from tests.unit.client.gateway.test_app import REPORT, looked

HEADER = {
    "PatientID": "4711", "PatientName": "Müller^Eva", "IssuerOfPatientID": "NORTH", "PatientBirthDate": "19600229", "PatientSex": "F",
    "AccessionNumber": "A|1", "StudyDate": "20260301", "StudyTime": "101500.25", "SpecificCharacterSet": "ISO_IR 192",
}  # fmt: skip
FULL = REPORT | {
    "bsti": "classic", "quality": 1, "distribution": "peripheral", "laterality": "both", "signs": ["crazy-paving", "ground-glass"],
    "effusion": "left", "comparison": "more", "alternative": "", "incidental": "Nodule 4 mm | left\nfollow up", "critical": True,
    "measurement": {"agrees": False, "ggo_percent": 14.5, "consolidation_percent": 2}, "impression": "Bilateral ^ ground glass\nwith more.",
}  # fmt: skip


class Study:
    """A study of three instances."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._series = plain_series(3, header=HEADER)

    def folder(self, _study_key: str) -> Path:
        return self._folder

    def instances(self, _study_key: str) -> list[Path]:
        paths = [self._folder / f"{index}.dcm" for index in range(3)]
        for index, path in enumerate(paths):
            path.write_bytes(as_bytes(self._series.dataset(index)))
        return paths


@pytest.fixture
def documents(gateway: GatewayUnderTest, tmp_path: Path) -> Documents:
    looked(gateway)
    study = Study(tmp_path / "out")
    return Documents(
        gateway.reports, study, lambda jkt: "Dr Example" if jkt == gateway.reader.jkt else None, sender="northport"
    )


def signed(gateway: GatewayUnderTest, report: dict[str, object]) -> None:
    answer = gateway.ask("POST", f"/reports/{CLAIM}", json=report)
    assert answer.status_code == 201, answer.text
    sha256 = answer.json()["report_sha256"]
    assert gateway.reports.sign(ReportSigned(request_id=REQUEST, claim_id=CLAIM, fence=1, report_sha256=sha256))


def written(gateway: GatewayUnderTest, documents: Documents, report: dict[str, object]) -> dict[str, bytes]:
    signed(gateway, report)
    return {path.name.split(".", 1)[1]: path.read_bytes() for path in documents.write(CLAIM)}


def items(container: Dataset) -> Iterator[tuple[str, str]]:
    """Yield name and value of every leaf of a content tree."""
    for item in container.get("ContentSequence", []):
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        if item.ValueType == "CONTAINER":
            yield from items(item)
        elif item.ValueType == "CODE":
            yield name, item.ConceptCodeSequence[0].CodeMeaning
        elif item.ValueType == "NUM":
            yield name, str(item.MeasuredValueSequence[0].NumericValue)
        else:
            yield name, str(item.get("TextValue") or item.get("PersonName"))


def test_before_the_signature_there_is_nothing(gateway: GatewayUnderTest, documents: Documents) -> None:
    gateway.ask("POST", f"/reports/{CLAIM}", json=FULL)
    assert documents.write(CLAIM) == documents.files(CLAIM) == []


def test_the_sr_is_final_and_of_this_study(gateway: GatewayUnderTest, documents: Documents) -> None:
    made = pydicom.dcmread(io.BytesIO(written(gateway, documents, FULL)["sr.dcm"]))
    assert (made.CompletionFlag, made.PreliminaryFlag) == ("COMPLETE", "FINAL")
    assert (made.PatientID, str(made.PatientName), made.AccessionNumber) == ("4711", "Müller^Eva", "A|1")
    assert made.StudyInstanceUID == plain_series(3).dataset(0).StudyInstanceUID
    said = list(items(made))
    assert ("Person Observer Name", "Dr Example") in said
    assert ("RSNA category", "typical") in said
    assert ("Zone score, zone-score-0-24", "9.0") in said
    assert ("Zone score, right lung, lower third", "3.0") in said
    assert ("BSTI class", "classic") in said
    assert ("Image quality", "limited") in said
    assert [value for name, value in said if name == "Sign"] == ["ground glass", "crazy paving"]
    assert ("Ground glass opacity", "14.5") in said
    assert ("Impression", FULL["impression"]) in said


def test_the_fhir_report_refers_to_all_its_observations(gateway: GatewayUnderTest, documents: Documents) -> None:
    report = json.loads(written(gateway, documents, FULL)["fhir.json"])
    assert (report["resourceType"], report["status"], report["conclusion"]) == (
        "DiagnosticReport",
        "final",
        FULL["impression"],
    )
    assert report["subject"]["identifier"]["value"] == "4711"
    assert report["basedOn"][0]["identifier"]["value"] == "A|1"
    assert [one["reference"] for one in report["result"]] == [f"#{one['id']}" for one in report["contained"]]
    by_name = {one["code"]["text"]: one for one in report["contained"]}
    assert by_name["CO-RADS"]["valueCodeableConcept"]["text"] == "CO-RADS 5"
    assert by_name["Zone score, zone-score-0-24"]["valueQuantity"]["value"] == 9
    assert by_name["Incidental finding"]["valueString"] == "Nodule 4 mm | left\nfollow up"
    values = [{key for key in one if key.startswith("value")} for one in report["contained"]]
    assert all(len(keys) == 1 for keys in values)


def test_the_hl7_message_holds_the_same_and_nothing_breaks_out_of_its_field(
    gateway: GatewayUnderTest, documents: Documents
) -> None:
    text = written(gateway, documents, FULL)["oru.hl7"].decode()
    message = hl7.parse(text)
    assert str(message.segment("MSH")[9]) == "ORU^R01^ORU_R01"
    assert {segment[0][0] for segment in message} == {"MSH", "PID", "OBR", "OBX"}
    pid, obr = message.segment("PID"), message.segment("OBR")
    assert str(pid[3]) == "4711^^^NORTH"
    assert str(pid[5]) == "Müller^Eva"
    assert (str(obr[3]), str(obr[7]), str(obr[25])) == ("A\\F\\1", "20260301101500", "F")
    said = {str(line[3]).split("^")[1]: str(line[5]) for line in message.segments("OBX")}
    assert said["Impression"] == "Bilateral \\S\\ ground glass\\.br\\with more."
    assert said["Incidental finding"] == "Nodule 4 mm \\F\\ left\\.br\\follow up"
    assert all(str(line[11]) == "F" for line in message.segments("OBX"))
    assert text.count("\r") == len(list(message))


def test_a_report_that_corrects_a_final_one_says_so_and_is_another_message(
    gateway: GatewayUnderTest, documents: Documents
) -> None:
    first = hl7.parse(written(gateway, documents, FULL)["oru.hl7"].decode())
    gateway.book.reopened(AmendmentOpened(request_id=REQUEST, claim_id=CLAIM, fence=1))
    assert gateway.enter().status_code == 201
    files = written(gateway, documents, FULL | {"corads": 4})
    message = hl7.parse(files["oru.hl7"].decode())
    assert str(message.segment("OBR")[25]) == "C"
    assert {str(line[11]) for line in message.segments("OBX")} == {"C"}
    assert json.loads(files["fhir.json"])["status"] == "amended"
    assert str(message.segment("MSH")[10]) != str(first.segment("MSH")[10])


def test_the_systems_of_the_hospital_get_what_is_written(gateway: GatewayUnderTest, documents: Documents) -> None:
    files = written(gateway, documents, FULL)
    assert documents.contents(CLAIM) == {"oru": files["oru.hl7"], "sr": files["sr.dcm"]}


def test_only_the_result_of_a_request_goes_on(gateway: GatewayUnderTest, documents: Documents, tmp_path: Path) -> None:
    settings = NodeSettings(home=tmp_path, reports=ReportsSettings(host="ris.example"))
    send_on = sender_on(settings, gateway.reports, documents)
    gateway.book.connection.execute("UPDATE read_requests SET reads_required = 2")
    signed(gateway, FULL)
    send_on(CLAIM)
    assert open_report_queue(settings).counts()["waiting"] == 0, "the other read may say something else"
    gateway.book.concluded(ReadConcluded(request_id=REQUEST, claim_id=CLAIM, agreed=True))
    for _ in range(2):
        send_on(CLAIM)
    (one,) = open_report_queue(settings).due("oru")
    assert open_report_queue(settings).path(one).read_bytes() == documents.contents(CLAIM)["oru"]


def test_what_was_not_said_is_not_written(gateway: GatewayUnderTest, documents: Documents) -> None:
    report = json.loads(written(gateway, documents, REPORT)["fhir.json"])
    names = {one["code"]["text"] for one in report["contained"]}
    assert not names & {"BSTI class", "Pleural effusion", "Sign", "Other diagnosis", "Ground glass opacity"}


def test_writing_again_changes_nothing_and_after_a_crash_writes_what_is_missing(
    gateway: GatewayUnderTest, documents: Documents
) -> None:
    signed(gateway, FULL)
    first = {path.name: path.read_bytes() for path in documents.write(CLAIM)}
    assert {path.name: path.read_bytes() for path in documents.write(CLAIM)} == first
    documents.files(CLAIM)[-1].unlink()
    again = {path.name: path.read_bytes() for path in documents.write(CLAIM)}
    assert first.keys() == again.keys() == {path.name for path in documents.files(CLAIM)}
    assert first[f"reader-{CLAIM}.fhir.json"] == again[f"reader-{CLAIM}.fhir.json"]


def test_without_instances_nothing_is_written(gateway: GatewayUnderTest, documents: Documents) -> None:
    signed(gateway, FULL)
    documents._store.instances = lambda _: []  # type: ignore[method-assign]
    assert documents.write(CLAIM) == []


@given(st.text(max_size=200))
def test_no_text_ends_an_hl7_field(text: str) -> None:
    kept = escaped(text)
    assert not set(kept) & set("|^&~\r\n\0")
    assert kept.isprintable() or kept == ""


REFUSED = {
    "unreadable with a class": {"quality": 0, "corads": 5},
    "a sign of no glossary": {"signs": ["beautiful"]},
    "a class of no society": {"bsti": "maybe"},
    "a quality beyond good": {"quality": 3},
    "a note that is a book": {"incidental": "x" * 2001},
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused(gateway: GatewayUnderTest, name: str) -> None:
    looked(gateway)
    answer = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT | REFUSED[name])
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")


def test_an_uninterpretable_study_teaches_nothing(gateway: GatewayUnderTest) -> None:
    looked(gateway)
    signed(gateway, REPORT | {"quality": 0, "corads": 0})
    assert gateway.reports.scores(CLAIM) is None
    final = gateway.reports.result(CLAIM)
    assert final is not None
    assert not final.report.content.interpretable


def test_a_report_of_before_reads_as_it_was() -> None:
    old = ReportCreate.model_validate(REPORT)
    assert (old.quality, old.signs, old.bsti, old.interpretable) == (2, (), None, True)
