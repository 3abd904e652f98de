"""For all tests: which files share a worker, and no looking for garbage while tests are collected."""

import gc
from typing import Any

import pytest

TOGETHER = ("tests/integration/federation/",)
"""Folders whose tests share a network of processes: half a minute of work, so they run on one worker."""

gc.disable()  # what collection makes lives as long as the process


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the folders of `TOGETHER` together where files are (`--dist loadfile`)."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFileOrFolder(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = next((one for one in TOGETHER if nodeid.startswith(one)), None)
            return folder or super()._split_scope(nodeid)

    return ByFileOrFolder(config, log)
