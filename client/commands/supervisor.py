"""Runs every part of the node as a child of its own and keeps it running: started anew when it dies, ended with the node.

Each child leads its own process group, so that Ctrl-C reaches the supervisor alone, which then ends them in order; and each is tied to
the supervisor's life by the kernel, so that even its `kill -9` leaves nothing behind.
"""

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from client.gate.backoff import Backoff
from client.parts import (
    BEFORE_ENROLMENT,
    NOT_ENROLLED,
    PARTS,
    RESTARTING,
    RUNNING,
    STOPPED,
    PartState,
    only_supervisor,
    write_parts,
)
from client.settings import NodeSettings
from protocol.codes import Code
from protocol.errors import UnavailableError
from strategies.flower import KEPT_MEMORY, QUIET

PARENT_VARIABLE = "ACINUS_NODE_SUPERVISOR"
"""Holds the supervisor's process id in the environment of its children."""

_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 3.5
_HEALTHY_SECONDS = 30.0

_LEFT_WAITING = {"runner": "supernode"}
"""Who would wait in vain for a part that died: a SuperNode holds the dead runner's task for a minute and takes no other work meanwhile."""

_TAKES_LEAVE, _FAREWELL_SECONDS = "supernode", 1.5
"""Who tells the centre that it goes, through another part: a SuperNode that did not is refused for most of a minute when it is back."""

_OF_PART = {"runner": KEPT_MEMORY}
"""What the environment of one part holds beside everybody's."""

log = logging.getLogger(__name__)

Say = Callable[[str], None]
"""Tells a person something, in one line."""


@dataclass(slots=True)
class _Child:
    name: str
    process: "subprocess.Popen[bytes] | None" = None
    failures: int = 0
    restarts: int = 0
    exit_code: int | None = None
    started: float = 0.0
    due: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether its process was started and has not ended."""
        return self.process is not None and self.process.poll() is None


@dataclass(slots=True)
class Supervisor:
    """Keeps the parts of one node running.

    Attributes:
        home: The node's folder as it was given; children get it in the same words.
        command: Returns the arguments that run one part.
        enrolled: Returns what the node pins of the centre; nothing as long as it may not speak to it. Parts that do start anew when it changes.
        say: Tells the person at the terminal.
        parts: The parts to run.
    """

    home: Path
    command: Callable[[str], list[str]]
    enrolled: Callable[[], object]
    say: Say
    parts: tuple[str, ...] = PARTS
    backoff: Backoff = field(default_factory=Backoff)
    _children: dict[str, _Child] = field(init=False)
    _shown: dict[str, PartState] = field(default_factory=dict)
    _pinned: object = None

    def __post_init__(self) -> None:
        self._children = {name: _Child(name) for name in self.parts}

    def run(self, stop: threading.Event) -> None:
        """Supervise until `stop` is set; then every child has ended.

        Raises:
            ConflictError: `already-exists` if a node runs in this home.
        """
        with only_supervisor(self.home):
            try:
                while not stop.is_set():
                    self._tick()
                    stop.wait(_LOOK_SECONDS)
            finally:
                self._end_all()

    def _tick(self) -> None:
        """Start what is due and note what has ended."""
        pinned = self.enrolled()
        enrolled = bool(pinned)
        self._end_of_another(pinned)
        for child in self._children.values():
            if not enrolled and child.name not in BEFORE_ENROLMENT:
                continue
            if child.process is None and time.monotonic() >= child.due:
                self._start(child)
            elif child.process is not None and not child.alive:
                self._bury(child)
        self._show(enrolled=enrolled)

    def _end_of_another(self, pinned: object) -> None:
        """Ask the parts to end that began under another word of the centre: they hold its old keys and addresses for as long as they run."""
        if pinned and self._pinned and pinned != self._pinned:
            log.info("node.enrolled-anew")
            for child in self._children.values():
                if child.name not in BEFORE_ENROLMENT and child.process is not None and child.alive:
                    _signal_group(child.process.pid, signal.SIGTERM)
        self._pinned = pinned or self._pinned

    def _start(self, child: _Child) -> None:
        """Start a part; where the machine is too full for another process it is asked again later, for the other parts still serve."""
        try:
            child.process = subprocess.Popen(
                self.command(child.name),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **QUIET, **_OF_PART.get(child.name, {}), PARENT_VARIABLE: str(os.getpid())},
                start_new_session=True,
            )
        except OSError as error:
            child.failures += 1
            child.due = time.monotonic() + self._wait_after(child.failures)
            log.warning("part.not-started", extra={"part": child.name, "errno": error.errno})
            return
        child.started = time.monotonic()
        log.info("part.spawned", extra={"part": child.name, "pid": child.process.pid})

    def _bury(self, child: _Child) -> None:
        """Note a child's end and when it is to be started again; the rest of its process group goes with it."""
        if child.process is None:
            return
        child.exit_code = child.process.returncode
        _signal_group(child.process.pid, signal.SIGKILL)
        healthy = time.monotonic() - child.started > _HEALTHY_SECONDS
        child.failures = 1 if healthy else child.failures + 1
        wait = self._wait_after(child.failures)
        child.process, child.due, child.restarts = None, time.monotonic() + wait, child.restarts + 1
        log.warning("part.died", extra={"part": child.name, "exit_code": child.exit_code, "wait": round(wait, 1)})
        self._end_waiting(child)
        self.say(
            f"{child.name} ended ({_manner(child.exit_code)}); it starts again in {wait:.1f} s. See logs/{child.name}.jsonl."
        )

    def _wait_after(self, failures: int) -> float:
        return self.backoff.delay(failures, random.random())  # noqa: S311 - jitter, no secret

    def _end_waiting(self, child: _Child) -> None:
        """Ask the part to end that waits for a dead one; it starts again like any other, and takes work at once."""
        waiting = self._children.get(_LEFT_WAITING.get(child.name, ""))
        if waiting is not None and waiting.process is not None and waiting.alive:
            _signal_group(waiting.process.pid, signal.SIGTERM)

    def _say_farewell(self) -> None:
        """End first what tells the centre that it goes, while the part that carries its words still runs."""
        leaving = self._children.get(_TAKES_LEAVE)
        if leaving is not None and leaving.process is not None and leaving.alive:
            _signal_group(leaving.process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                leaving.process.wait(_FAREWELL_SECONDS)

    def _show(self, *, enrolled: bool) -> None:
        """Write the state file when something has changed."""
        parts = {child.name: _state(child, enrolled=enrolled) for child in self._children.values()}
        if parts != self._shown:
            write_parts(self.home, parts)
            self._shown = parts

    def _end_all(self) -> None:
        """Ask every child to end, wait, and end by force what is left of its group."""
        self._say_farewell()
        living = [child.process for child in self._children.values() if child.process is not None]
        for process in living:
            _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in living:
            _wait(process, deadline - time.monotonic())
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
        write_parts(self.home, {name: PartState(state=STOPPED) for name in self.parts})


def part_command(home: Path, log_level: str) -> Callable[[str], list[str]]:
    """Return what runs one part of the node in `home`; `-P` keeps a folder called `client` in the present directory out of it."""
    fixed = [sys.executable, "-P", "-m", "client.cli", "--home", str(home), "--log-level", log_level, "run", "--only"]
    return lambda part: [*fixed, part]


def refuse_taken_ports(settings: NodeSettings, *, enrolled: bool) -> None:
    """Check that every port of the node can be listened on.

    Raises:
        UnavailableError: `port-taken`, naming the port and its setting.
    """
    for host, port, key in ports_of(settings, enrolled=enrolled):
        if not can_listen(host, port):
            raise UnavailableError(
                Code.PORT_TAKEN,
                f"{host}:{port} is taken. Stop the program that listens there, or change {key} in node.toml.",
            )


def ports_of(settings: NodeSettings, *, enrolled: bool) -> Iterable[tuple[str, int, str]]:
    """Yield host, port and setting of everything the node listens on."""
    yield settings.dicom.host, settings.dicom.port, "[dicom] port"
    yield settings.console.host, settings.console.port, "[console] port"
    if settings.stow.enabled:
        yield settings.stow.host, settings.stow.port, "[stow] port"
    if settings.hl7.enabled:
        yield settings.hl7.host, settings.hl7.port, "[hl7] port"
    if settings.fhir.enabled:
        yield settings.fhir.host, settings.fhir.port, "[fhir] port"
    if enrolled:
        yield settings.gateway.host, settings.gateway.port, "[gateway] port"
        yield "127.0.0.1", settings.flower.forward_port, "[flower] forward_port"
        yield "127.0.0.1", settings.flower.runtime_port, "[flower] runtime_port"


def can_listen(host: str, port: int) -> bool:
    """Say whether a program may listen there now."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _state(child: _Child, *, enrolled: bool) -> PartState:
    if child.alive and child.process is not None:
        return PartState(state=RUNNING, pid=child.process.pid, restarts=child.restarts, exit_code=child.exit_code)
    waiting = NOT_ENROLLED if not enrolled and child.name not in BEFORE_ENROLMENT else RESTARTING
    return PartState(state=waiting, restarts=child.restarts, exit_code=child.exit_code)


def _manner(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(timeout=max(0.05, seconds))
    except subprocess.TimeoutExpired:
        log.warning("part.forced", extra={"pid": process.pid})


def _signal_group(leader: int, number: signal.Signals) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return
