"""One Orthanc for the session, emptied before each test, and a node's home beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.orthanc import IS_THERE, Orthanc, running_orthanc
from tests.fakes.pacs_site import Site
from tests.fakes.remembered import remembered

__all__ = ["remembered"]


@pytest.fixture(scope="session")
def one_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if not IS_THERE:
        pytest.skip("orthanc and orthanc-dicomweb are not installed")
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(one_orthanc: Orthanc) -> Orthanc:
    one_orthanc.empty()
    front = one_orthanc.front
    front.fault, front.cut, front.cuts, front.down = None, 0, b"\0", False
    front.heads.clear()
    return one_orthanc


@pytest.fixture
def site(tmp_path: Path, orthanc: Orthanc, remembered: None) -> Site:
    return Site(tmp_path / "home", orthanc)
