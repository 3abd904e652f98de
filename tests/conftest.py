"""For all tests: where they write, which files share a worker, and no looking for garbage while tests are collected."""

import gc
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

TOGETHER = (
    ("tests/integration/federation/",),
    ("tests/integration/imaging/test_faults.py", "tests/integration/imaging/test_power_cut.py"),
)
"""What runs on one worker: a network of processes takes half a minute to start, and a mount namespace that one test makes would hold on to
the disk that another one pulls the plug of."""

MIXED_INTO = 0.5
"""The share of all files among which those that wait are spread; what comes last should be short."""

MEMORY, LEAST_FREE = Path("/dev/shm"), 6 << 30
"""Where tests write if that many bytes are free there: thousands of them wait for a disk to say that it has everything, and a seventh of the
whole time was that. What must survive a power cut is cut off from a file system of its own (`tests/integration/imaging/test_power_cut.py`)."""

DESCRIPTORS, MANY_OPEN = Path("/proc/self/fd"), 512

if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= LEAST_FREE:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

gc.disable()  # what collection makes lives as long as the process


class BeginElsewhere:
    """A plugin by which each worker begins with another part of every folder: what one has compiled the others find, where side by side each
    would compile everything. A `conftest.py` is not asked about the folders below it, a plugin is."""

    def __init__(self, worker: int, workers: int):
        self.worker, self.workers = worker, workers

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Any:
        report: pytest.CollectReport = yield
        if isinstance(collector, pytest.Directory):
            first = len(report.result) * self.worker // self.workers
            report.result = report.result[first:] + report.result[:first]
        return report


def pytest_configure(config: pytest.Config) -> None:
    if workers := getattr(config, "workerinput", None):
        config.pluginmanager.register(
            BeginElsewhere(int(workers["workerid"].removeprefix("gw")), workers["workercount"])
        )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Any:
    """Order by name, wherever a worker began; then mix the files that wait for programs among those that compute, the story before all: by
    name, the two cores idle at first and queue later."""
    items.sort(key=lambda item: item.path)
    yield
    files = list(dict.fromkeys(item.nodeid.split("::")[0] for item in items))
    waiting = [file for file in files if file.startswith("tests/integration/")]
    order = {file: number / len(files) for number, file in enumerate(file for file in files if file not in waiting)}
    order |= {file: MIXED_INTO * number / len(waiting) for number, file in enumerate(waiting)}
    order |= {file: -1 for file in files if file.startswith("tests/e2e/")}
    items.sort(key=lambda item: order[item.nodeid.split("::")[0]])


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Close what tests left open, which garbage collection among a million objects that stay would do late: who waits by `select`, as
    pynetdicom does, can wait for no descriptor beyond 1,023."""
    if DESCRIPTORS.is_dir() and len(os.listdir(DESCRIPTORS)) > MANY_OPEN:  # noqa: PTH208 - asked after every test
        gc.collect()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Give the memory back when all went well."""
    written: Path = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    if exitstatus == 0 and MEMORY in written.parents and not hasattr(session.config, "workerinput"):
        shutil.rmtree(written, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the groups of `TOGETHER` together where files are (`--dist loadfile`)."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFileOrFolder(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            group = next((group for group in TOGETHER if nodeid.startswith(group)), None)
            return group[0] if group else super()._split_scope(nodeid)

    return ByFileOrFolder(config, log)
