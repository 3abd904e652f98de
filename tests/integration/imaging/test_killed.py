"""Power cuts in small: the receiver and the worker are killed with SIGKILL while they work, and start again."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from client.receive.intake import Intake, take_bytes
from client.store.records import StudyState
from tests.fakes.ct_series import CtSeries, as_bytes, plain_series
from tests.fakes.dicom_peer import CALLER, answers, wait_for
from tests.fakes.node_home import Home
from tests.fakes.ports import free_port
from tests.fakes.scans import chest_series

ROOT = Path(__file__).resolve().parents[3]

RECEIVER = """
import sys, threading
from pathlib import Path
from tests.fakes.node_home import Home
from client.receive.scp import Receiver
home = Home(Path(sys.argv[1]), port=int(sys.argv[2]), allowed_callers=["TESTPACS"])
Receiver(home.store, home.pseudonyms, home.settings).run(threading.Event())
"""

WATCHER = """
import sys, threading
from pathlib import Path
from client.infer.source import every_file
from client.receive.intake import Intake
from client.receive.watch import FolderWatch
from client.sections import WatchSettings
from tests.fakes.node_home import Home
home = Home(Path(sys.argv[1]))
watch = WatchSettings(folder=Path(sys.argv[2]), settle_seconds=0.1)
store = home.store()
settings = home.settings.model_copy(update={"watch": watch})
FolderWatch(store, Intake(store, home.pseudonyms), settings, every_file).run(threading.Event())
"""

WORKER = """
import sys, threading
from pathlib import Path
from tests.fakes.node_home import Home
from tests.unit.client.infer.test_worker import Shelf
from client.infer.worker import Worker
home = Home(Path(sys.argv[1]))
home.clock.now += 1000
Worker(home.store(), Shelf(home.settings.models, lambda _: False), home.settings).run(threading.Event())
"""


def start(script: str, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", script, *words], cwd=ROOT, env=environment)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> threading.Thread:
    """Kill a process from beside, in whatever it is doing, once `reached` holds."""

    def watch() -> None:
        wait_for(reached)
        process.send_signal(signal.SIGKILL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    return watcher


def send_until_broken(port: int, series: CtSeries, sent: set[str]) -> None:
    """Send what has not been acknowledged; note each acknowledgement."""
    entity = AE(ae_title=CALLER)
    entity.dimse_timeout = entity.network_timeout = 5
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="ACINUS")
    for dataset in series.datasets():
        if str(dataset.SOPInstanceUID) in sent:
            continue
        if not association.is_established:
            return
        try:
            answer = association.send_c_store(dataset)
        except (RuntimeError, ConnectionError):
            return
        if "Status" not in answer or answer.Status != 0:
            break
        sent.add(str(dataset.SOPInstanceUID))
    if association.is_established:
        association.release()


@pytest.mark.slow
def test_whatever_the_receiver_acknowledged_is_there(tmp_path: Path) -> None:
    port = free_port()
    home = Home(tmp_path / "home", port=port, allowed_callers=[CALLER])
    series = plain_series(200, 64)
    acknowledged: set[str] = set()
    chance = random.Random(7)
    for _ in range(4):
        process = start(RECEIVER, str(home.settings.home), str(port))
        wait_for(lambda: answers(port))
        enough = len(acknowledged) + chance.randint(1, 14)
        watcher = kill_when(process, lambda enough=enough: len(acknowledged) >= enough)
        send_until_broken(port, series, acknowledged)
        watcher.join()
        process.wait()
        store = home.store()
        held = {
            path.stem.partition("-")[0]: path for study in store.studies() for path in store.instances(study.study_key)
        }
        names = {home.pseudonyms._name("instance", uid) for uid in acknowledged}
        assert names <= set(held), "acknowledged is stored"
        assert len(held) <= len(names) + 1, "at most the one that was under way is extra"
        assert all(path.stat().st_size > 64 * 64 * 2 for path in held.values()), "and whole"
    assert len(acknowledged) >= 4


@pytest.mark.slow
def test_a_killed_watch_loses_nothing_and_takes_nothing_twice(tmp_path: Path) -> None:
    """Files and zips, good and odd; killed six times at any moment, every one of them is in the store or in quarantine, once."""
    home, folder = Home(tmp_path / "home"), tmp_path / "in"
    folder.mkdir()
    expected = 0
    for name in range(12):
        series = plain_series(6, 32, study=f"study{name}")
        if name % 3:
            expected += len(series.write(folder / str(name)))
            continue
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for index, dataset in enumerate(series.datasets()):
                archive.writestr(f"{index}.dcm", as_bytes(dataset))
                expected += 1
            archive.writestr("notes.txt", f"note {name}")
    (folder / "odd").write_bytes(b"odd")
    chance, store = random.Random(11), home.store()
    for _ in range(6):
        process = start(WATCHER, str(home.settings.home), str(folder))
        before = store.counts()["received"]
        wait_for(lambda before=before: store.counts()["received"] > before or not any(folder.rglob("*.*")), 60)
        time.sleep(chance.uniform(0.0, 0.1))
        kill(process)
        there = sum(len(store.instances(study.study_key)) for study in store.studies())
        left = sum(1 for path in folder.rglob("*.dcm"))
        assert there + left + 6 * sum(1 for _ in folder.glob("*.zip")) >= expected, "removed is stored"
    process = start(WATCHER, str(home.settings.home), str(folder))
    wait_for(lambda: not any(path.is_file() for path in folder.rglob("*")), 60)
    kill(process)
    paths = [path for study in store.studies() for path in store.instances(study.study_key)]
    assert (len(paths), len(set(paths))) == (expected, expected)
    assert len(store.studies()) == 12
    assert all(study.revision == 6 for study in store.studies()), "each instance counted once"
    assert [one.code for one in store.quarantined()] == ["unreadable"] * 5, "four notes and one odd file"


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    store = home.store()
    intake = Intake(store, home.pseudonyms)
    for name in ("a", "b", "c"):
        for dataset in chest_series(study=name).datasets():
            take_bytes(intake, as_bytes(dataset), home.settings.home / "spool")
    chance = random.Random(3)
    for _ in range(2):
        process = start(WORKER, str(home.settings.home))
        wait_for(lambda: any(study.attempts for study in store.studies()) or not store.due(-1), 300)
        time.sleep(chance.uniform(0.0, 0.8))
        kill(process)
        for study in store.studies():
            complete = (store.folder(study.study_key) / "finding.json").exists()
            assert study.state is not StudyState.MEASURED or complete, "measured means that the files are there"
    process = start(WORKER, str(home.settings.home))
    wait_for(lambda: store.counts()["measured"] == 3, 300)
    kill(process)
    assert [store.finding(study.study_key) is not None for study in store.studies()] == [True] * 3
