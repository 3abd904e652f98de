"""Programs to compare with, taken from the system: this project's own environment brings scripts of the same names (pynetdicom's `storescu`)."""

import os
import shutil
import sys
from pathlib import Path


def system_program(name: str) -> str | None:
    """Return the path of the system's program `name`; `None` where it is not installed."""
    own = Path(sys.prefix, "bin").resolve()
    folders = [folder for folder in os.get_exec_path() if Path(folder).resolve() != own]
    return shutil.which(name, path=os.pathsep.join(folders))
