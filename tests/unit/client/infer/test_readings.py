"""What a reader signed reaches the case record once, survives a new measurement, and waits for the gate like any version."""

import json
from datetime import date
from pathlib import Path

import pytest

from client.infer.cases import Circumstances, classes_kept, classified, revised, withdrawn
from client.infer.readings import classify
from client.store.records import Finding
from client.store.studies import StudyStore
from protocol.case import AgeBand, CaseRecord, PcrStatus, RsnaClass, Sex
from registry_api.cases.service import check_case
from tests.fakes.node_home import Home
from tests.fakes.scans import chest_series
from tests.unit.client.commands.test_reading import RECORD
from tests.unit.client.infer.test_worker import send


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> StudyStore:
    return home.store()


@pytest.fixture
def key(home: Home, store: StudyStore) -> str:
    """A study with a record that was sent."""
    key = send(home, store, chest_series())
    finding = Finding(
        study_key=key, model_release="ggo@0", document="{}", record=json.dumps(RECORD), version=1, verdict="clear", measured_at=0.0
    )  # fmt: skip
    assert store.findings.settle_measured(store.study(key), finding, "grid")
    return key


def record_of(store: StudyStore, key: str) -> CaseRecord:
    finding = store.finding(key)
    assert finding is not None
    return CaseRecord.model_validate_json(finding.record)


def test_the_classes_are_the_next_version_and_wait_for_the_gate(store: StudyStore, key: str) -> None:
    assert classify(store, key, RsnaClass.TYPICAL, 5, PcrStatus.UNKNOWN)
    record = record_of(store, key)
    assert (record.rsna_class, record.corads, record.version) == (RsnaClass.TYPICAL, 5, 2)
    assert [finding.study_key for finding in store.findings.unsent()] == [key]


def test_the_same_classes_twice_are_one_version(store: StudyStore, key: str) -> None:
    assert classify(store, key, RsnaClass.TYPICAL, 5, PcrStatus.UNKNOWN)
    assert not classify(store, key, RsnaClass.TYPICAL, 5, PcrStatus.UNKNOWN)
    assert record_of(store, key).version == 2
    assert classify(store, key, RsnaClass.NEGATIVE, 1, PcrStatus.UNKNOWN)
    assert record_of(store, key).version == 3


def test_a_study_without_a_record_gets_none(store: StudyStore) -> None:
    assert not classify(store, "0" * 32, RsnaClass.TYPICAL, 5, PcrStatus.UNKNOWN)


def test_a_withdrawn_record_stays_withdrawn() -> None:
    record = CaseRecord.model_validate(RECORD | {"withdrawn": True})
    assert classified(record, RsnaClass.TYPICAL, 5, PcrStatus.UNKNOWN) is None


def test_a_new_measurement_keeps_what_a_reader_said() -> None:
    new = CaseRecord.model_validate(RECORD | {"version": 4, "ggo_percent": 3})
    read = CaseRecord.model_validate(RECORD | {"version": 3, "rsna_class": "typical", "corads": 5})
    kept = classes_kept(new, read)
    assert kept is not None
    assert (kept.rsna_class, kept.corads, kept.version, kept.ggo_percent) == (RsnaClass.TYPICAL, 5, 4, 3)
    assert classes_kept(new, None) == classes_kept(new, CaseRecord.model_validate(RECORD)) == new
    assert classes_kept(None, read) is None


def test_co_rads_6_brings_its_pcr_along_and_the_registry_takes_it(store: StudyStore, key: str) -> None:
    assert classify(store, key, RsnaClass.TYPICAL, 6, PcrStatus.POSITIVE)
    proven = record_of(store, key)
    assert proven.pcr is PcrStatus.POSITIVE
    measured = classes_kept(CaseRecord.model_validate(RECORD), proven)
    known = revised(
        proven, Circumstances("2026-W08", AgeBand.FROM_50, Sex.MALE)
    )  # of a hospital whose systems know of no PCR
    assert known is not None
    assert measured is not None
    assert known.pcr is measured.pcr is PcrStatus.POSITIVE
    assert classify(store, key, RsnaClass.TYPICAL, 5, PcrStatus.UNKNOWN)
    assert record_of(store, key).pcr is PcrStatus.UNKNOWN
    for record in (proven, measured, known, withdrawn(proven)):
        check_case(record, today=date(2026, 3, 4))
