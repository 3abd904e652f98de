"""A whole centre as processes on loopback, driven by its command lines, and toy hospitals beside it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from registry_api import cli as registry_cli
from server.family import family
from tests.fakes.toy_site import enrol_toy

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]


def free_block(count: int) -> int:
    """The first of `count` neighbouring free ports, below the range from which the kernel takes ports for outgoing connections."""
    for first in range(23_000 + os.getpid() % 400 * 20, 32_000, 20):
        if all(_free(first + offset) for offset in range(count)):
            return first
    raise AssertionError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def until(question: Callable[[], bool], *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


class CentreUnderTest:
    """`acinus-centre` in a folder of its own, on four neighbouring ports, with room for the ports of its sites behind them."""

    def __init__(self, home: Path, *, witness: bool = False) -> None:
        self.home = home
        self.port = free_block(12)
        self.environment = {
            **os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "ACINUS_CENTRE_HOME": str(home),
            "ACINUS_CENTRE_EVALUATION__PHANTOMS": "1", "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        if witness:
            self.environment["ACINUS_CENTRE_WITNESS__DIRECTORY"] = "witness"
        self.child: subprocess.Popen[bytes] | None = None

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """Start `acinus-centre` with these words and do not wait for it."""
        return subprocess.Popen(
            [str(BIN / "acinus-centre"), *words],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def call(self, *words: str, program: str = "acinus-centre", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(BIN / program), *words], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def json(self, *words: str, program: str = "acinus-centre") -> Any:
        return json.loads(self.call(*words, "--json", program=program).stdout)

    def start(self) -> None:
        self.child = subprocess.Popen(
            [str(BIN / "acinus-centre"), "run"], env=self.environment, stderr=(self.home / "run.err").open("wb")
        )
        until(lambda: b"is up" in (self.home / "run.err").read_bytes(), seconds=60, what="the centre is up")

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.child is not None
        self.child.send_signal(number)
        return self.child.wait(30)

    def processes(self) -> set[int]:
        """The centre and all that it started, Flower's own children included."""
        assert self.child is not None
        return family(self.child.pid)

    def registry(self, *words: str) -> Any:
        """Run `acinus-registry` in this process: a start of the interpreter less."""
        done = CliRunner().invoke(
            registry_cli.app, ["--home", str(self.home), *words, "--json"], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def enrol(self, home: Path, site: str) -> None:
        invite = self.registry("invite", "create", "--site", site, "--region", "XA-N")["invite"]
        assert enrol_toy(home, invite) == site

    def start_site(self, home: Path, site: str, port: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.toy_site", str(home), site, str(port)],
            env=self.environment, cwd=ROOT, stdout=(home / "site.log").open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip
