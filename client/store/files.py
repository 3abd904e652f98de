"""Files that survive a power cut: written beside their place, forced to the disk, then renamed into it."""

import errno
import fcntl
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from protocol.codes import Code
from protocol.errors import UnavailableError

_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EEXIST}
"""Reasons not to link that are no fault: another file system, one without hard links, a place that is taken."""

_NAME_FOLLOWS_FILE = "ext4"


@contextmanager
def disk_faults(subject: str = "The store") -> Iterator[None]:
    """Turn the operating system's refusals to write into `disk-full`.

    Args:
        subject: Who could not write, as the message begins.

    Raises:
        UnavailableError: `disk-full`; the message holds the system's reason and no path of a patient's file.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "unknown reason"
        raise UnavailableError(
            Code.DISK_FULL, f"{subject} could not be written ({reason}). Free some space or correct the folder's owner."
        ) from error


def make_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, closed to others; what is new survives a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
    settle_folder(folder.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` to `path`: after a crash at any moment there is the old file or the new one.

    Raises:
        UnavailableError: `disk-full`.
    """
    with disk_faults():
        make_folder(path.parent)
        with _draft(path) as draft:
            with draft.open("wb") as file:
                draft.chmod(_PRIVATE_FILE)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            _settle(draft, path)


def adopt(spooled: Path, path: Path) -> None:
    """Give the file at `spooled` a second, durable place at `path` without copying it; `spooled` stays for its owner to remove.

    Raises:
        UnavailableError: `disk-full`.
    """
    with disk_faults():
        make_folder(path.parent)
        if _linked_at_once(spooled, path):
            return
        with _draft(path) as draft:
            _link_or_copy(spooled, draft)
            with draft.open("rb+") as file:
                draft.chmod(_PRIVATE_FILE)
                os.fsync(file.fileno())
            _settle(draft, path)


@contextmanager
def alone_in(folder: Path, lock: str) -> Iterator[None]:
    """Hold `folder` for one process (and one thread of it) at a time, by the lock file named `lock`; it dies with its holder.

    Raises:
        UnavailableError: `disk-full` if the lock cannot be made.
    """
    with disk_faults():
        make_folder(folder)
        held = (folder / lock).open("w")
    with held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def settle_folder(folder: Path) -> None:
    """Force the names in `folder` to the disk (a rename alone does not survive a power cut)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_mb(folder: Path) -> int:
    """Return how many megabytes the file system of `folder` has left for the node."""
    return shutil.disk_usage(folder).free // (1024 * 1024)


def sweep_drafts(folder: Path, *, before: float = math.inf) -> int:
    """Remove what writers that were killed have left half-written in `folder`; return how many files.

    Args:
        folder: Where to look; not below it. Without `before` nobody else may be writing in it.
        before: Only what last changed before this time, seconds since 1970: a younger draft may have a living writer.
    """
    return sum(remove_older(draft, before) for draft in folder.glob(".*.part"))


def remove_older(path: Path, before: float) -> bool:
    """Remove a file that last changed before this time, seconds since 1970; return whether it went.

    By the inode's own time: a link that was made a moment ago is young, however old the file.
    """
    try:
        if path.stat().st_ctime >= before:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write under. What cannot be finished there does not stay, least of all on a disk that is full."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield draft
    except BaseException:
        with suppress(OSError):  # the first fault is the one to tell
            draft.unlink(missing_ok=True)
        raise


def _settle(draft: Path, path: Path) -> None:
    draft.replace(path)
    settle_folder(path.parent)


def _linked_at_once(spooled: Path, path: Path) -> bool:
    """Link `spooled` to a place that is free, then force file and name to the disk.

    ext4 puts the new name and the file's change of links into one transaction, so forcing the file forces its name; elsewhere the folder
    is forced too. (`tests/integration/imaging/test_power_cut.py` pulls the plug; ADR 0043.)

    After a crash in between the name may stand for less than the file; nothing refers to it yet, and whoever brings the file again
    replaces it (the place is not free then). Returns False if it is not free, or there are no links.
    """
    try:
        path.hardlink_to(spooled)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    try:
        with path.open("rb+") as file:
            if os.fstat(file.fileno()).st_mode & 0o777 != _PRIVATE_FILE:
                path.chmod(_PRIVATE_FILE)
            os.fsync(file.fileno())
        if _file_system(path.parent.stat().st_dev) != _NAME_FOLLOWS_FILE:
            settle_folder(path.parent)
    except OSError:
        path.unlink(missing_ok=True)  # it was ours alone
        raise
    return True


@cache
def _file_system(device: int) -> str:
    """Return the kind of the file system on a device as the kernel lists it; nothing where that cannot be told."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        mounted, _, kind = line.partition(" - ")
        if mounted.split()[2] == wanted:
            return kind.split()[0]
    return ""


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)  # another file system, or one without hard links
