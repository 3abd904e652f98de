"""Starts the programs as child processes and ends them all again, whatever happens.

Each child leads its own process group, writes to its own log and is told by the kernel when the demo dies, so that neither Ctrl-C nor
`kill -9` of the demo leaves a server behind.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.local.failures import StepFailed

_GRACE_SECONDS = 20.0
_PORTS = range(21_000, 32_000, 20)
"""Below the kernel's ephemeral range (32768 upwards), so that no outgoing connection takes a port between choice and use."""
_KEPT = ("LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE")
_LEASH = Path(__file__).with_name("leash.py")


@dataclass(frozen=True, slots=True)
class Program:
    """One running program of the network."""

    name: str
    log: Path
    child: "subprocess.Popen[bytes]"

    @property
    def alive(self) -> bool:
        """Whether the program still runs."""
        return self.child.poll() is None


class Network:
    """All programs of the story. Use it as a context: on leaving, every one of them has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: dict[str, Program] = {}
        self._ranges = _free_ranges()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def port_range(self) -> int:
        """Return the first of ten free neighbouring ports that no other caller gets."""
        return next(self._ranges)

    def start(self, name: str, arguments: list[str | Path]) -> Program:
        """Start a program under `name`; its output goes to `<folder>/<name>/program.log`."""
        log = self.folder / name / "program.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-S", str(_LEASH), str(os.getpid()), *(str(argument) for argument in arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(self.folder),
                start_new_session=True,
            )
        self.programs[name] = Program(name, log, child)
        return self.programs[name]

    def stop(self) -> None:
        """Ask every program to end, wait, and end by force what is left of its group."""
        for program in reversed(self.programs.values()):
            if program.alive:
                program.child.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for program in reversed(self.programs.values()):
            _wait(program, deadline - time.monotonic())
            _signal_group(program, signal.SIGKILL)
            program.child.wait()
        self.programs.clear()

    def check(self) -> None:
        """Raise if a program that should run has ended.

        Raises:
            StepFailed: With the program's name and its log.
        """
        for program in self.programs.values():
            if not program.alive:
                raise StepFailed(
                    f"{program.name} ended by itself with exit code {program.child.returncode}", program.log
                )

    def until(self, question: Callable[[], bool], *, what: str, seconds: float) -> None:
        """Ask `question` until it is true.

        Raises:
            StepFailed: If it is not true within `seconds`, or if a program ends meanwhile.
        """
        asked = time.monotonic()
        deadline = asked + seconds
        while not question():
            self.check()
            answered = time.monotonic()
            if answered > deadline:
                raise StepFailed(f"{what}: not within {seconds:.0f} s", self.folder)
            time.sleep(
                max(0.25, 2.0 * (answered - asked))
            )  # a question may start a program: two thirds of the time are left to the work
            asked = time.monotonic()


def environment(home: Path) -> dict[str, str]:
    """Return the few variables a program needs: nothing of the caller's proxies, keys or settings leaks into the network."""
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }


def program_path(name: str) -> str:
    """Return the console script `name` of the Python that plays the story."""
    return str(Path(sys.executable).parent / name)


def listens(port: int) -> bool:
    """Say whether something accepts connections on loopback `port`."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def part_pid(home: Path, part: str) -> int | None:
    """Return the process id of the child of the node in `home` that plays `part`, if there is one just now."""
    return next((pid for pid, words in _processes() if str(home) in words and words[-2:] == ["--only", part]), None)


def kill_part(home: Path, part: str) -> int:
    """Kill (-9) the child of the node in `home` that plays `part`, and return its process id.

    Raises:
        StepFailed: If there is no such process.
    """
    pid = part_pid(home, part)
    if pid is None:
        raise StepFailed(f"no process plays the part {part}, so it cannot be killed", home)
    os.kill(pid, signal.SIGKILL)
    return pid


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the process id and the arguments of every process that may be seen."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        yield int(folder.name), [word for word in words if word]


def _free_ranges() -> Iterator[int]:
    """Yield the first port of each range whose ten ports can be bound."""
    start = os.getpid() % len(_PORTS)
    for index in range(len(_PORTS)):
        base = _PORTS[(start + index) % len(_PORTS)]
        if all(_can_bind(base + offset) for offset in range(10)):
            yield base
    raise StepFailed("no ten neighbouring free ports between 21000 and 32000", Path())


def _can_bind(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _wait(program: Program, seconds: float) -> None:
    try:
        program.child.wait(timeout=max(0.1, seconds))
    except subprocess.TimeoutExpired:
        _signal_group(program, signal.SIGKILL)


def _signal_group(program: Program, number: signal.Signals) -> None:
    try:
        os.killpg(program.child.pid, number)
    except ProcessLookupError:
        return
