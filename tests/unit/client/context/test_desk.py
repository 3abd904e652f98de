"""From messages and files to the record at the gate: before the study, after it, corrected, taken back, about two patients."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from client.context.messages import Dialect
from client.context.values import Vocabulary
from client.infer.worker import Worker
from client.receive.intake import Intake, take_bytes
from client.store.studies import StudyStore
from protocol.case import CaseRecord
from protocol.codes import Code
from tests.fakes.ct_series import CtSeries, as_bytes
from tests.fakes.hl7_messages import bundle, fhir_patient, fhir_request, fhir_result, fhir_stay, imaging_order, result
from tests.fakes.node_home import Home
from tests.fakes.outcomes import code_of
from tests.fakes.scans import chest_series
from tests.unit.client.infer.test_worker import Gate, Shelf

pytestmark = pytest.mark.usefixtures("remembered")

NO_PERSON = {"PatientSex": "", "PatientAge": "", "PatientBirthDate": ""}


class Ward:
    """A node with one study, its worker and its gate."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.home.clock.now = 1_770_000_000.0  # February 2026: after all that the messages say
        self.store: StudyStore = self.home.store()
        self.gate = Gate()
        self.worker = Worker(
            self.store,
            Shelf(self.home.settings.models, lambda _: False),
            self.home.settings,
            self.gate,
            surroundings=self.home.surroundings(),
        )
        self.desk = self.home.desk()

    def scan(self, series: CtSeries | None = None) -> str:
        """Take a study in; one that was measured before is not measured anew."""
        intake, key = Intake(self.store, self.home.pseudonyms), ""
        for dataset in (series or chest_series()).datasets():
            key = take_bytes(intake, as_bytes(dataset), self.home.settings.home / "spool").study_key or ""
        self.home.clock.now += 60
        return key

    def work(self) -> CaseRecord:
        self.worker.step()
        record = self.gate.seen[-1]
        assert isinstance(record, CaseRecord)
        return record

    def told(self, record: CaseRecord) -> tuple[str, str, int]:
        return record.pcr.value, record.care_setting.value, record.version


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def acknowledged(answer: bytes) -> bool:
    return b"\rMSA|AA|" in answer


def test_what_is_said_before_the_study_waits_for_it(ward: Ward) -> None:
    assert acknowledged(ward.desk.hear_hl7(result()))
    assert acknowledged(ward.desk.hear_hl7(imaging_order()))
    assert (
        ward.desk.store.counts()["waiting"] == ward.desk.store.counts()["facts"] == 5
    )  # sex and birth date came twice
    key = ward.scan()
    assert ward.told(ward.work()) == ("positive", "inpatient", 1)
    assert ward.desk.store.counts()["waiting"] == 0
    conclusion = ward.desk.store.conclusion(key)
    assert conclusion is not None
    assert conclusion.question == "CANARY question: pneumonia?"
    assert conclusion.sources == {
        "pcr": "hl7",
        "care_setting": "hl7",
        "question": "hl7",
        "sex": "dicom",
        "age_band": "dicom",
    }


def test_what_is_said_later_gives_a_new_version_and_nothing_twice(ward: Ward) -> None:
    ward.scan()
    assert ward.told(ward.work()) == ("unknown", "unknown", 1)
    ward.desk.hear_hl7(result())
    assert ward.told(ward.work()) == ("positive", "unknown", 2)
    ward.desk.hear_hl7(result())
    assert not ward.worker.step(), "the same message changes nothing"
    ward.desk.hear_hl7(result(control="MSG-2"))
    ward.worker.step()
    assert len(ward.gate.seen) == 2, "the same result under another message id changes no record"


def test_a_correction_replaces_and_a_withdrawal_takes_back(ward: Ward) -> None:
    ward.scan()
    ward.desk.hear_hl7(result())
    ward.desk.hear_hl7(result("260415000^Not detected^SCT", state="C", control="MSG-2", at="20260111100000"))
    assert ward.work().pcr.value == "negative"
    ward.desk.hear_hl7(result(state="F", control="MSG-0", at="20260111080000"))
    assert not ward.worker.step(), "an older message does not undo it"
    ward.desk.hear_hl7(result(state="W", control="MSG-3", at="20260111110000"))
    assert ward.work().pcr.value == "unknown"


def test_a_correction_to_something_inconclusive_leaves_nothing(ward: Ward) -> None:
    ward.scan()
    ward.desk.hear_hl7(result())
    ward.desk.hear_hl7(result("419984006^Inconclusive^SCT", state="C", control="MSG-2", at="20260111100000"))
    assert ward.work().pcr.value == "unknown"


def test_another_patient_behind_the_accession_number_makes_it_unknown(ward: Ward) -> None:
    ward.desk.hear_hl7(imaging_order(number="PAT-2"))
    ward.desk.hear_hl7(imaging_order(control="ORD-2", placer="P-2"))
    ward.scan()
    assert ward.told(ward.work()) == ("unknown", "unknown", 1)
    assert ward.desk.store.counts()["doubts"] == {"two-patients": 1}


def test_an_order_that_two_patients_studies_carry_is_nobodys(ward: Ward) -> None:
    nameless = imaging_order().replace(b"PAT-1^^^^MR", b"^^^^MR")
    assert b"MSA|AE|ORD-1" in ward.desk.hear_hl7(nameless), "an order without a patient is not taken"
    ward.desk.hear_table(b"accession_number,care_setting\nACC-77,inpatient\n")
    first = ward.scan()
    assert ward.work().care_setting.value == "inpatient"
    ward.scan(chest_series(study="other", patient="PAT-2"))
    ward.worker.step()
    last = {record.case_id: record for record in ward.gate.seen if isinstance(record, CaseRecord)}
    assert {record.care_setting.value for record in last.values()} == {"unknown"}
    assert ward.store.study(first).case_id in last


def test_numbers_of_another_issuer_are_another_patient(ward: Ward) -> None:
    foreign = result().replace(b"PAT-1^^^^MR", b"PAT-1^^^ELSEWHERE^MR")
    ward.desk.hear_hl7(foreign)
    ward.scan()
    assert ward.work().pcr.value == "unknown"
    own = ward.home.desk(None, "ELSEWHERE")
    own.hear_hl7(foreign.replace(b"MSG-1", b"MSG-9"))
    assert ward.work().pcr.value == "positive"


def test_fhir_says_the_same(ward: Ward) -> None:
    said = bundle(
        fhir_patient(), fhir_result(), fhir_request(encounter={"reference": "Encounter/e1"}), fhir_stay("EMER")
    )
    assert ward.desk.hear_fhir(json.dumps(said).encode()) == 6
    key = ward.scan(chest_series(header=NO_PERSON))
    record = ward.work()
    assert ward.told(record) == ("positive", "emergency", 1)
    assert (record.sex.value, record.age_band.value) == ("female", "60-69")
    conclusion = ward.desk.store.conclusion(key)
    assert conclusion is not None
    assert conclusion.question == "CANARY question"


def test_fhir_takes_back_what_was_entered_in_error(ward: Ward) -> None:
    ward.scan()
    ward.desk.hear_fhir(json.dumps(bundle(fhir_patient(), fhir_result())).encode())
    assert ward.work().pcr.value == "positive"
    lines = "\n".join(json.dumps(one) for one in (fhir_patient(), fhir_result(status="entered-in-error")))
    ward.desk.hear_fhir(lines.encode())
    assert ward.work().pcr.value == "unknown"


def test_a_table_is_taken_line_by_line(ward: Ward) -> None:
    table = (
        "accession_number;patient_id;pcr;pcr_date;care_setting;sex;age;clinical_question\n"
        ";PAT-1;positive;2026-01-10;;;;\n"
        ";PAT-1;CANARY;2026-01-10;;;;\n"
        "ACC-77;;;;intensive;;;CANARY asks\n"
        ";PAT-1;;;inpatient;;;\n"
        ";PAT-1;positive;;;;;\n"
        ";;;;;;;nobody\n"
        "ACC-77;;negative;not a day;;;;\n"
        "\n"
        "ACC-77;;;;;;999;\n"
    )
    kept, wrong = ward.desk.hear_table(table.encode("utf-8-sig"))
    assert kept == 3
    assert [(one.number, one.code, one.column) for one in wrong] == [
        (3, Code.BAD_REQUEST, "pcr"), (5, Code.BAD_REQUEST, "care_setting"), (6, Code.BAD_REQUEST, "pcr_date"),
        (7, Code.BAD_REQUEST, "accession_number"), (8, Code.BAD_REQUEST, "pcr_date"), (10, Code.BAD_REQUEST, "age"),
    ]  # fmt: skip
    ward.scan()
    assert ward.told(ward.work()) == ("positive", "intensive", 1)
    ward.desk.hear_table(b"accession_number,care_setting\nACC-77,retract\n")
    assert ward.told(ward.work()) == ("positive", "unknown", 2)


@pytest.mark.parametrize("table", [b"", b"name,pcr\nCANARY,positive\n", b"pcr,pcr\n", b"\xff\xfe\x00"])
def test_a_table_without_known_columns_is_refused_as_a_whole(ward: Ward, table: bytes) -> None:
    assert code_of(lambda: ward.desk.hear_table(table)) is Code.BAD_REQUEST


def test_a_person_outranks_every_message(ward: Ward) -> None:
    key = ward.scan()
    ward.desk.hear_hl7(result())
    ward.desk.hear_staff(key, {"pcr": "negative", "care_setting": "outpatient"})
    assert ward.told(ward.work()) == ("negative", "outpatient", 1)
    ward.desk.hear_staff(key, {"pcr": "retract"})
    assert ward.work().pcr.value == "positive"
    assert code_of(lambda: ward.desk.hear_staff(key, {"pcr": "CANARY"})) is Code.BAD_REQUEST


def test_a_cancelled_order_says_nothing_any_more(ward: Ward) -> None:
    ward.scan()
    ward.desk.hear_hl7(imaging_order())
    assert ward.work().care_setting.value == "inpatient"
    ward.desk.hear_hl7(imaging_order(control_word="CA", control="ORD-2", at="20260110080000"))
    assert ward.work().care_setting.value == "unknown"


def test_a_study_from_before_is_looked_at_once(ward: Ward) -> None:
    """Homes in use hold measured studies whose accession number nobody has noted."""
    plain = Worker(ward.store, Shelf(ward.home.settings.models, lambda _: False), ward.home.settings, ward.gate)
    ward.scan()
    ward.store._connection.execute("DELETE FROM study_name")
    plain.step()
    ward.desk.hear_hl7(imaging_order())
    assert ward.told(ward.work()) == ("unknown", "inpatient", 2)
    assert not ward.worker.step()


def test_a_crash_between_record_and_conclusion_costs_only_work(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ward.scan()
    ward.desk.hear_hl7(result())

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("client.infer.surroundings.Surroundings.keep", die)
    with pytest.raises(KeyboardInterrupt):
        ward.worker.step()
    monkeypatch.undo()
    assert ward.told(ward.work()) == ("positive", "unknown", 1)
    assert ward.desk.store.due() == []


def test_the_hospitals_own_words_are_understood(ward: Ward) -> None:
    words = Vocabulary(
        pcr_codes=frozenset({"SARS2"}), positive=frozenset({"nachgewiesen"}), intensive_units=frozenset({"W3"})
    )
    desk = ward.home.desk(replace(Dialect(), vocabulary=words, keep_question=False))
    local = result("Nachgewiesen").replace(b"94500-6^SARS-CoV-2 RNA Resp Ql NAA+probe^LN", b"SARS2^PCR^L")
    desk.hear_hl7(local)
    desk.hear_hl7(imaging_order())
    key = ward.scan()
    assert ward.told(ward.work()) == ("positive", "intensive", 1)
    conclusion = ward.desk.store.conclusion(key)
    assert conclusion is not None
    assert conclusion.question is None


def test_nothing_of_a_patient_is_in_logs_answers_or_names(ward: Ward, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        ward.desk.hear_hl7(message)
        for message in (
            result(), imaging_order(), b"MSH|^~\\&|", b"CANARY", result().replace(b"PID|1||PAT-1", b"PID|1||"),
            result().replace(b"ORU^R01", b"OTHER^R01"),
        )
    ]  # fmt: skip
    ward.desk.hear_table(b"patient_id,pcr\nCANARY-1,CANARY\n")
    for refused in (b'{"resourceType": "CANARY"', b'"CANARY"', b'{"CANARY": 1}', b"[" * 100_000):
        code_of(lambda content=refused: ward.desk.hear_fhir(content))
    kept = "\n".join(
        str(tuple(row))
        for table in ("context_fact_name", "context_message", "study_name")
        for row in ward.store._connection.execute(f"SELECT * FROM {table}")
    )
    for text in (*(str(answer) for answer in answers), caplog.text, kept):
        assert "CANARY" not in text.replace("CANARYHOSP", "")
        assert "PAT-1" not in text
        assert "19600102" not in text
