"""Children and whatever they started end with us: asked first, then by force; and when we are killed, the kernel asks them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.family import family, start_child

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="families are found in /proc")

PARENT = """
import os, subprocess, sys, time
from pathlib import Path
from server.family import adopt_orphans, end_all, start_child
adopt_orphans()
children = [start_child(command, environment=os.environ, log=Path(sys.argv[1])) for command in {commands}]
print(*(child.pid for child in children), flush=True)
sys.stdin.readline()
began = time.monotonic()
end_all(children, grace_seconds={grace})
print(*(child.returncode for child in children), round(time.monotonic() - began, 1), flush=True)
"""

SLEEPS = ["sleep", "600"]
STUBBORN = ["sh", "-c", "trap '' TERM; while :; do sleep 600 & wait; done"]
DETACHED = [
    sys.executable,
    "-c",
    "import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)",
]
LEAVES_AN_ORPHAN = ["sh", "-c", "(setsid sleep 600 &) ; exec sleep 600"]


class Parent:
    """A supervisor in small, in a process of its own."""

    def __init__(self, folder: Path, *commands: list[str], grace: float = 5.0) -> None:
        script = PARENT.format(commands=repr(list(commands)), grace=grace)
        self.log = folder / "children.log"
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(self.log)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.children = [int(pid) for pid in self.process.stdout.readline().split()]

    def everybody(self) -> set[int]:
        return family(self.process.pid) - {self.process.pid}

    def end(self) -> list[str]:
        assert self.process.stdout is not None
        out, _ = self.process.communicate("\n", timeout=60)
        return out.split()


def until(question: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not question():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def sleeps(pid: int) -> bool:
    try:
        return b"600" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # a shell in between that has ended since
        return False


def test_children_that_listen_are_asked_and_end(tmp_path: Path) -> None:
    parent = Parent(tmp_path, SLEEPS, SLEEPS)
    *codes, seconds = parent.end()
    assert codes == ["-15", "-15"]
    assert float(seconds) < 5, "nobody waits for the grace to pass"


def test_a_child_that_does_not_listen_is_ended_by_force(tmp_path: Path) -> None:
    parent = Parent(tmp_path, STUBBORN, SLEEPS, grace=0.3)
    until(lambda: len(parent.everybody()) == 3)
    everybody = parent.everybody()
    assert parent.end()[:2] == ["-9", "-15"]
    assert not any(alive(pid) for pid in everybody)


@pytest.mark.parametrize("command", [DETACHED, LEAVES_AN_ORPHAN], ids=["detached", "orphaned"])
def test_what_a_child_started_in_a_session_of_its_own_ends_too(tmp_path: Path, command: list[str]) -> None:
    parent = Parent(tmp_path, command)
    until(lambda: len([pid for pid in parent.everybody() if sleeps(pid)]) >= 2)
    everybody = parent.everybody()
    parent.end()
    assert not any(alive(pid) for pid in everybody)


def test_a_grandchild_whose_parent_was_killed_is_adopted_and_ended(tmp_path: Path) -> None:
    parent = Parent(tmp_path, DETACHED)
    until(lambda: len(parent.everybody()) == 2)
    (grandchild,) = parent.everybody() - set(parent.children)
    os.kill(parent.children[0], signal.SIGKILL)
    until(lambda: not alive(parent.children[0]))
    assert grandchild in parent.everybody()
    parent.end()
    assert not alive(grandchild)


ZOMBIES = """
import subprocess, sys, time
from server.family import adopt_orphans, reap_adopted
adopt_orphans()
own = subprocess.Popen(["true"])
middle = subprocess.Popen(["sh", "-c", "(setsid sh -c 'echo $$; exit 7' &) ; exit 0"], stdout=subprocess.PIPE, text=True)
orphan = int(middle.stdout.readline())
middle.wait()
deadline = time.monotonic() + 30
state = "?"
while state != "Z" and time.monotonic() < deadline:
    state = open(f"/proc/{orphan}/stat").read().rpartition(")")[2].split()[0]
while open(f"/proc/{own.pid}/stat").read().rpartition(")")[2].split()[0] != "Z":
    time.sleep(0.01)
own_code = None
for _ in range(3):
    reap_adopted({own.pid})
own_code = own.wait()
reap_adopted({own.pid})
try:
    open(f"/proc/{orphan}/stat")
    left = True
except FileNotFoundError:
    left = False
print(state, own_code, left)
"""


def test_adopted_dead_are_taken_and_our_own_are_left_to_us() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ZOMBIES], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "Z 0 False\n"


BOUND = """
import os, subprocess, sys, time
child = "from server.family import end_with_parent; import time; end_with_parent(); print('bound', flush=True); time.sleep(600)"
process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(600)
"""


def test_who_bound_itself_to_its_parent_dies_with_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", BOUND], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.communicate(timeout=30)
    until(lambda: not alive(child))


def test_a_killed_parent_takes_its_children_with_it(tmp_path: Path) -> None:
    parent = Parent(tmp_path, SLEEPS, SLEEPS)
    parent.process.kill()
    parent.process.communicate(timeout=30)
    until(lambda: not any(alive(pid) for pid in parent.children))


def test_what_children_say_is_appended_to_their_log(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_text("before\n")
    for word in ("out", "err"):
        child = start_child(["sh", "-c", f"echo {word} >&{1 if word == 'out' else 2}"], environment=os.environ, log=log)
        child.wait(30)
    assert log.read_text() == "before\nout\nerr\n"


def test_a_child_reads_nothing_and_sees_only_the_environment_it_was_given(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = start_child(["/bin/sh", "-c", "cat; echo $A$HOME"], environment={"A": "given"}, log=log)
    assert child.wait(30) == 0
    assert log.read_text() == "given\n"


def test_a_child_is_out_of_reach_of_our_terminals_signals(tmp_path: Path) -> None:
    child = start_child(SLEEPS, environment=os.environ, log=tmp_path / "log")
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    child.kill()
    child.wait(30)


def test_a_program_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start_child(["no-such-program"], environment=os.environ, log=tmp_path / "log")


def test_a_family_is_everybody_below(tmp_path: Path) -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600 & wait"])
    until(lambda: len(family(child.pid)) == 3)
    members = family(child.pid)
    assert members < family(os.getpid())
    for pid in members:
        os.kill(pid, signal.SIGKILL)
    child.wait(30)
    assert family(child.pid) == {child.pid}, "of what is gone only the number is left"
