"""What crashes leave behind goes once nobody can be at work on it; what a row names stays, and so does what is young."""

import time
from pathlib import Path

import pytest
import torch

from client.store.database import connect
from client.store.drawn import SIGNATURE
from client.store.leftovers import sweep_leftovers
from client.store.records import TrainingCase
from client.store.removal import Remover
from client.store.tables import SCHEMA
from client.train.cohort import Cohort
from models.net import GgoNet
from models.slabs import PreparedSlabs
from protocol.codes import Code
from protocol.plan import LabelUse
from tests.fakes.node_home import Home
from tests.unit.client.store.test_removal import measured

HASH = "0" * 64


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def sweep(home: Home, *, age: float = -1.0) -> int:
    return sweep_leftovers(connect(home.settings.database, SCHEMA), home.settings, time.time() - age)


def left(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"CANARY")
    return path


def leftovers_of(home: Home, key: str) -> list[Path]:
    """One of each kind: drafts, and whole files that no row names."""
    settings = home.settings
    return [
        left(settings.studies / key / ".ct.nii.gz.01234567.part"),
        left(settings.labels / f".{key}-x.nii.gz.01234567.part"),
        left(settings.labels / "drawn" / f".{key}-x.dcm.01234567.part"),
        left(settings.updates / "run" / ".0001.safetensors.01234567.part"),
        left(settings.prepared / ".x.safetensors.01234567.part"),
        left(settings.outgoing / "picture" / ".x.dcm.01234567.part"),
        left(settings.quarantine / ".x.bin.01234567.part"),
        left(settings.home / ".audit.head.01234567.part"),
        left(settings.labels / f"{key}-{'1' * 16}.nii.gz"),
        left(settings.labels / "drawn" / f"{key}-{'1' * 64}.dcm"),
        left(settings.quarantine / f"{'1' * 64}.bin"),
        left(settings.instances / key / f"{'1' * 32}-{'1' * 16}.dcm"),
        left(settings.prepared / f"{'1' * 32}-{'1' * 16}.safetensors"),
    ]


def files(home: Home) -> set[Path]:
    return {path for path in (home.settings.home / "store").rglob("*") if path.is_file()}


def test_every_kind_of_leftover_goes_and_nothing_else(home: Home) -> None:
    key = measured(home)
    store, spooled = home.store(), left(home.settings.home / "spool" / "odd")
    store.quarantine(spooled, HASH, Code.UNREADABLE)
    store.drawn.keep(key, spooled, HASH)
    before, found = files(home), leftovers_of(home, key)
    assert sweep(home) == len(found)
    assert [path for path in found if path.exists()] == []
    assert files(home) == before
    assert sweep(home) == 0


def test_what_is_young_stays_for_its_writer(home: Home) -> None:
    found = leftovers_of(home, measured(home))
    assert sweep(home, age=3600.0) == 0
    assert all(path.exists() for path in found)


def test_a_mask_that_is_a_label_no_more_but_was_one_stays(home: Home) -> None:
    key, labels = measured(home), home.store().labels
    left(labels.place(key, "f" * 64))
    labels.keep_mask(key, grid="grid", source="another", sha256="f" * 64)
    assert sweep(home) == 0
    assert labels.place(key, HASH).exists()


def test_slices_that_training_prepared_while_their_study_was_deleted_go(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever prepares a study reads for a second and then writes; the deletion of between has seen no file."""
    key = measured(home)
    (case,) = home.store().labels.training_cases(LabelUse.MASKS)
    cohort = Cohort(home.settings.prepared, lambda _: GgoNet())

    def delete_and_prepare(_case: TrainingCase) -> PreparedSlabs:
        Remover(connect(home.settings.database, SCHEMA), home.settings, clock=home.clock).delete(key)
        return PreparedSlabs(torch.zeros(1, 16, 16), torch.zeros(1, 16, 16), torch.ones(1, 16, 16) > 0)

    monkeypatch.setattr(cohort, "_prepared", delete_and_prepare)
    prepared = cohort.prepare(case)
    assert prepared.exists()
    assert sweep(home) == 1
    assert not prepared.exists()


def test_prepared_slices_of_who_withdrew_go(home: Home) -> None:
    key, other = measured(home), measured(home, "another", "PAT-2")
    home.store().labels.withdraw_subject(key)
    assert sweep(home) == 1
    assert [path.name for path in home.settings.prepared.iterdir()] == [f"{other}-0123.safetensors"]


def test_a_mask_that_waited_and_is_settled_is_left_over(home: Home) -> None:
    key, store = measured(home), home.store()
    store.drawn.keep(key, left(home.settings.home / "spool" / "seg"), HASH, decided_by=SIGNATURE)
    (mask,) = store.drawn.waiting()
    copy = mask.path.read_bytes()
    store.drawn.settle(mask)
    mask.path.write_bytes(copy)  # the disk as it is after a kill between row and file
    assert sweep(home) == 1
    assert not mask.path.exists()
