"""Taking an instance out of quarantine in again: through the same door as any other, with what the node can do now."""

import shutil
import tempfile
from pathlib import Path

from client.receive.intake import Intake, Taken
from client.store.aside import Aside
from client.store.files import disk_faults, make_folder
from protocol.codes import Code
from protocol.errors import InvalidInputError


def take_again(sha256: str, *, aside: Aside, intake: Intake, folder: Path) -> Taken:
    """Take a quarantined instance in again; it leaves quarantine only once it is in the store.

    Killed at any moment, it is in one of the two places at least, and a second try ends as the first would have.

    Args:
        sha256: Under which it is kept.
        aside: The quarantine.
        intake: The door.
        folder: For the copy that passes through it.

    Raises:
        InvalidInputError: `not-found` if it is not there, or its bytes are gone.
        UnavailableError: `disk-full`.
    """
    kept = aside.one(sha256)
    if not kept.path.is_file():
        raise InvalidInputError(Code.NOT_FOUND, "The bytes of that instance are gone from the disk. Discard the entry.")
    with disk_faults():
        make_folder(folder)
        copy = Path(tempfile.mkdtemp(dir=folder)) / "again.dcm"
    try:
        with disk_faults():
            shutil.copyfile(kept.path, copy)  # a link would be the very file that it may have to replace
        taken = intake.take(copy)
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)
    if taken.code is None:
        aside.remove(sha256)
    else:
        aside.recode(sha256, taken.code)
    return taken
