"""Periods: what is old goes, what is owed stays, and what is cut short is found again."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.receive.intake import Intake, Taken, take_bytes
from client.sections import RetentionSettings
from client.store import retention
from client.store.database import connect
from client.store.leftovers import sweep_leftovers
from client.store.records import Admission, SignedScores, StudyState
from client.store.removal import Remover
from client.store.retention import Housekeeper, Retention
from client.store.tables import SCHEMA
from protocol.codes import Code
from protocol.plan import LabelUse
from tests.fakes.ct_series import as_bytes, plain_series, uid
from tests.fakes.hl7_messages import result
from tests.fakes.node_home import Home
from tests.fakes.outcomes import code_of
from tests.unit.client.store.test_removal import measured, send

DAY = 86_400.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.clock.now = 1_800_000_000.0
    return home


def sweep(home: Home, *, being_read: bool = False, later_days: float = 31, **days: int) -> dict[str, int]:
    settings = home.settings.model_copy(update={"retention": RetentionSettings(**days)})
    home.clock.now += later_days * DAY
    connection = connect(home.settings.database, SCHEMA)
    return dict(Retention(connection, settings, lambda _: being_read, home.clock).sweep())


def send_one(home: Home, index: int) -> Taken:
    """One slice of the study that `measured` sends three of; a fourth is new."""
    series = plain_series(slices=3, study="study")
    dataset = series.dataset(min(index, 2), SOPInstanceUID=uid("study", "series", index))
    return take_bytes(Intake(home.store(), home.pseudonyms), as_bytes(dataset), home.settings.home / "spool")


def names(home: Home, key: str) -> set[str]:
    return {path.name for path in home.store().folder(key).iterdir()}


def test_without_a_period_everything_stays(home: Home) -> None:
    key = measured(home)
    assert sweep(home, later_days=40_000) == {}
    assert len(home.store().instances(key)) == 3


def test_instances_go_and_the_result_stays(home: Home) -> None:
    key = measured(home)
    assert sweep(home, instances_days=30, later_days=29) == {"instances": 0}
    assert sweep(home, instances_days=30, later_days=2) == {"instances": 1}
    store = home.store()
    assert not list((home.settings.instances / key).iterdir())
    assert store.finding(key) is not None
    assert code_of(lambda: store.reopen(key)) is Code.ILLEGAL_TRANSITION
    send(home)
    study = store.study(key)
    assert (study.state, len(store.instances(key))) == (StudyState.RECEIVED, 3)
    assert store.findings.settle_as_before(study), (
        "if it cannot be measured again, what was measured of the first files stays"
    )
    assert store.finding(key) is not None


def test_a_study_whose_instances_are_here_is_refused_as_ever(home: Home) -> None:
    key = measured(home)
    assert not home.store().findings.settle_as_before(home.store().study(key))


@pytest.mark.parametrize("owed", ["unsent", "received", "read"])
def test_what_is_owed_stays(home: Home, owed: str) -> None:
    key = measured(home, sent=owed != "unsent")
    home.store()._connection.execute("DELETE FROM label")
    if owed == "received":
        home.store().reopen(key)
    removed = sweep(home, being_read=owed == "read", instances_days=1, results_days=1, pictures_days=1)
    assert removed == {"instances": 0, "results": 0, "pictures": 0}
    assert "ct.nii.gz" in names(home, key)


def test_results_of_a_labelled_study_stay_as_long_as_the_label(home: Home) -> None:
    key = measured(home)
    assert sweep(home, results_days=30) == {"results": 0}
    old = home.clock.now - 1
    mask = home.store().labels.place(key, "0" * 64)
    os.utime(mask, (old - 60 * DAY, old - 60 * DAY))
    assert sweep(home, results_days=30, labels_days=30) == {"results": 1, "labels": 2}, "the mask and the zone scores"
    assert names(home, key) == {"picture.png", "finding.json"}
    assert not mask.exists()
    assert not list(home.settings.prepared.iterdir())
    assert home.store().study(key).grid is None
    assert sweep(home, results_days=30, pictures_days=30) == {"results": 0, "pictures": 1}
    assert names(home, key) == {"finding.json"}


def test_zone_scores_go_with_the_labels_and_hold_no_results_back(home: Home) -> None:
    key = measured(home)
    store = home.store()
    store._connection.execute("DELETE FROM label")
    store.labels.place(key, "0" * 64).unlink()
    home.settings.prepared.joinpath("other-0123.safetensors").write_bytes(b"of nobody")
    now = home.clock.now + 1
    assert store.labels.keep_scores(
        SignedScores(study_key=key, reader_id="r", points=((1, 1),) * 3, reported_at=now, signed_at=now)
    )
    assert sweep(home, labels_days=40) == {"labels": 0}
    assert [path.name for path in home.settings.prepared.iterdir()] == [f"{key}-0123.safetensors"]
    assert sweep(home, labels_days=40) == {"labels": 1}
    assert not list(home.settings.prepared.iterdir())
    assert sweep(home, results_days=30) == {"results": 1}


def test_results_go_although_a_reader_scored_them(home: Home) -> None:
    key = measured(home)
    store = home.store()
    store._connection.execute("DELETE FROM label")
    now = home.clock.now + 1
    store.labels.keep_scores(
        SignedScores(study_key=key, reader_id="r", points=((1, 1),) * 3, reported_at=now, signed_at=now)
    )
    assert sweep(home, results_days=30) == {"results": 1}
    assert store.labels.training_cases(LabelUse.MASKS_AND_ZONE_SCORES) == []


def test_quarantine_context_updates_and_logs_have_periods_of_their_own(home: Home) -> None:
    settings = home.settings
    spooled = settings.home / "odd.bin"
    spooled.write_bytes(b"odd")
    home.store().quarantine(spooled, "0" * 64, Code.UNREADABLE)
    home.desk().hear_hl7(result(number="PAT-77"))
    update = settings.updates / "run" / "0001.safetensors"
    for path in (update, settings.logs / "worker.jsonl", settings.logs / "worker.jsonl.20200101"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
        os.utime(path, (home.clock.now, home.clock.now))
    removed = sweep(home, quarantine_days=30, context_days=30, updates_days=30, logs_days=30)
    assert removed == {"quarantine": 1, "context": 3, "updates": 1, "logs": 2}
    assert home.store().quarantined() == []
    assert home.context().counts()["facts"] == 0
    assert not list(settings.logs.iterdir())


def test_facts_that_have_found_their_study_stay(home: Home) -> None:
    measured(home)
    home.desk().hear_hl7(result())
    before = home.context().counts()["facts"]
    assert sweep(home, context_days=1) == {"context": 0}
    assert home.context().counts()["facts"] == before


def test_a_sweep_that_was_cut_short_is_made_up_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    key = measured(home)
    real = Path.unlink
    count = iter(range(100))

    def die(path: Path, missing_ok: bool = False) -> None:
        if next(count) == 2:
            raise KeyboardInterrupt
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", die)
    with pytest.raises(KeyboardInterrupt):
        sweep(home, instances_days=30)
    monkeypatch.undo()
    assert home.store().instances(key) == [], "what has no row is a leftover"
    assert list((home.settings.instances / key).iterdir())
    assert sweep_leftovers(connect(home.settings.database, SCHEMA), home.settings, time.time() + 1) == 1
    assert not list((home.settings.instances / key).iterdir())


def test_an_instance_that_comes_during_a_sweep_is_not_lost(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is acknowledged between the look at what is old and the removal."""
    key = measured(home)
    looks = iter(range(100))
    real = Retention._studies

    def look_and_receive(retention: Retention, condition: str, *values: float | str) -> list[str]:
        found = real(retention, condition, *values)
        if found and next(looks) == 0:
            assert send_one(home, 3).admission is Admission.STORED
        return found

    monkeypatch.setattr(Retention, "_studies", look_and_receive)
    assert sweep(home, instances_days=30) == {"instances": 0}
    paths = home.store().instances(key)
    assert [path.is_file() for path in paths] == [True] * 4
    assert home.store().study(key).state is StudyState.RECEIVED


def test_an_instance_that_comes_again_between_row_and_file_is_not_lost(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = measured(home)
    moments = iter(range(100))
    real = retention.transaction

    @contextmanager
    def transaction_and_receive(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        if next(moments) == 1:
            assert send_one(home, 1).admission is Admission.STORED
        with real(connection) as opened:
            yield opened

    monkeypatch.setattr(retention, "transaction", transaction_and_receive)
    assert sweep(home, instances_days=30) == {"instances": 1}
    (path,) = home.store().instances(key)
    assert path.is_file()
    assert list(path.parent.iterdir()) == [path]


def test_the_housekeeper_finishes_deletions_at_once_and_sweeps_once_an_hour(home: Home) -> None:
    connection = connect(home.settings.database, SCHEMA)
    settings = home.settings.model_copy(update={"retention": RetentionSettings(instances_days=1)})
    remover = Remover(connection, settings, clock=home.clock)
    housekeeper = Housekeeper(remover, Retention(connection, settings, clock=home.clock), home.clock)
    key = send(home)[0].study_key or ""
    housekeeper.tidy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Remover, "_finish_begun", lambda _: 0)
        remover.delete(key)
    assert remover.unfinished() == [key]
    housekeeper.tidy()
    assert remover.unfinished() == []


def test_the_housekeeper_sweeps_what_crashes_left(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect(home.settings.database, SCHEMA)
    draft = home.settings.labels / ".mask.nii.gz.01234567.part"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half")
    retention = Retention(connection, home.settings, clock=home.clock)
    housekeeper = Housekeeper(Remover(connection, home.settings, clock=home.clock), retention, home.clock)
    housekeeper.tidy()
    assert draft.exists(), "its writer may be alive"
    now = time.time() + 2 * 3600
    monkeypatch.setattr(time, "time", lambda: now)
    home.clock.now += 3600
    housekeeper.tidy()
    assert not draft.exists()
