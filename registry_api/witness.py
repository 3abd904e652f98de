"""Keeps a copy of every byte received from outside, when a leak audit asks for it."""

from pathlib import Path
from threading import Lock


class Witness:
    """Appends to `registry-http.bin` and `registry-link.bin` in its folder. Holds secrets of callers: switch it on for audits only."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._lock = Lock()

    def saw_http(self, data: bytes) -> None:
        """Keep what came over HTTPS: request line, headers, body."""
        self._append("registry-http.bin", data)

    def saw_link(self, data: bytes) -> None:
        """Keep a frame that came over the link."""
        self._append("registry-link.bin", data)

    def _append(self, name: str, data: bytes) -> None:
        with self._lock, (self._directory / name).open("ab") as file:
            file.write(data + b"\n")
