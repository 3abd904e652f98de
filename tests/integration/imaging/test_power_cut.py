"""Real power cuts in small: the store lies on an ext4 of its own, which is shut down without writing back while instances come in.

What was acknowledged is there after the file system is mounted again, indexed and whole: also its name, for which nothing but the file's own
fsync was called (`client.store.files.adopt`, ADR 0043).
"""

import ctypes
import fcntl
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.receive.intake import Intake
from client.store.part10 import dataset_sha256
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.dicom_peer import CALLER, answers, wait_for
from tests.fakes.node_home import Home
from tests.fakes.ports import free_port
from tests.integration.imaging.test_killed import RECEIVER, kill, send_until_broken, start

_SHUTDOWN, _WITHOUT_LOG = 0x8004587D, 2
"""EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h): nothing more reaches the disk, not even the journal."""


class SmallDisk:
    """An ext4 in a file, mounted at a place."""

    def __init__(self, image: Path, place: Path) -> None:
        self.image, self.place = image, place
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(96 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, timeout=60)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.place)], check=True, timeout=60)

    def pull_the_plug(self) -> None:
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, ctypes.c_uint32(_WITHOUT_LOG))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        for _ in range(50):
            if (
                subprocess.run(["umount", str(self.place)], check=False, capture_output=True, timeout=60).returncode
                == 0
            ):
                return
            time.sleep(0.1)
        subprocess.run(["umount", "-l", str(self.place)], check=False, timeout=60)


def can_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        return False
    return subprocess.run(["losetup", "-f"], check=False, capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_mount(), reason="no root or no loop devices here: a power cut cannot be made"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk.img", tmp_path / "disk")
    yield disk
    disk.unmount()


def test_what_was_acknowledged_survives_power_cuts(disk: SmallDisk) -> None:
    port, chance = free_port(), random.Random(5)
    acknowledged: set[str] = set()
    series = plain_series(400, 64)
    digests = {str(one.SOPInstanceUID): dataset_sha256(as_bytes(one)) for one in series.datasets()}
    for cut in range(4):
        home = Home(disk.place / "home", port=port, allowed_callers=[CALLER])
        os.sync()  # the site's key is older than the cut
        process = start(RECEIVER, str(home.settings.home), str(port))
        wait_for(lambda: answers(port))
        enough = len(acknowledged) + chance.randint(3, 25)

        def pull(enough: int = enough) -> None:
            wait_for(lambda: len(acknowledged) >= enough)
            disk.pull_the_plug()

        puller = threading.Thread(target=pull)
        puller.start()
        send_until_broken(port, series, acknowledged)
        puller.join()
        kill(process)
        disk.unmount()
        disk.mount()
        store = Home(disk.place / "home").store()
        held = {
            path.stem.partition("-")[0]: path for study in store.studies() for path in store.instances(study.study_key)
        }
        for uid in acknowledged:
            path = held[home.pseudonyms._name("instance", uid)]
            assert dataset_sha256(path) == digests[uid], f"whole, after cut {cut}"
        store.close()


@pytest.mark.parametrize("forget", ["fsync of files", "nothing"])
def test_the_test_has_teeth(disk: SmallDisk, forget: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fsync the same cut loses what was taken in; with it nothing."""
    home = Home(disk.place / "home")
    os.sync()
    store = home.store()
    if forget != "nothing":
        monkeypatch.setattr("os.fsync", lambda _descriptor: None)
    names = []
    for index, dataset in enumerate(plain_series(5, 64).datasets()):
        spooled = disk.place / f"{index}.dcm"
        spooled.write_bytes(as_bytes(dataset))
        Intake(store, home.pseudonyms).take(spooled)
        names += [home.pseudonyms._name("instance", str(dataset.SOPInstanceUID))]
    disk.pull_the_plug()
    monkeypatch.undo()
    store.close()
    disk.unmount()
    disk.mount()
    again = Home(disk.place / "home").store()
    paths = [path for study in again.studies() for path in again.instances(study.study_key)]
    assert sorted(path.stem.partition("-")[0] for path in paths) == sorted(names), "SQLite forces its own file"
    whole = [path for path in paths if path.is_file() and path.stat().st_size > 64 * 64 * 2]
    again.close()
    assert (len(whole) == 5) is (forget == "nothing")
