"""Which studies may be shown beside another: measured, of the same patient by number, of an earlier day; the latest first."""

from pathlib import Path

import pydicom
import pytest

from client.deidentify.pseudonyms import Pseudonyms
from client.infer.earlier import earlier_scans, earlier_studies
from client.receive.intake import Intake, take_bytes
from client.sections import RetentionSettings
from client.store.database import connect
from client.store.records import Finding
from client.store.retention import Retention
from client.store.studies import StudyStore
from client.store.tables import SCHEMA
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.node_home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> StudyStore:
    return home.store()


def study(home: Home, store: StudyStore, day: str, patient: str = "4711", *, measured: bool = True) -> str:
    header = {"PatientID": patient, "StudyDate": day, "PatientName": f"Example^{patient}"}
    content = as_bytes(plain_series(1, study=f"{patient}-{day}", header=header).dataset(0))
    key = str(take_bytes(Intake(store, home.pseudonyms), content, home.settings.home / "spool").study_key)
    if measured:
        finding = Finding(
            study_key=key, model_release="ggo@0", document='{"ok": true}', record="", version=1, verdict=None, measured_at=0.0
        )  # fmt: skip
        assert store.findings.settle_measured(store.study(key), finding, "grid")
        assert home.surroundings().revise(store) > 0
    return key


def test_the_latest_of_the_earlier_ones_is_first(home: Home, store: StudyStore) -> None:
    now = study(home, store, "20260301")
    year, month = study(home, store, "20250301"), study(home, store, "20260201")
    study(home, store, "20260401")
    study(home, store, "20260115", measured=False)
    study(home, store, "20260110", patient="0815")
    assert earlier_studies(store, now) == [(month, 28), (year, 365)]


def test_an_earlier_study_counts_when_its_instances_are_gone_and_the_key_has_changed(
    home: Home, store: StudyStore
) -> None:
    before = study(home, store, "20250301")
    connection = connect(home.settings.database, SCHEMA)
    settings = home.settings.model_copy(update={"retention": RetentionSettings(instances_days=1)})
    home.clock.now += 2 * 86_400
    connection.execute("UPDATE finding SET verdict = 'clear'")
    assert Retention(connection, settings, clock=home.clock).sweep() == {"instances": 1}
    home.pseudonyms = Pseudonyms(bytes(32), (home.pseudonyms.key,))
    now = study(home, store, "20260301")
    assert store.instances(before) == []
    assert earlier_studies(store, now) == [(before, 365)]
    header = pydicom.dcmread(store.instances(now)[0])
    assert [one.days_before for one in earlier_scans(store, now, header)] == [365]


def test_without_a_number_nobody_has_an_earlier_study(home: Home, store: StudyStore) -> None:
    study(home, store, "20250301", patient="")
    assert earlier_studies(store, study(home, store, "20260301", patient="")) == []


def test_without_a_day_nothing_is_earlier(home: Home, store: StudyStore) -> None:
    study(home, store, "20250301")
    assert earlier_studies(store, study(home, store, "")) == []
