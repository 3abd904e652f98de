"""What is wrong with the node is nothing against a study: it refuses none, withdraws nothing and holds up nobody else."""

import threading
from pathlib import Path
from typing import ClassVar

import pytest

from client.infer import worker as worker_module
from client.store.records import StudyState
from client.store.studies import StudyStore
from protocol.case import CaseRecord
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError
from tests.fakes.node_home import Home
from tests.fakes.scans import chest_series
from tests.unit.client.infer.test_worker import Gate, send, worker_of

pytestmark = pytest.mark.usefixtures("remembered")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> StudyStore:
    return home.store()


@pytest.mark.parametrize("fault", ["disk", "device", "weights"])
def test_a_fault_of_the_node_refuses_no_study_and_withdraws_nothing(
    home: Home, store: StudyStore, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A disk that is full for a minute, a driver that is gone: more tries than a study has that kills its worker."""
    gate = Gate()
    key = send(home, store, chest_series())
    worker = worker_of(home, store, gate)
    worker.step()
    store.reopen(key)

    def fail(*_args: object, **_kwargs: object) -> None:
        if fault == "disk":
            raise UnavailableError(Code.DISK_FULL)
        raise InvalidInputError(Code.BAD_SETTING if fault == "device" else Code.BAD_SHAPE)

    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "write_study" if fault == "disk" else "measure_scan", fail)
        for _ in range(7):
            with pytest.raises((UnavailableError, InvalidInputError)):
                worker.step()
    assert (store.study(key).state, store.study(key).attempts) == (StudyState.RECEIVED, 0)
    worker.step()
    assert store.study(key).state is StudyState.MEASURED
    assert not any(record.withdrawn for record in gate.seen if isinstance(record, CaseRecord))


def test_a_study_whose_folder_cannot_be_written_holds_up_no_other(
    home: Home, store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            self.tries = getattr(self, "tries", 0) + 1
            if self.tries == 9:
                self.set()
            return self.is_set()

    gate, idle = Gate(), list[int]()
    first, second = (send(home, store, chest_series(study=name)) for name in ("first", "second"))
    real = worker_module.write_study

    def write(result: object, folder: Path, **more: object) -> None:
        if folder == store.folder(first):
            raise UnavailableError(Code.DISK_FULL)
        real(result, folder, **more)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr(worker_module, "write_study", write)
    worker_of(home, store, gate).run(Stop(), lambda: idle.append(1))
    assert (store.study(first).state, store.study(second).state) == (StudyState.RECEIVED, StudyState.MEASURED)
    assert len(gate.seen) == 1
    assert idle, "masks and the like go on"


def test_while_the_node_is_at_fault_it_tries_ever_less_often(
    home: Home, store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(threading.Event):
        waited: ClassVar[list[float]] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.waited.append(timeout or 0.0)
            if len(self.waited) == 8:
                monkeypatch.undo()
            if len(self.waited) == 9:
                self.set()
            return self.is_set()

    def full(*_args: object, **_kwargs: object) -> None:
        raise UnavailableError(Code.DISK_FULL)

    key = send(home, store, chest_series())
    monkeypatch.setattr(worker_module, "measure_scan", full)
    worker_of(home, store).run(Stop())
    assert [round(wait) for wait in Stop.waited if wait > 60] == [], "a minute at most"
    assert Stop.waited[7] >= 30
    assert Stop.waited[8] == 0.5, "well again"
    assert store.study(key).state is StudyState.MEASURED
