"""Keeps a copy of every byte received from outside, when a leak audit asks for it."""

from pathlib import Path
from threading import Lock

FILE = "fleet-http.bin"


class Witness:
    """Appends to one file in its folder. It holds secrets of callers: switch it on for audits only."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / FILE
        self._lock = Lock()

    def saw(self, *pieces: bytes) -> None:
        """Keep what came in one request."""
        with self._lock, self._path.open("ab") as file:
            file.write(b"\n".join(pieces) + b"\n")
