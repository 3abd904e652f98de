"""The worker: every promise about what counts, what is sent, and what a crash may cost."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from client.gate.policy import Clearance, Refusal
from client.infer import worker as worker_module
from client.infer.releases import ReleaseShelf
from client.infer.worker import Worker
from client.receive.intake import Intake, take_bytes
from client.sections import RetentionSettings
from client.store.database import connect
from client.store.records import StudyState
from client.store.retention import Retention
from client.store.studies import StudyStore
from client.store.tables import SCHEMA
from protocol.case import CaseRecord, LegalBasis
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError
from protocol.parcel import Parcel
from tests.fakes.ct_series import CtSeries, as_bytes
from tests.fakes.node_home import Home
from tests.fakes.scans import chest, chest_series, untrained

pytestmark = pytest.mark.usefixtures("remembered")


class Gate:
    """Clears or refuses, and remembers."""

    def __init__(self, verdict: object = None) -> None:
        self.verdict = verdict or Clearance()
        self.seen: list[Parcel] = []

    def submit(self, parcel: Parcel) -> object:
        self.seen.append(parcel)
        return self.verdict


class Shelf(ReleaseShelf):
    def load(self):  # type: ignore[no-untyped-def]
        return untrained()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> StudyStore:
    return home.store()


def worker_of(home: Home, store: StudyStore, gate: Gate | None = None) -> Worker:
    return Worker(store, Shelf(home.settings.models, lambda _: False), home.settings, gate)


def send(home: Home, store: StudyStore, series: CtSeries, *, skip: tuple[int, ...] = ()) -> str:
    intake = Intake(store, home.pseudonyms)
    keys = {
        take_bytes(intake, as_bytes(dataset), home.settings.home / "spool").study_key
        for index, dataset in enumerate(series.datasets())
        if index not in skip
    }
    (key,) = keys
    assert key is not None
    home.clock.now += 60
    return key


def test_a_complete_study_is_measured_kept_and_offered(home: Home, store: StudyStore) -> None:
    gate = Gate()
    key = send(home, store, chest_series())
    assert worker_of(home, store, gate).step()
    assert store.study(key).state is StudyState.MEASURED
    given = store._connection.execute("SELECT * FROM study_input WHERE study_key = ?", (key,)).fetchone()
    assert given["maker"] == chest_series().dataset(0).get("Manufacturer", "")
    assert -1000 < given["lung_hu"] < -300
    assert given["slice_mm"] > 0
    names = {path.name for path in store.folder(key).iterdir()}
    assert names == {
        "ct.nii.gz",
        "mask.nii.gz",
        "ct-coarse.nii.gz",
        "mask-coarse.nii.gz",
        "lungs.nii.gz",
        "picture.png",
        "report.html",
        "seg.dcm",
        "sr.dcm",
        "finding.json",
    }
    volume = np.asarray(nibabel.load(store.folder(key) / "ct.nii.gz").dataobj).T
    assert np.array_equal(volume, chest().volume.hu), "transposed, it is the canonical volume"
    (record,) = gate.seen
    assert isinstance(record, CaseRecord)
    assert record.case_id == home.pseudonyms.case_id(str(chest_series().dataset(0).StudyInstanceUID))
    assert (record.epi_week, record.age_band.value, record.sex.value) == ("2026-W03", "60-69", "female")
    assert not worker_of(home, store, gate).step(), "nothing is left to do"


def test_nothing_is_measured_before_it_is_quiet(home: Home, store: StudyStore) -> None:
    key = send(home, store, chest_series())
    home.clock.now -= 59.95
    assert not worker_of(home, store).step()
    assert store.study(key).state is StudyState.RECEIVED


def test_a_late_slice_leads_to_a_new_version(home: Home, store: StudyStore) -> None:
    gate = Gate()
    key = send(home, store, chest_series(), skip=(15,))
    worker_of(home, store, gate).step()
    send(home, store, chest_series())
    worker_of(home, store, gate).step()
    assert [(r.case_id, r.version) for r in gate.seen if isinstance(r, CaseRecord)] == [
        (gate.seen[0].case_id, 1), (gate.seen[0].case_id, 2)  # type: ignore[union-attr]
    ]  # fmt: skip
    assert (
        len(pydicom.dcmread(store.folder(key) / "seg.dcm").ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 16
    )


def test_a_refused_study_keeps_its_code_and_sends_nothing(home: Home, store: StudyStore) -> None:
    gate = Gate()
    key = send(home, store, chest_series(), skip=(7, 8))
    worker_of(home, store, gate).step()
    assert (store.study(key).state, store.study(key).code) == (StudyState.REFUSED, "missing-slices")
    assert gate.seen == []


def test_what_was_sent_and_cannot_be_measured_any_more_is_withdrawn(home: Home, store: StudyStore) -> None:
    gate = Gate()
    series = chest_series()
    send(home, store, series, skip=(14, 15))
    worker_of(home, store, gate).step()
    send(home, store, series, skip=(14,))
    worker_of(home, store, gate).step()
    last = gate.seen[-1]
    assert isinstance(last, CaseRecord)
    assert (last.withdrawn, last.version) == (True, 2)


@pytest.mark.parametrize("late", [range(5, 11), range(0, 16, 3)])
def test_a_few_slices_that_come_after_the_others_were_removed_do_not_take_the_results_place(
    home: Home, store: StudyStore, late: range
) -> None:
    gate, series = Gate(), chest_series()
    key = send(home, store, series)
    worker_of(home, store, gate).step()
    before = store.finding(key)
    settings = home.settings.model_copy(update={"retention": RetentionSettings(instances_days=1, results_days=9)})
    retention = Retention(connect(home.settings.database, SCHEMA), settings, clock=home.clock)
    home.clock.now += 2 * 86_400
    assert retention.sweep()["instances"] == 1
    send(home, store, series, skip=tuple(set(range(16)) - set(late)))
    outcome = worker_of(home, store, gate).measure(key)
    assert (outcome.state, outcome.code) == (StudyState.MEASURED, "missing-slices")
    assert (store.finding(key), len(gate.seen)) == (before, 1)
    send(home, store, series)
    worker_of(home, store, gate).step()
    after = store.finding(key)
    assert after is not None
    assert (after.version, len(gate.seen)) == (2, 2), "the whole study is measured anew"
    assert store.findings.outlasting(key) is None
    home.clock.now += 10 * 86_400
    assert retention.sweep()["results"] == 1, "and its files have a period of their own"


@pytest.mark.parametrize("damage", ["cut", "mixed"])
def test_a_damaged_slice_refuses_its_study(home: Home, store: StudyStore, damage: str) -> None:
    series = chest_series()
    intake = Intake(store, home.pseudonyms)
    for index, dataset in enumerate(series.datasets()):
        if index == 3 and damage == "cut":
            dataset.PixelData = dataset.PixelData[:1000]
        if index == 3 and damage == "mixed":
            dataset.ImagePositionPatient = [0, 0, float(dataset.ImagePositionPatient[2])]
        key = take_bytes(intake, as_bytes(dataset), home.settings.home / "spool").study_key
    assert key is not None
    outcome = worker_of(home, store).measure(key)
    assert outcome.code == {"cut": "unreadable", "mixed": "mixed-geometry"}[damage]


def test_headers_that_cannot_carry_a_report_refuse_their_study_at_once(
    home: Home, store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever highdicom cannot make sense of: one refusal with a code, not five attempts and no file."""

    def stumble(*_: object, **__: object) -> None:
        raise ValueError("CANARY^NAME is no person name")

    monkeypatch.setattr("client.report.seg.make_segmentation", stumble)
    key = send(home, store, chest_series())
    outcome = worker_of(home, store).measure(key)
    assert (outcome.state, outcome.code, outcome.document) == (StudyState.REFUSED, "unreadable", None)
    assert store.study(key).attempts == 0
    assert not store.folder(key).exists()


def test_the_gates_refusal_is_remembered_and_not_asked_again(home: Home, store: StudyStore) -> None:
    gate = Gate(Refusal(code=Code.POLICY_SHARING))
    key = send(home, store, chest_series())
    worker_of(home, store, gate).step()
    worker_of(home, store, gate).step()
    assert len(gate.seen) == 1
    finding = store.finding(key)
    assert finding is not None
    assert finding.verdict == "policy-sharing"


def test_without_a_gate_records_wait_for_one(home: Home, store: StudyStore) -> None:
    send(home, store, chest_series())
    worker_of(home, store).step()
    gate = Gate()
    assert worker_of(home, store, gate).step()
    assert len(gate.seen) == 1


def test_a_study_without_a_date_is_measured_and_not_counted(home: Home, store: StudyStore) -> None:
    gate = Gate()
    key = send(home, store, chest_series(header={"StudyDate": ""}))
    worker_of(home, store, gate).step()
    assert gate.seen == []
    finding = store.finding(key)
    assert finding is not None
    assert finding.verdict == "no-week"


@pytest.mark.parametrize("where", ["write_study", "write_durably", "measure_scan"])
def test_dying_anywhere_costs_only_work(
    home: Home, store: StudyStore, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    key = send(home, store, chest_series())

    def die(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker_module, where, die)
    with pytest.raises(KeyboardInterrupt):
        worker_of(home, store).step()
    assert store.study(key).state is StudyState.RECEIVED
    monkeypatch.undo()
    worker_of(home, home.store()).step()
    assert store.study(key).state is StudyState.MEASURED


def test_dying_between_the_gate_and_the_note_sends_the_same_again(home: Home, store: StudyStore) -> None:
    gate = Gate()
    send(home, store, chest_series())
    worker = worker_of(home, store, gate)

    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    store.findings.mark_sent = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        worker.step()
    worker_of(home, home.store(), gate).step()
    assert len(gate.seen) == 2
    assert gate.seen[0] == gate.seen[1]


def test_a_full_disk_leaves_the_study_waiting(home: Home, store: StudyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = send(home, store, chest_series())

    def full(*_args: object, **_kwargs: object) -> None:
        raise UnavailableError(Code.DISK_FULL)

    monkeypatch.setattr(worker_module, "write_study", full)
    with pytest.raises(UnavailableError):
        worker_of(home, store).step()
    assert store.study(key).state is StudyState.RECEIVED


def test_measuring_again_is_asked_for(home: Home, store: StudyStore) -> None:
    key = send(home, store, chest_series())
    worker = worker_of(home, store)
    first = worker.measure(key)
    before = store.finding(key)
    assert worker.measure(key).document == first.document
    assert store.finding(key) == before, "settled: nothing is done twice"
    store.reopen(key)
    worker.measure(key)
    after = store.finding(key)
    assert after is not None
    assert before is not None
    assert after.version == before.version + 1


def test_a_study_that_kills_workers_is_refused_in_the_end(home: Home, store: StudyStore) -> None:
    key = send(home, store, chest_series())
    for _ in range(5):
        store.begin(key)
    assert worker_of(home, store).measure(key).code == "node-fault"


def test_the_documents_say_no_name(home: Home, store: StudyStore) -> None:
    key = send(home, store, chest_series(patient="CANARY-9"))
    worker_of(home, store).step()
    for name in ("finding.json", "picture.png", "ct.nii.gz"):
        content = (store.folder(key) / name).read_bytes()
        assert b"CANARY" not in content
        assert b"19600102" not in content
    document = json.loads((store.folder(key) / "finding.json").read_text())
    assert document["model_release"] == "ggo@0"
    assert document["quality"], "never a number without its flags"


def test_records_leave_under_the_basis_of_the_sites_policy(home: Home, store: StudyStore) -> None:
    key, gate = send(home, store, chest_series()), Gate()
    bases = iter([LegalBasis.CONSENT])
    worker = Worker(
        store, Shelf(home.settings.models, lambda _: False), home.settings, gate, legal_basis=lambda: next(bases)
    )
    worker.measure(key)
    worker.hand_over()
    [record] = gate.seen
    assert isinstance(record, CaseRecord)
    assert record.legal_basis is LegalBasis.CONSENT


def test_without_a_readable_policy_records_wait_and_studies_are_measured(home: Home, store: StudyStore) -> None:
    def unreadable() -> LegalBasis:
        raise InvalidInputError(Code.BAD_SETTING, "policy.toml is not TOML. Correct it.")

    key, gate = send(home, store, chest_series()), Gate()
    worker = Worker(store, Shelf(home.settings.models, lambda _: False), home.settings, gate, legal_basis=unreadable)
    assert worker.measure(key).state is StudyState.MEASURED
    with pytest.raises(InvalidInputError):
        worker.hand_over()
    assert len(store.findings.unsent()) == 1
    assert gate.seen == []
