"""The supervisor over programs that only sleep: who is started again when one of them dies."""

import errno
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.commands.supervisor import Supervisor, ports_of
from client.gate.backoff import Backoff
from client.parts import RUNNING, STATE_FILE, PartState, is_running, only_supervisor, read_parts
from client.settings import NodeSettings
from protocol.errors import ConflictError
from strategies.flower import KEPT_MEMORY, QUIET

PARTS = ("runner", "supernode", "worker")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A node's home in which the three parts run. What it pins of the centre stands in a file."""
    (tmp_path / "pinned").write_text("the centre")
    sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    stop = threading.Event()
    supervisor = Supervisor(
        tmp_path,
        lambda _: sleeper,
        (tmp_path / "pinned").read_text,
        lambda _: None,
        PARTS,
        Backoff(first=0.01, ceiling=0.02),
    )
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    until(lambda: all(part.state == RUNNING for part in parts(tmp_path).values()))
    yield tmp_path
    stop.set()
    thread.join(10)


LEAVES = """
import pathlib, signal, sys, time

name, folder = sys.argv[1], pathlib.Path(sys.argv[2])

def leave(*_):
    time.sleep(0.5 if name == "supernode" else 0)
    (folder / name).touch()
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
(folder / f"{name}.up").touch()
time.sleep(60)
"""


def test_the_supernode_ends_first_for_it_takes_its_leave_through_another_part(tmp_path: Path) -> None:
    """Each part writes when it was asked to end; the SuperNode's farewell takes a while."""
    stop = threading.Event()
    command = [sys.executable, "-S", "-c", LEAVES]
    supervisor = Supervisor(tmp_path, lambda name: [*command, name, str(tmp_path)], lambda: True, lambda _: None, PARTS)
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    until(lambda: all((tmp_path / f"{name}.up").exists() for name in PARTS))
    stop.set()
    thread.join(10)
    left = {name: (tmp_path / name).stat().st_mtime_ns for name in PARTS}
    assert min(left, key=lambda name: left[name]) == "supernode"


def test_the_runner_keeps_its_memory_for_the_weights_of_the_next_round_and_no_part_calls_home(home: Path) -> None:
    for name in PARTS:
        pairs = Path(f"/proc/{parts(home)[name].pid}/environ").read_bytes().decode().split("\0")
        environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        assert QUIET.items() <= environment.items()
        assert (KEPT_MEMORY.items() <= environment.items()) is (name == "runner")


def parts(home: Path) -> dict[str, PartState]:
    return read_parts(home, PARTS)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def restarts(home: Path) -> dict[str, int]:
    return {name: part.restarts for name, part in parts(home).items()}


def alive(pid: int | None) -> bool:
    return pid is not None and Path(f"/proc/{pid}").exists()


def kill(home: Path, name: str, known: dict[str, PartState] | None = None) -> None:
    pid = (known or parts(home))[name].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_a_part_that_dies_is_started_again_and_no_other(home: Path) -> None:
    kill(home, "worker")
    until(lambda: restarts(home)["worker"] == 1 and parts(home)["worker"].state == RUNNING)
    assert restarts(home) == {"worker": 1, "runner": 0, "supernode": 0}


def test_a_supernode_does_not_wait_for_the_answer_of_a_runner_that_died(home: Path) -> None:
    """It would do so for a minute, and the site would miss the rounds of it."""
    kill(home, "runner")
    until(lambda: restarts(home) == {"worker": 0, "runner": 1, "supernode": 1})
    until(lambda: all(part.state == RUNNING for part in parts(home).values()))


def pin(home: Path, words: str) -> None:
    (home / "draft").write_text(words)
    (home / "draft").replace(home / "pinned")


def test_who_speaks_to_the_centre_starts_anew_when_enrolment_pinned_something_else(home: Path) -> None:
    """The gateway would go on believing the centre's old grant key, and the link dial its old address. The worker measures on."""
    pin(home, "another grant key")
    until(lambda: min(restarts(home)[name] for name in ("runner", "supernode")) >= 1)
    until(lambda: all(part.state == RUNNING for part in parts(home).values()))
    time.sleep(0.3)
    before = restarts(home)
    assert before["worker"] == 0
    pin(home, "")  # for the moment between two renames
    time.sleep(0.3)
    pin(home, "another grant key")
    time.sleep(0.3)
    assert restarts(home) == before, "what it pins is what it was"
    pin(home, "")
    time.sleep(0.3)
    pin(home, "a third one")
    until(lambda: restarts(home)["runner"] > before["runner"])
    assert restarts(home)["worker"] == 0


@pytest.mark.parametrize("broken", [f".{STATE_FILE}.part", STATE_FILE])
def test_a_disk_that_takes_no_state_file_ends_no_part(home: Path, broken: str) -> None:
    """A folder stands in its way, as a full disk would: what dies then is started again, and the others serve on."""
    before = parts(home)
    (home / STATE_FILE).unlink()
    (home / broken).mkdir()
    kill(home, "worker", before)
    until(lambda: not alive(before["worker"].pid))
    time.sleep(0.5)
    assert alive(before["runner"].pid)
    (home / broken).rmdir()
    kill(home, "runner", before)
    until(lambda: restarts(home)["worker"] >= 1 and all(part.state == RUNNING for part in parts(home).values()))


def test_a_machine_too_full_for_another_process_keeps_those_that_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tries = parts(home), list[str]()

    def full(*_: object, **__: object) -> None:
        tries.append("fork")
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as scarce:
        scarce.setattr("client.commands.supervisor.subprocess.Popen", full)
        kill(home, "worker")
        until(lambda: len(tries) > 2)
        assert alive(before["runner"].pid)
    until(lambda: parts(home)["worker"].state == RUNNING)
    assert parts(home)["runner"].pid == before["runner"].pid


def test_whoever_looks_whether_a_node_runs_keeps_none_from_starting(tmp_path: Path) -> None:
    """`status` holds the lock for a glance."""
    with (tmp_path / ".run.lock").open("w") as glance:
        fcntl.flock(glance, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (glance, fcntl.LOCK_UN)).start()
        with only_supervisor(tmp_path):
            assert is_running(tmp_path)
            with pytest.raises(ConflictError), only_supervisor(tmp_path):
                raise AssertionError


def test_everything_switched_on_at_its_usual_port_goes_together(tmp_path: Path) -> None:
    doors = {
        "hl7": {"enabled": True},
        "fhir": {"enabled": True},
        "stow": {"enabled": True, "token_file": "keys/stow.token"},
    }
    settings = NodeSettings.model_validate({"home": tmp_path, **doors})
    ports = [port for _, port, _ in ports_of(settings, enrolled=True)]
    assert len(ports) == 8
    assert len(set(ports)) == len(ports)
