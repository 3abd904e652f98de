"""A node's home with one measured study, made once and copied for each test that wants it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.infer.worker import Worker
from models import measure as measuring
from tests.fakes.node_home import Home
from tests.fakes.remembered import measure_once
from tests.fakes.scans import chest_series
from tests.unit.client.infer.test_worker import Shelf, send


@dataclass(frozen=True)
class Measured:
    """A home to copy, not to change."""

    folder: Path
    key: str
    now: float

    def copy(self, folder: Path, **dicom: object) -> Home:
        shutil.copytree(self.folder, folder)
        home = Home(folder, **dicom)
        home.clock.now = self.now
        return home


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    home = Home(tmp_path_factory.mktemp("measured") / "home")
    store = home.store()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "measure", measure_once)
        key = send(home, store, chest_series())
        Worker(store, Shelf(home.settings.models, lambda _: False), home.settings).measure(key)
    store.close()
    return Measured(home.settings.home, key, home.clock.now)
