"""Ctrl-C in the middle of the demo: it says so, and every program that it started has ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_story import ROOT, mentions
from tests.fakes.dicom_peer import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def playing(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """The small story once its centre and the centre's three parts run; it leads its own process group, as at a terminal."""
    command = [sys.executable, "-m", "deploy.local", "--small", "--out", str(tmp_path / "demo")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as demo:
        wait_for(lambda: demo.poll() is None and len(mentions(tmp_path / "demo")) > 4, 120)
        yield demo
        demo.kill()


@pytest.mark.parametrize(
    "whom", ["the group, as a terminal does", pytest.param("the demo alone", marks=pytest.mark.nightly)]
)
def test_nothing_is_left_running(playing: "subprocess.Popen[str]", tmp_path: Path, whom: str) -> None:
    (os.killpg if "group" in whom else os.kill)(playing.pid, signal.SIGINT)
    _, said = playing.communicate(timeout=120)
    assert playing.returncode == 130, said
    assert "every program has been ended" in said
    assert "Traceback" not in said
    assert mentions(tmp_path / "demo") == []
