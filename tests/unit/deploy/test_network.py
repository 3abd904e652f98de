import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local.failures import StepFailed
from deploy.local.network import Network, environment, kill_part, listens

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def eventually(question, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not question() and time.monotonic() < deadline:
        time.sleep(0.05)
    return question()


def test_leaving_the_network_ends_every_program(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        programs = [network.start(name, SLEEPER) for name in ("one", "two")]
        assert eventually(lambda: all(program.log.read_text() == "up\n" for program in programs))
    assert all(gone(program.child.pid) for program in programs)


def test_a_program_that_ignores_the_request_is_ended_by_force_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.network._GRACE_SECONDS", 0.5)
    stubborn = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    stubborn += "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(c.pid, flush=True); time.sleep(60)"
    with Network(tmp_path) as network:
        program = network.start("one", [sys.executable, "-c", stubborn])
        assert eventually(lambda: program.log.read_text().endswith("\n"))
    assert gone(program.child.pid)
    assert eventually(lambda: gone(int(program.log.read_text())))


def test_a_program_dies_with_the_demo_even_if_that_is_killed(tmp_path: Path) -> None:
    script = f"from pathlib import Path; from deploy.local.network import Network; import time; n = Network(Path({str(tmp_path)!r}));"
    script += f"print(n.start('one', {SLEEPER!r}).child.pid, flush=True); time.sleep(60)"
    demo = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert demo.stdout is not None
    child = int(demo.stdout.readline())
    assert eventually(lambda: (tmp_path / "one" / "program.log").read_text() == "up\n")
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    demo.stdout.close()
    assert eventually(lambda: gone(child))


def test_waiting_ends_with_a_sentence_when_a_program_has_died(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        network.start("one", [sys.executable, "-c", "raise SystemExit(7)"])
        with pytest.raises(StepFailed, match="one ended by itself with exit code 7") as failure:
            network.until(lambda: False, what="never", seconds=20)
    assert failure.value.where.endswith("one/program.log")


def test_waiting_ends_at_its_deadline(tmp_path: Path) -> None:
    with Network(tmp_path) as network, pytest.raises(StepFailed, match="the moon is green: not within 0 s"):
        network.until(lambda: False, what="the moon is green", seconds=0.3)


def test_port_ranges_are_free_and_never_given_twice(tmp_path: Path) -> None:
    network = Network(tmp_path)
    first = network.port_range()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 20 + 3))
        second = network.port_range()
    assert second not in range(first, first + 30)


def test_only_a_listening_port_answers() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        assert not listens(server.getsockname()[1])
        server.listen()
        assert listens(server.getsockname()[1])


def test_the_environment_holds_nothing_of_the_callers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("ACINUS_NODE_HOME", "/elsewhere")
    found = environment(tmp_path)
    assert "HTTPS_PROXY" not in found
    assert "ACINUS_NODE_HOME" not in found
    assert found["FLWR_TELEMETRY_ENABLED"] == "0"
    assert found["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_killing_a_part_finds_the_right_process(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Network(tmp_path) as network:
        other = network.start("other", [*SLEEPER, "--home", str(home), "run", "--only", "worker"])
        program = network.start("one", [*SLEEPER, "--home", str(home), "run", "--only", "receiver"])
        assert eventually(lambda: program.log.read_text() == "up\n")
        assert kill_part(home, "receiver") == program.child.pid
        assert program.child.wait(5) == -signal.SIGKILL
        assert other.alive
        with pytest.raises(StepFailed, match="no process plays the part gateway"):
            kill_part(home, "gateway")
