"""What the parts are started with, and the small file and the lock by which others see how they are."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protocol.codes import Code
from server.parts import (
    FLEET,
    PARTS,
    REGISTRY,
    RUNNING,
    STATE_FILE,
    STOPPED,
    SUPERLINK,
    PartState,
    command,
    environment,
    is_running,
    only_supervisor,
    program,
    read_parts,
    write_parts,
)
from server.settings import CentreSettings
from strategies.flower import FOLDER_VARIABLE
from tests.fakes.outcomes import code_of

ROOT = Path(__file__).resolve().parents[3]


def test_the_superlink_stays_on_loopback_behind_tls_and_its_nodes_have_keys(settings: CentreSettings) -> None:
    words = command(SUPERLINK, settings)
    options = dict(zip(words[1::1], [*words[2:], ""], strict=False))
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "8446")
    assert options["--ssl-certfile"] == str(settings.home / "pki" / "superlink.pem")
    assert options["--database"] == str(settings.home / "superlink" / "state.db")
    assert "--enable-supernode-auth" in words
    assert "--disable-runtime-dependency-installation" in words
    assert not any("insecure" in word or "0.0.0.0" in word for word in words)


def test_the_other_parts_are_our_own_programs_in_the_same_home(settings: CentreSettings) -> None:
    home = str(settings.home)
    assert command(REGISTRY, settings)[1:] == ["--home", home, "serve"]
    assert command(FLEET, settings)[1:] == ["--home", home, "run", "--only", "fleet"]
    assert command(SUPERLINK, settings)[:4] == [sys.executable, "-P", "-m", "strategies.flower.superlink"]
    assert [Path(command(part, settings)[0]).name for part in PARTS[1:]] == ["acinus-registry", "acinus-centre"]


def test_programs_are_those_beside_this_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program("acinus-registry") == str(Path(sys.executable).with_name("acinus-registry"))
    assert program("no-such-program") == "no-such-program"


def test_no_part_calls_home_or_installs_anything(settings: CentreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    monkeypatch.setenv("NO_PROXY", "")
    got = environment(settings)
    assert got["FLWR_TELEMETRY_ENABLED"] == "0"
    assert got["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert got["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert got["NO_PROXY"] == "localhost,127.0.0.1"
    assert got["FLWR_HOME"].startswith(str(settings.home))
    assert got[FOLDER_VARIABLE] == str(settings.home / "superlink" / "pieces")
    assert got["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_how_the_parts_are_can_be_read_while_somebody_holds_the_home(tmp_path: Path) -> None:
    parts = {FLEET: PartState(state=RUNNING, pid=7, restarts=2), SUPERLINK: PartState(state=STOPPED, exit_code=-9)}
    with only_supervisor(tmp_path):
        write_parts(tmp_path, parts)
        assert read_parts(tmp_path) == parts | {REGISTRY: PartState(state=STOPPED)}
        assert is_running(tmp_path)
    assert not is_running(tmp_path)
    assert {part.state for part in read_parts(tmp_path).values()} == {STOPPED}, "an old file is not believed"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"fleet": 3}', b'{"fleet": {"x": 1}}', b"\xff"])
def test_a_damaged_file_means_that_nothing_is_known(tmp_path: Path, content: bytes) -> None:
    with only_supervisor(tmp_path):
        (tmp_path / STATE_FILE).write_bytes(content)
        assert {part.state for part in read_parts(tmp_path).values()} == {STOPPED}


def test_a_home_that_nobody_ever_held_is_free(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    assert set(read_parts(tmp_path)) == set(PARTS)


def test_a_disk_that_takes_no_more_does_not_end_the_parts(tmp_path: Path) -> None:
    write_parts(tmp_path, {FLEET: PartState(state=RUNNING)})
    before = (tmp_path / STATE_FILE).read_bytes()
    (tmp_path / f".{STATE_FILE}.part").mkdir()
    write_parts(tmp_path, {})
    assert (tmp_path / STATE_FILE).read_bytes() == before


HOLD = """
import sys, time
from pathlib import Path
from server.parts import only_supervisor
with only_supervisor(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_supervisor_holds_a_home_until_it_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert is_running(tmp_path)

    def hold() -> None:
        with only_supervisor(tmp_path):
            raise AssertionError("held twice")

    assert code_of(hold) is Code.ALREADY_EXISTS
    holder.send_signal(signal.SIGKILL)
    holder.wait(30)
    holder.stdout.close()
    with only_supervisor(tmp_path):
        assert is_running(tmp_path)


def glance(home: Path, until: float) -> None:
    while time.monotonic() < until:
        is_running(home)


def test_who_looks_whether_a_centre_runs_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    (tmp_path / ".run.lock").touch()
    looks = [
        multiprocessing.get_context("fork").Process(target=glance, args=(tmp_path, time.monotonic() + 2))
        for _ in range(2)
    ]
    for look in looks:
        look.start()
    for _ in range(50):
        with only_supervisor(tmp_path):
            pass
    for look in looks:
        look.join(30)


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    def hold() -> None:
        with only_supervisor(tmp_path / "none"):
            raise AssertionError("held")

    assert code_of(hold) is Code.DISK_FULL
