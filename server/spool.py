"""The updates of one round on the disk, for strategies that need all of them: written as they come, read in blocks, deleted with the round."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocol.codes import Code
from protocol.errors import UnavailableError
from server.files import unwritable
from strategies.arrays import Arrays, Layout
from strategies.stack import Stack


@dataclass(frozen=True, slots=True)
class Spool:
    """Updates of one layout in a folder, one file of little-endian float32 for each site.

    They are scratch: a round that dies is asked for again, so nothing is forced to the disk.
    """

    folder: Path
    layout: Layout
    _paths: dict[str, Path] = field(default_factory=dict)

    def add(self, site: str, update: Arrays) -> None:
        """Write the update of a site.

        Raises:
            UnavailableError: `disk-full`.
        """
        path = self.folder / f"{len(self._paths):04}.f32"
        try:
            with path.open("wb") as file:
                path.chmod(0o600)
                for name, _ in self.layout:
                    file.write(np.ascontiguousarray(update[name], dtype="<f4").data)
        except OSError as error:
            raise unwritable(path, error) from error
        self._paths[site] = path

    @property
    def sites(self) -> tuple[str, ...]:
        """Who sent an update, in the order of names, which is that of the stack: who came first shows nowhere."""
        return tuple(sorted(self._paths))

    def stack(self) -> Stack:
        """Return all updates, to be read while the round lasts."""
        return Stack(self.layout, tuple(_Row(self._paths[site]) for site in self.sites))


@dataclass(frozen=True, slots=True)
class _Row:
    """Reads stretches of one file."""

    path: Path

    def __call__(self, first: int, last: int) -> NDArray[np.float32]:
        try:
            values = np.fromfile(self.path, dtype="<f4", count=last - first, offset=4 * first)
        except OSError as error:
            raise self._lost() from error
        if len(values) != last - first:
            raise self._lost()
        return values

    def _lost(self) -> UnavailableError:
        return UnavailableError(
            Code.RUN_FAILED, f"{self.path} lost what was written. Check the disk, and take the run up again."
        )


@contextmanager
def spooling(folder: Path, layout: Layout) -> Iterator[Spool]:
    """Give a spool in `folder` for one round; what a dead round left there goes first, and the folder goes in the end.

    Raises:
        UnavailableError: `disk-full` if the folder cannot be made.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield Spool(folder, layout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
