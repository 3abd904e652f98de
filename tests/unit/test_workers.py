"""How tests are shared out among the workers of `make test`."""

from types import SimpleNamespace

import pytest

from tests.conftest import TOGETHER, pytest_xdist_make_scheduler


def scope_of(nodeid: str) -> str:
    options = {"dist": "loadfile", "tx": ["popen", "popen"]}
    config = SimpleNamespace(getvalue=options.__getitem__)
    scope: str = pytest_xdist_make_scheduler(config, None)._split_scope(nodeid)  # type: ignore[arg-type] # as far as it is asked
    return scope


@pytest.mark.parametrize("folder", TOGETHER)
def test_files_that_share_a_network_share_a_worker(folder: str) -> None:
    assert scope_of(f"{folder}test_deaths.py::test_a[x]") == scope_of(f"{folder}test_bundles.py::test_b") == folder


def test_every_other_file_is_a_portion_of_its_own() -> None:
    assert scope_of("tests/unit/test_docs.py::test_a") == "tests/unit/test_docs.py"


def test_another_way_of_sharing_out_is_left_to_xdist() -> None:
    config = SimpleNamespace(getvalue={"dist": "worksteal"}.__getitem__)
    assert pytest_xdist_make_scheduler(config, None) is None  # type: ignore[arg-type] # as far as it is asked
