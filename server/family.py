"""Child programs that leave nobody behind: whatever they start, and whatever that starts, ends with them.

Each child leads its own process group. Flower detaches its helpers from that group, so they are found by their parents (Linux: /proc), and
the supervisor adopts those whose parent died. If the supervisor itself is killed, the kernel tells the children.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LOOK_SECONDS = 0.05


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose own parent dies (Linux), so that none of them is lost."""
    control = _process_control()
    if control:
        control(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent dies (Linux); for a process that has nothing to tidy up."""
    control = _process_control()
    if control:
        control(_PR_SET_PDEATHSIG, signal.SIGKILL)


def reap_adopted(own: Collection[int]) -> None:
    """Take the exit codes of adopted processes that have ended, so that none stays behind as a zombie; children of `own` are left."""
    try:
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in own:
                return
            os.waitpid(found.si_pid, 0)
    except ChildProcessError:
        return


def start_child(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start a program in a process group of its own, in `folder` if one is given; what it says goes to `log`.

    Raises:
        OSError: If there is no such program.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            preexec_fn=_end_with_parent(),  # noqa: PLW1509 - the supervisor has one thread
        )


def end_all(children: Sequence["subprocess.Popen[bytes]"], *, grace_seconds: float) -> None:
    """Ask all children to end, wait, and end by force whatever is left of their families."""
    families = {pid for child in children for pid in family(child.pid)}
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline and any(child.poll() is None for child in children):
        time.sleep(_LOOK_SECONDS)
    left = {pid for pid in families | family(os.getpid()) if pid != os.getpid()}
    for pid in left:
        _kill(pid)
    for child in children:
        child.wait()
    reap_adopted(())


def family(pid: int) -> set[int]:
    """Return a process and everything that descends from it, as far as /proc shows it."""
    children = _children_by_parent()
    found, waiting = set[int](), [pid]
    while waiting:
        present = waiting.pop()
        found.add(present)
        waiting += [child for child in children.get(present, []) if child not in found]
    return found


def _children_by_parent() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            content = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended while we looked
        parent = int(content.rpartition(")")[2].split()[1])  # proc(5): the name may hold blanks and brackets
        children.setdefault(parent, []).append(int(stat.parent.name))
    return children


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _process_control() -> Callable[[int, int], int] | None:
    if sys.platform != "linux":
        return None
    found: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    return found


def _end_with_parent() -> Callable[[], None] | None:
    """Return what a child must do first: ask the kernel for SIGTERM when its parent dies."""
    control = _process_control()
    if control is None:
        return None

    def ask() -> None:
        control(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
