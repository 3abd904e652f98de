"""Files that survive a power cut: written beside their place, forced to the disk, then renamed into it."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.codes import Code
from protocol.errors import UnavailableError

_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700


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
    """Make `folder` and what is missing above it, closed to others."""
    folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` to `path`: after a crash at any moment there is the old file or the new one.

    Raises:
        UnavailableError: `disk-full`.
    """
    with disk_faults():
        make_folder(path.parent)
        draft = _draft(path)
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
        draft = _draft(path)
        _link_or_copy(spooled, draft)
        with draft.open("rb+") as file:
            draft.chmod(_PRIVATE_FILE)
            os.fsync(file.fileno())
        _settle(draft, path)


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


def sweep_drafts(folder: Path) -> int:
    """Remove what writers that died have left half-written in `folder`; return how many files.

    Only for a folder in which nobody else writes at the moment.
    """
    left = list(folder.glob(".*.part"))
    for draft in left:
        draft.unlink(missing_ok=True)
    return len(left)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _settle(draft: Path, path: Path) -> None:
    draft.replace(path)
    settle_folder(path.parent)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
            raise
        shutil.copyfile(source, target)  # another file system, or one without hard links
