"""Deleting on request: nothing stays but a tombstone, whenever the node is killed; the centre hears of it; it does not come back."""

import logging
import os
import signal
from pathlib import Path

import pytest

from client.gate.policy import Clearance
from client.receive.intake import Intake, Taken, take_bytes
from client.store import removal
from client.store.database import connect
from client.store.records import Finding, SignedScores
from client.store.removal import Others, Remover
from client.store.studies import StudyStore
from client.store.tables import SCHEMA
from protocol.case import CaseRecord, SeverityBand
from protocol.codes import Code
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.hl7_messages import imaging_order, result
from tests.fakes.node_home import Home
from tests.fakes.outcomes import code_of


def record_of(case_id: str, version: int = 1) -> CaseRecord:
    return CaseRecord(
        case_id=case_id, version=version, epi_week="2026-W03", ggo_percent=1, consolidation_percent=1, opacity_percent=2,
        severity_score=1, severity_band=SeverityBand.MILD, model_release="ggo@1",
    )  # fmt: skip


def send(home: Home, study: str = "study", patient: str = "PAT-1") -> list[Taken]:
    intake = Intake(home.store(), home.pseudonyms)
    series = plain_series(slices=3, study=study, patient=patient)
    return [take_bytes(intake, as_bytes(dataset), home.settings.home / "spool") for dataset in series.datasets()]


def measured(home: Home, study: str = "study", patient: str = "PAT-1", *, sent: bool = True) -> str:
    """A study with every kind of file and row that it may have."""
    key = send(home, study, patient)[0].study_key or ""
    store, settings = home.store(), home.settings
    for folder in (store.folder(key), settings.labels, settings.prepared):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("ct.nii.gz", "mask.nii.gz", "lungs.nii.gz", "seg.dcm", "sr.dcm", "picture.png", "finding.json"):
        (store.folder(key) / name).write_bytes(b"CANARY")
    finding = Finding(
        study_key=key, model_release="ggo@1", document='{"CANARY": 1}',
        record=record_of(store.study(key).case_id).model_dump_json(), version=1, verdict=None, measured_at=home.clock.now,
    )  # fmt: skip
    assert store.findings.settle_measured(store.study(key), finding, "grid")
    if sent:
        store.findings.mark_sent(finding, "clear")
    store.labels.place(key, "0" * 64).write_bytes(b"CANARY")
    (settings.prepared / f"{key}-0123.safetensors").write_bytes(b"CANARY")
    store.labels.keep_mask(key, grid="grid", source="test", sha256="0" * 64)
    after = home.clock.now + 1
    store.labels.keep_scores(
        SignedScores(study_key=key, reader_id="CANARY", points=((1, 1),) * 3, reported_at=after, signed_at=after)
    )
    home.desk().hear_hl7(imaging_order())
    home.desk().hear_staff(key, {"clinical_question": "CANARY asks"})
    return key


def remover_of(home: Home, reads: Others | None = None) -> Remover:
    return Remover(connect(home.settings.database, SCHEMA), home.settings, reads, home.clock)


def hand_over(store: StudyStore) -> list[CaseRecord]:
    """What the worker does with records that the gate has not judged."""
    waiting = store.findings.unsent()
    for finding in waiting:
        store.findings.mark_sent(finding, "clear")
    return [CaseRecord.model_validate_json(finding.record) for finding in waiting]


def left_of(home: Home, key: str) -> list[str]:
    files = [str(path) for path in home.settings.home.rglob("*") if path.is_file() and key in str(path)]
    store = home.store()
    tables = (
        "study",
        "instance",
        "finding",
        "label",
        "study_name",
        "study_context",
        "study_input",
        "held_out_score",
        "context_due",
        "expectation",
        "hold",
    )
    rows = [
        table
        for table in tables
        if store._connection.execute(f"SELECT 1 FROM {table} WHERE study_key = ?", (key,)).fetchone() is not None
    ]
    facts = store._connection.execute("SELECT 1 FROM context_fact WHERE kind = 'question'").fetchone()
    return files + rows + (["question"] if facts is not None else [])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_nothing_stays_but_the_tombstone_and_the_centre_hears_of_it(home: Home) -> None:
    key, other = measured(home), measured(home, "other", "PAT-2")
    remover = remover_of(home)
    remover.delete(key)
    assert remover.unfinished() == [key], "its withdrawal waits for the gate"
    assert not [path for path in home.settings.home.rglob("*") if path.is_file() and key in str(path)]
    (withdrawal,) = hand_over(home.store())
    assert (withdrawal.withdrawn, withdrawal.version) == (True, 2)
    assert remover.finish() == 1
    assert left_of(home, key) == ["question"], "that of the other study"
    assert home.store().study(other).study_key == other
    assert home.store().folder(other).joinpath("ct.nii.gz").exists()
    assert remover.finish() == 0
    assert isinstance(Clearance(), Clearance)


def test_the_database_file_itself_holds_nothing_of_it(home: Home) -> None:
    key = measured(home)
    remover = remover_of(home)
    remover.delete(key, facts_of_patient=True)
    hand_over(home.store())
    remover.finish()
    content = b"".join(path.read_bytes() for path in home.settings.home.glob("node.db*"))
    assert b"CANARY asks" not in content
    assert b"CANARY question" not in content
    assert b'{"CANARY": 1}' not in content


def test_a_deleted_study_is_refused_until_a_person_says_otherwise(home: Home) -> None:
    key = measured(home)
    remover = remover_of(home)
    remover.delete(key)
    assert {taken.code for taken in send(home)} == {Code.STUDY_DELETED}
    hand_over(home.store())
    remover.finish()
    assert {taken.code for taken in send(home)} == {Code.STUDY_DELETED}
    assert home.store().quarantined() == []
    assert left_of(home, key) == []
    remover.readmit(key)
    assert {taken.study_key for taken in send(home)} == {key}
    assert home.store().findings.next_version(key) == 3, "the centre has seen versions 1 and 2"
    assert code_of(lambda: remover.readmit("nobody")) is Code.NOT_FOUND


def test_a_patient_goes_with_all_studies_and_all_that_was_said(home: Home) -> None:
    first, second, other = measured(home), measured(home, "second"), measured(home, "other", "PAT-2")
    home.desk().hear_hl7(result())
    remover = remover_of(home)
    assert sorted(remover.of_subject(first)) == sorted([first, second])
    for key in remover.of_subject(first):
        remover.delete(key, admit_again=True, facts_of_patient=True)
    assert home.context().about(other).heard
    kinds = {
        row["kind"] for row in home.store()._connection.execute("SELECT kind FROM context_fact WHERE kind = 'pcr'")
    }
    assert kinds == set()
    assert code_of(lambda: remover.of_subject("nobody")) is Code.NOT_FOUND


def test_what_never_left_needs_no_withdrawal(home: Home) -> None:
    key = send(home)[0].study_key or ""
    remover = remover_of(home)
    remover.delete(key)
    assert remover.unfinished() == []
    assert left_of(home, key) == []


def test_a_study_that_is_being_read_is_not_deleted(home: Home) -> None:
    key = measured(home)
    forgotten: list[str] = []
    busy = Others(under_way=lambda _: True, forget=forgotten.append)
    assert code_of(lambda: remover_of(home, busy).delete(key)) is Code.ILLEGAL_TRANSITION
    assert (forgotten, home.store().labels.masks()[0].study_key) == ([], key)
    remover_of(home, Others(forget=forgotten.append)).delete(key)
    assert forgotten == [key]


def test_a_worker_that_measures_meanwhile_settles_nothing(home: Home) -> None:
    key = measured(home)
    store = home.store()
    study, finding = store.study(key), store.findings.latest(key)
    assert finding is not None
    remover_of(home).delete(key)
    assert not store.findings.settle_measured(study, finding, "grid")


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("step", range(14))
def test_killed_at_any_step_it_is_finished_at_the_next_start(
    home: Home, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every removal of a file or folder and every commit is a place to die."""
    key = measured(home)
    child = os.fork()
    if child == 0:
        _die_after(step)
        remover_of(home).delete(key)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    remover = remover_of(home)
    begun = bool(remover.unfinished()) or home.store().study(key).code == Code.STUDY_DELETED.value
    if step == 0:
        assert os.WIFSIGNALED(status)
        assert not begun
        return
    assert begun
    remover.finish()
    hand_over(home.store())
    remover.finish()
    assert left_of(home, key) == []
    assert {taken.code for taken in send(home)} == {Code.STUDY_DELETED}


def _die_after(steps: int) -> None:
    """Let this process kill itself before the step of that number."""
    left = iter(range(steps, -1, -1))

    def counted(inner: object) -> object:
        def call(*given: object, **named: object) -> object:
            if next(left, -1) == 0:
                _die()
            return inner(*given, **named)  # type: ignore[operator]

        return call

    os.unlink = counted(os.unlink)  # type: ignore[assignment]
    os.rmdir = counted(os.rmdir)  # type: ignore[assignment]
    removal.transaction = counted(removal.transaction)  # type: ignore[assignment]
    removal.remove_label_files = counted(removal.remove_label_files)  # type: ignore[assignment]


def test_the_log_names_nobody(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = measured(home)
    caplog.clear()
    remover_of(home).delete(key)
    assert "study.deletion_begun" in caplog.text
    assert key not in caplog.text
