"""Files that survive a power cut: written beside their place, forced to the disk, then renamed into it."""

import os
from pathlib import Path

from protocol.codes import Code
from protocol.errors import UnavailableError

_PRIVATE_FILE = 0o600


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` to `path`, closed to others: after a crash at any moment there is the old file or the new one.

    Raises:
        UnavailableError: `disk-full`.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as file:
            draft.chmod(_PRIVATE_FILE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        settle_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UnavailableError:
    """Return the refusal for a file or folder that the disk does not take: `disk-full`."""
    return UnavailableError(
        Code.DISK_FULL, f"{path} cannot be written ({error.strerror}). Free some space or correct the folder's owner."
    )


def settle_folder(folder: Path) -> None:
    """Force the names in `folder` to the disk (a rename alone does not survive a power cut)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
