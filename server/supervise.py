"""`acinus-centre run`: starts the parts, starts them again when they die, and ends them all."""

import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError, error_for
from server.family import adopt_orphans, end_all, reap_adopted, start_child
from server.files import unwritable
from server.freshness import keep_fresh
from server.parts import (
    FLEET,
    PARTS,
    REGISTRY,
    RESTARTING,
    RUNNING,
    STARTING,
    SUPERLINK,
    PartState,
    command,
    environment,
    only_supervisor,
    write_parts,
)
from server.runtime import renew_lists
from server.settings import CentreSettings

log = logging.getLogger(__name__)

GRACE_SECONDS = 8.0
_LOOK_SECONDS = 0.2
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 30.0
_CALM_SECONDS = 60.0
"""After so long without a death a part's waits start from the beginning."""
_FRESH_SECONDS = 30.0
"""After so long the lists of releases are signed also where the registry does not seem to be up: nodes believe no list that expired."""

_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - looked for, not listened on
_LAST_WORDS = re.compile(r"(?P<sentence>.+) \[(?P<code>[a-z-]+)\]")
"""How a program of ours says why it does not start."""


@dataclass(slots=True)
class _Part:
    name: str
    child: "subprocess.Popen[bytes]"
    started: float
    log_start: int
    """Where in its log file this life of it begins."""
    state: PartState
    due: float | None = None
    """When to start it again, if it is down."""

    @property
    def never_ran(self) -> bool:
        """Whether this is its first start and it has not been up yet."""
        return self.state.state == STARTING and self.state.restarts == 0


class Supervisor:
    """The parent of all parts of one centre."""

    def __init__(self, settings: CentreSettings) -> None:
        self._settings = settings
        self._parts: list[_Part] = []
        self._ended = threading.Event()
        self._began = 0.0
        self._said_ready = self._keeps_fresh = False

    def run(self) -> None:
        """Run all parts until SIGINT or SIGTERM.

        Raises:
            ConflictError: `already-exists` if a centre runs in this home.
            UnavailableError: `port-taken`; nothing was started then.
            FederationError: What a part says that cannot start at all; everything has ended then.
        """
        with only_supervisor(self._settings.home):
            refuse_taken_ports(self._settings)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._end)
            adopt_orphans()
            try:
                self._began = time.monotonic()
                self._parts = [self._started(name, restarts=0) for name in PARTS]
                while not self._ended.wait(_LOOK_SECONDS):
                    self._look()
            finally:
                end_all([part.child for part in self._parts], grace_seconds=GRACE_SECONDS)
                write_parts(self._settings.home, {})

    def _keep_fresh(self) -> None:
        """Have the lists of releases signed from a thread of its own, which ends with the process; begun once."""
        if self._keeps_fresh:
            return
        self._keeps_fresh = True
        renew = partial(renew_lists, self._settings)
        threading.Thread(target=keep_fresh, args=(renew, self._ended), name="freshness", daemon=True).start()

    def _end(self, number: int, _: FrameType | None) -> None:
        log.info("centre.ending", extra={"signal": signal.Signals(number).name})
        self._ended.set()

    def _started(self, name: str, *, restarts: int) -> _Part:
        log_file = self._settings.logs / f"{name}.log"
        log_start = log_file.stat().st_size if log_file.exists() else 0
        try:
            child = start_child(command(name, self._settings), environment=environment(self._settings), log=log_file)
        except OSError as error:
            raise unwritable(log_file, error) from error
        log.info("part.started", extra={"part": name, "pid": child.pid, "restarts": restarts})
        state = PartState(state=STARTING, pid=child.pid, restarts=restarts)
        return _Part(name, child, time.monotonic(), log_start, state)

    def _restarted(self, part: _Part, now: float) -> _Part:
        """Start a part again; a machine that is too full for that now is asked again later, for the other parts still serve."""
        try:
            return self._started(part.name, restarts=part.state.restarts)
        except UnavailableError as error:
            log.warning("part.not-started", extra={"part": part.name, "code": error.code.value})
            part.due = now + _LONGEST_WAIT_SECONDS
            return part

    def _look(self) -> None:
        """Look at every part once, and write down how they are."""
        for index, part in enumerate(self._parts):
            self._parts[index] = self._looked_at(part)
        reap_adopted({part.child.pid for part in self._parts})
        write_parts(self._settings.home, {part.name: part.state for part in self._parts})
        registry = next(part for part in self._parts if part.name == REGISTRY)
        if registry.state.state == RUNNING or time.monotonic() - self._began > _FRESH_SECONDS:
            self._keep_fresh()
        if not self._said_ready and all(part.state.state == RUNNING for part in self._parts):
            self._said_ready = True
            sys.stderr.write(_ready_line(self._settings) + "\n")

    def _looked_at(self, part: _Part) -> _Part:
        now = time.monotonic()
        if part.due is not None:
            return self._restarted(part, now) if now >= part.due else part
        code = part.child.poll()
        if code is not None:
            refusal = (
                last_words(self._settings.logs / f"{part.name}.log", start=part.log_start) if part.never_ran else None
            )
            if refusal:
                raise refusal
            return _fallen(part, code, now)
        port = port_of(part.name, self._settings)
        if part.state.state == STARTING and any(_listens(host, port) for host in hosts_of(part.name, self._settings)):
            part.state = replace(part.state, state=RUNNING)
        return part


def _fallen(part: _Part, code: int, now: float) -> _Part:
    """Return a part that died, with the time at which it is started again."""
    restarts = 1 if now - part.started > _CALM_SECONDS else part.state.restarts + 1
    wait = min(_FIRST_WAIT_SECONDS * 2 ** (restarts - 1), _LONGEST_WAIT_SECONDS)
    log.warning("part.died", extra={"part": part.name, "exit_code": code, "again_in_seconds": wait})
    part.state = PartState(state=RESTARTING, restarts=restarts, exit_code=code)
    part.due = now + wait
    return part


def last_words(log_file: Path, *, start: int) -> FederationError | None:
    """Return the refusal with which a program of ours ended, if it gave one after byte `start` of its log."""
    lines = log_file.read_bytes()[start:].decode("utf-8", "replace").splitlines()
    said = _LAST_WORDS.fullmatch(lines[-1]) if lines else None
    return error_for(Code(said["code"]), said["sentence"]) if said and said["code"] in set(Code) else None


def port_of(part: str, settings: CentreSettings) -> int:
    """Return the port by which one sees that a part is up."""
    registry = int(settings.registry.origin.rpartition(":")[2]) if settings.registry.origin.count(":") > 1 else 443
    return {SUPERLINK: settings.superlink.port, FLEET: settings.fleet.port}.get(part, registry)


def hosts_of(part: str, settings: CentreSettings) -> tuple[str, ...]:
    """Return where one looks for a part: first on this machine, the registry then also where people reach it, for its own settings say more."""
    host = settings.fleet.host if part == FLEET and settings.fleet.host not in _EVERYWHERE else "127.0.0.1"
    return (host, urlsplit(settings.registry.origin).hostname or host) if part == REGISTRY else (host,)


def refuse_taken_ports(settings: CentreSettings) -> None:
    """Check, before anything is started, that no other program listens where the parts will.

    Raises:
        UnavailableError: `port-taken`.
    """
    for part in PARTS:
        port = port_of(part, settings)
        if _listens(hosts_of(part, settings)[0], port):
            raise UnavailableError(
                Code.PORT_TAKEN,
                f"Another program listens on port {port}, which the {part} needs. Stop it or set another port in "
                f"{settings.home}.",
            )


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1.0).close()
    except OSError:
        return False
    return True


def _ready_line(settings: CentreSettings) -> str:
    return (
        f"The centre is up: registry {settings.registry.origin}, fleet gateway on port {settings.fleet.port}. "
        "Ctrl-C ends it."
    )
