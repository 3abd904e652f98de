"""A watched folder: what people or programs put there is taken in like what is sent, file by file, zips too.

A file is taken when it is complete: its size and time have stood still, and no program on this machine has it open for writing. First it
becomes durable and indexed, or goes to quarantine with its code; then it is removed or moved away. Killed in between, the watch takes it
again, and the store knows it already: nothing is lost, nothing is there twice.
"""

import errno
import fcntl
import logging
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from client.logs import fault_of
from client.receive.intake import Intake, Taken, spool_file, take_bytes
from client.sections import WatchSettings
from client.settings import NodeSettings
from client.store.files import disk_faults, free_mb, make_folder
from client.store.part10 import Content, dataset_sha256
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, UnavailableError

SPOOL = "watched"
"""Folder beside the instances where copies lie while they are taken in; the receiver's own spool is swept at other times."""

_UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".crdownload", "~")
"""How programs call what they have not finished; their file has its own name later."""

_MOST_WAIT_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Look:
    """How a file was when it was last looked at, and since when it has been so."""

    size: int
    changed_ns: int
    inode: int
    since: float


class FolderWatch:
    """Takes in what lies in one folder and below it."""

    def __init__(
        self,
        store: StudyStore,
        intake: Intake,
        settings: NodeSettings,
        contents: Callable[[Path], Iterator[Content]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the watch.

        Args:
            store: For quarantine; on this thread's connection.
            intake: Into the same store.
            settings: The node's; `[watch] folder` is set.
            contents: Yields what a file brings (`client.infer.source.every_file`).
            clock: Seconds that only go forward.
        """
        self._store = store
        self._intake = intake
        self._settings = settings
        self._contents = contents
        self._clock = clock
        self._seen: dict[Path, _Look] = {}
        self._remarked: set[Path] = set()
        self._spool = settings.instances.parent / SPOOL

    @property
    def _watch(self) -> WatchSettings:
        return self._settings.watch

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop` is set; the loop outlives any fault."""
        wait = min(_MOST_WAIT_SECONDS, self._watch.settle_seconds / 2)
        while not stop.wait(wait):
            try:
                self.step()
            except FederationError as error:
                log.error("watch.waits", extra={"code": error.code.value})  # noqa: TRY400 - the code says it
            except Exception as error:  # noqa: BLE001 - the rim of the thread: a traceback could quote a name
                log.error("watch.fault", extra=fault_of(error))  # noqa: TRY400

    def step(self) -> int:
        """Look once, take what is complete, and return how many files were taken.

        Raises:
            UnavailableError: `disk-full`; what was not taken stays where it is.
        """
        found = dict(self._files())
        self._seen = {path: self._look(path, stat) for path, stat in found.items()}
        taken = 0
        for path, look in self._seen.items():
            if self._clock() - look.since >= self._watch.settle_seconds and not _is_open_for_writing(path):
                taken += self._take(path, look)
        return taken

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield every plain file below the folder that does not call itself unfinished; links are not followed."""
        folder = self._watch.folder
        for place, folders, names in os.walk(folder) if folder is not None else ():
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(place, name)
                try:
                    stat = path.lstat()
                except OSError:
                    continue  # it has just been moved or removed
                if (
                    path.is_file()
                    and not path.is_symlink()
                    and not name.startswith(".")
                    and not name.endswith(_UNFINISHED)
                ):
                    yield path, stat

    def _look(self, path: Path, stat: os.stat_result) -> _Look:
        before = self._seen.get(path)
        now = _Look(stat.st_size, stat.st_mtime_ns, stat.st_ino, self._clock())
        same = before is not None and (before.size, before.changed_ns, before.inode) == (
            now.size,
            now.changed_ns,
            now.inode,
        )
        return before if before is not None and same else now

    def _take(self, path: Path, look: _Look) -> int:
        """Take one file in and put it away; return 1, or 0 if it changed under our hands, is gone or may not be read."""
        if free_mb(self._settings.home) < self._settings.dicom.minimum_free_mb:
            raise UnavailableError(Code.DISK_FULL, "Less space is left than the settings demand. Free some.")
        try:
            copy = spool_file(path, self._spool)
        except InvalidInputError as error:
            self._remark_once(path, error.code)
            return 0
        try:
            if self._has_changed(path, look):
                return 0
            codes = self._take_in(copy)
        finally:
            copy.unlink(missing_ok=True)
        if not self._has_changed(path, look):  # a newer one under the same name has its own turn
            self._put_away(path)
        for code in codes:
            if code is not None:
                log.warning("watch.quarantined", extra={"code": code.value})
        return 1

    def _take_in(self, copy: Path) -> list[Code | None]:
        """Return what became of each part of a file: no code for what is stored. What is no archive is its own part."""
        codes: list[Code | None] = []
        try:
            for content in self._contents(copy):
                taken = self._intake.take(content) if isinstance(content, Path) else self._take_bytes(content)
                codes.append(taken.code)
        except InvalidInputError as error:  # an archive that is damaged, encrypted or a bomb: kept as a whole
            codes.append(self._quarantine(copy, error.code))
        return codes or [self._quarantine(copy, Code.UNREADABLE)]

    def _take_bytes(self, content: bytes) -> Taken:
        return take_bytes(self._intake, content, self._spool)

    def _quarantine(self, copy: Path, code: Code) -> Code:
        self._store.quarantine(copy, dataset_sha256(copy), code)
        return code

    def _remark_once(self, path: Path, code: Code) -> None:
        """Say that a file cannot be taken; not again at every look."""
        if path not in self._remarked:
            self._remarked.add(path)
            log.warning("watch.passed_over", extra={"code": code.value})

    def _has_changed(self, path: Path, look: _Look) -> bool:
        try:
            stat = path.lstat()
        except OSError:
            return False  # somebody else has put it away
        return (stat.st_size, stat.st_mtime_ns, stat.st_ino) != (look.size, look.changed_ns, look.inode)

    def _put_away(self, path: Path) -> None:
        with disk_faults("The watched folder"):
            if self._watch.after == "remove" or self._watch.moved_to is None or self._watch.folder is None:
                path.unlink(missing_ok=True)
                return
            target = self._watch.moved_to / path.relative_to(self._watch.folder)
            make_folder(target.parent)
            if target.exists():
                target = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
            if path.exists():
                shutil.move(path, target)


def _is_open_for_writing(path: Path) -> bool:
    """Say whether a program on this machine has the file open for writing: no read lease is given then (fcntl(2), Linux only).

    Not every file system gives leases, and nobody gives them on another machine's files; there standing still has to do.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # whoever opens it meanwhile must not end us by SIGIO
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False
