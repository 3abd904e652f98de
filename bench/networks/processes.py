"""Programs that live as long as a `with` block, in an environment in which sites find their logs and nobody calls home."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.networks.stopwatch import LOGS

ROOT = Path(__file__).resolve().parents[2]
_END_SECONDS = 20


def environment(logs: Path, **more: str) -> dict[str, str]:
    """Return the environment of every program of a federation."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        LOGS: str(logs),
        **more,
    }


@contextmanager
def running(command: list[str], log: Path, env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program in a process group of its own; at the end, ask it to end, and then end whatever is left of its group."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{command[0]} had to be killed", file=sys.stderr)
        _end_group(process.pid)
        process.wait()


def called(command: list[str], env: dict[str, str], *, cwd: Path, seconds: float = 120) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        RuntimeError: If it fails.
    """
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def until(question: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait until something holds.

    Raises:
        RuntimeError: If it does not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


def listens(port: int) -> bool:
    """Say whether something listens on loopback `port`."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
