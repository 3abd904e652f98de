"""The parts of a running centre: what each is started with, and the small file in which the supervisor says how they are."""

import fcntl
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from protocol.codes import Code
from protocol.errors import ConflictError
from server.files import unwritable
from server.settings import CentreSettings
from strategies.flower import FOLDER_VARIABLE, KEPT_MEMORY, QUIET

log = logging.getLogger(__name__)

SUPERLINK, REGISTRY, FLEET = "superlink", "registry", "fleet"
PARTS = (SUPERLINK, REGISTRY, FLEET)

RUNNING, STARTING, RESTARTING, STOPPED = "running", "starting", "restarting", "stopped"

STATE_FILE = "runtime.json"
_LOCK_FILE = ".run.lock"
_GLANCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """How one part is."""

    state: str
    pid: int | None = None
    restarts: int = 0
    exit_code: int | None = None
    """Of its last end, negative for a signal."""


def command(part: str, settings: CentreSettings) -> list[str]:
    """Return the command line of one part."""
    home = str(settings.home)
    return {
        SUPERLINK: _superlink(settings),
        REGISTRY: [program("acinus-registry"), "--home", home, "serve"],
        FLEET: [program("acinus-centre"), "--home", home, "run", "--only", FLEET],
    }[part]


def _superlink(settings: CentreSettings) -> list[str]:
    within, superlink = settings.within, settings.superlink
    return [
        sys.executable, "-P", "-m", "strategies.flower.superlink",
        "--host", "127.0.0.1",
        "--port", str(superlink.port),
        "--ssl-certfile", str(within(superlink.certificate)),
        "--ssl-keyfile", str(within(superlink.key)),
        "--ssl-ca-certfile", str(within(settings.authority.certificate)),
        "--enable-supernode-auth",
        "--database", str(within("superlink") / "state.db"),
        "--isolation", "subprocess",
        "--disable-runtime-dependency-installation",
    ]  # fmt: skip


def program(name: str) -> str:
    """Return the program of that name that was installed beside this interpreter, else the one on PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


def environment(settings: CentreSettings) -> dict[str, str]:
    """Return the environment of every part. Flower finds its own children on PATH; none of them may meet a proxy on loopback."""
    return {
        **os.environ,
        **QUIET,
        **KEPT_MEMORY,
        "FLWR_HOME": str(settings.within("superlink") / "flwr"),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "1",
        FOLDER_VARIABLE: str(settings.pieces),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "NO_PROXY": "localhost,127.0.0.1",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def only_supervisor(home: Path) -> Iterator[None]:
    """Hold the home for one supervisor. The lock dies with its holder.

    Raises:
        ConflictError: `already-exists` if a centre runs in this home.
        UnavailableError: `disk-full` if the home cannot be written.
    """
    try:
        lock = (home / _LOCK_FILE).open("w")
    except OSError as error:
        raise unwritable(home / _LOCK_FILE, error) from error
    with lock:
        if not _locked(lock.fileno(), time.monotonic() + _GLANCE_SECONDS):
            raise ConflictError(Code.ALREADY_EXISTS, f"A centre runs in {home} already. `status` shows it.")
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
    """Say how the parts are; read by `status`. Lost at a power cut or on a full disk, and meant to be: the parts go on serving."""
    draft = home / f".{STATE_FILE}.part"
    try:
        draft.write_text(json.dumps({name: asdict(part) for name, part in parts.items()}), encoding="utf-8")
        draft.replace(home / STATE_FILE)
    except OSError as error:
        log.warning("parts.not-written", extra={"why": error.strerror})


def read_parts(home: Path) -> dict[str, PartState]:
    """Return how the parts are; all stopped when no supervisor runs."""
    stopped = {name: PartState(state=STOPPED) for name in PARTS}
    if not is_running(home):
        return stopped
    try:
        content = json.loads((home / STATE_FILE).read_text(encoding="utf-8"))
        return stopped | {name: PartState(**said) for name, said in content.items() if name in stopped}
    except (OSError, ValueError, TypeError, AttributeError):
        return stopped
