"""The parts of a running node, by name, and the small file in which the supervisor says how they are."""

import ctypes
import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from client.settings import NodeSettings
from protocol.codes import Code
from protocol.errors import ConflictError

PARTS = ("receiver", "worker", "link", "supernode", "runner", "gateway", "console", "stow", "pacs", "context", "tunnel")
BEFORE_ENROLMENT = frozenset({"receiver", "worker", "console", "stow", "pacs", "context"})
"""What serves the hospital alone and needs no centre."""

RUNNING, RESTARTING, STOPPED, NOT_ENROLLED = "running", "restarting", "stopped", "not-enrolled"

STATE_FILE = "runtime.json"
_LOCK_FILE = ".run.lock"
_GLANCE_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """How one part is."""

    state: str
    pid: int | None = None
    restarts: int = 0
    exit_code: int | None = None
    """Of its last end, negative for a signal."""


def parts_of(settings: NodeSettings) -> tuple[str, ...]:
    """Return the parts that this node runs: some are off until the settings say otherwise."""
    off = {
        "stow": not settings.stow.enabled,
        "context": not (settings.hl7.enabled or settings.fhir.enabled),
        "tunnel": not settings.relay.address,
        "pacs": not settings.pull.rules and settings.pacs.send == "off" and not settings.reports.host,
    }
    return tuple(name for name in PARTS if not off.get(name, False))


@contextmanager
def only_supervisor(home: Path) -> Iterator[None]:
    """Hold the home for one supervisor. The lock dies with its holder.

    Raises:
        ConflictError: `already-exists` if a node runs in this home.
    """
    with (home / _LOCK_FILE).open("w") as lock:
        if not _locked(lock.fileno(), time.monotonic() + _GLANCE_SECONDS):
            raise ConflictError(Code.ALREADY_EXISTS, f"A node runs in {home} already. `status` shows it.")
        yield


def _locked(descriptor: int, deadline: float) -> bool:
    """Take the lock for this process; `is_running` holds it for a glance, so try again until `deadline`."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def is_running(home: Path) -> bool:
    """Say whether a supervisor holds this home."""
    try:
        with (home / _LOCK_FILE).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def write_parts(home: Path, parts: dict[str, PartState]) -> None:
    """Say how the parts are; read by `status` and the console. Lost at a power cut or on a full disk, and meant to be: the parts go on."""
    draft = home / f".{STATE_FILE}.part"
    try:
        draft.write_text(json.dumps({name: asdict(part) for name, part in parts.items()}), encoding="utf-8")
        draft.replace(home / STATE_FILE)
    except OSError as error:
        log.warning("parts.not-written", extra={"errno": error.errno})


def read_parts(home: Path, parts: tuple[str, ...] = PARTS) -> dict[str, PartState]:
    """Return how `parts` are; all stopped when no supervisor runs."""
    stopped = {name: PartState(state=STOPPED) for name in parts}
    if not is_running(home):
        return stopped
    try:
        content = json.loads((home / STATE_FILE).read_text(encoding="utf-8"))
        return stopped | {name: PartState(**said) for name, said in content.items() if name in stopped}
    except (OSError, ValueError, TypeError, AttributeError):
        return stopped


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies, so that a supervisor's `kill -9` leaves no orphan (prctl(2), Linux only).

    The wish outlives `exec`. All parts survive SIGKILL at any moment without losing what they acknowledged.

    Args:
        parent: Process id of the parent; if it has died already, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
