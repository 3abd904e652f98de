"""How tests are shared out among the workers of `make test`."""

from types import SimpleNamespace

from tests.conftest import pytest_xdist_make_scheduler


def scope_of(nodeid: str) -> str:
    options = {"dist": "loadfile", "tx": ["popen", "popen"]}
    config = SimpleNamespace(getvalue=options.__getitem__)
    scope: str = pytest_xdist_make_scheduler(config, None)._split_scope(nodeid)  # type: ignore[arg-type] # as far as it is asked
    return scope


def test_files_that_share_a_network_share_a_worker() -> None:
    folder = "tests/integration/federation/"
    assert scope_of(f"{folder}test_deaths.py::test_a[x]") == scope_of(f"{folder}test_bundles.py::test_b") == folder


def test_what_mounts_and_what_pulls_the_plug_share_a_worker() -> None:
    folder = "tests/integration/imaging/"
    assert scope_of(f"{folder}test_faults.py::test_a") == scope_of(f"{folder}test_power_cut.py::test_b")
    assert scope_of(f"{folder}test_killed.py::test_c") == f"{folder}test_killed.py"


def test_every_other_file_is_a_portion_of_its_own() -> None:
    assert scope_of("tests/unit/test_docs.py::test_a") == "tests/unit/test_docs.py"


def test_another_way_of_sharing_out_is_left_to_xdist() -> None:
    config = SimpleNamespace(getvalue={"dist": "worksteal"}.__getitem__)
    assert pytest_xdist_make_scheduler(config, None) is None  # type: ignore[arg-type] # as far as it is asked
