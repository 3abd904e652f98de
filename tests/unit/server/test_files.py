"""A file is the old one or the new one, closed to others, and a disk that takes no more is said so."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.codes import Code
from protocol.errors import UnavailableError
from server.files import settle_folder, unwritable, write_durably

ROOT = Path(__file__).resolve().parents[3]


def test_what_is_written_can_be_read_by_us_alone(tmp_path: Path) -> None:
    write_durably(tmp_path / "key", b"secret")
    write_durably(tmp_path / "key", b"newer")
    assert (tmp_path / "key").read_bytes() == b"newer"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_failure_at_any_step_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "plan.json"
    write_durably(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace"), "chmod": (Path, "chmod")}[step], full)
    with pytest.raises(UnavailableError, match="No space left on device") as caught:
        write_durably(path, b"new")
    monkeypatch.undo()
    assert caught.value.code is Code.DISK_FULL
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["plan.json"]


def test_the_data_is_forced_to_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace
    kind = lambda fd: "folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"  # noqa: E731, PTH112
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(kind(fd)), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to))[1])
    write_durably(tmp_path / "x", b"x")
    assert steps == ["file", "rename", "folder"]


SMALL = """
import resource, sys
from pathlib import Path
from protocol.errors import UnavailableError
from server.files import write_durably
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    write_durably(Path(sys.argv[1]), b"x" * 10_000)
except UnavailableError as error:
    print(error.code, error)
"""


def test_a_real_limit_is_met_with_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_durably(path, b"old")
    done = subprocess.run(
        [sys.executable, "-c", SMALL, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"disk-full {path} cannot be written (File too large). Free some space")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["weights"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        write_durably(tmp_path / "none" / "x", b"x")
    with pytest.raises(FileNotFoundError):
        settle_folder(tmp_path / "none")


def test_a_refusal_says_what_where_and_what_to_do() -> None:
    text = str(unwritable(Path("/var/x"), OSError(errno.EACCES, "Permission denied")))
    assert text == "/var/x cannot be written (Permission denied). Free some space or correct the folder's owner."
