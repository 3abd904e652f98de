"""A run's folder, a centre's home, a catalogue: on a real disk, with nothing running."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import save

from server.catalogue import Catalogue
from server.home import Plot, make_home
from server.run import RunFolder
from server.settings import CentreSettings, load_settings
from tests.fakes.rounds import RUN, SITES, a_plan, weights

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that is about to begin, from weights of zero."""
    run = RunFolder(tmp_path / "runs" / RUN)
    run.start(a_plan(), {site: number for number, site in enumerate(SITES, start=11)}, save(weights()))
    return run


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """An empty catalogue."""
    shelf = tmp_path / "catalogue"
    shelf.mkdir()
    return Catalogue(shelf, Ed25519PrivateKey.generate(), lambda: NOW)


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A centre as `init` makes it; not to be changed."""
    home = tmp_path_factory.mktemp("made") / "centre"
    make_home(home, Plot(), now=datetime.now(UTC))
    return home


@pytest.fixture
def home(made_home: Path, tmp_path: Path) -> Path:
    """A centre of the test's own."""
    import shutil

    own = tmp_path / "centre"
    shutil.copytree(made_home, own)
    return own


@pytest.fixture
def settings(home: Path) -> CentreSettings:
    return load_settings(home)
