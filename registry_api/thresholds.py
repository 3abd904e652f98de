"""Writes down when the thresholds of the disclosure rule were weakened or tightened, and when weakening was refused.

One line of JSON each in `logs/thresholds.jsonl`, bound to the one before by SHA-256: a line that was changed, removed, put in or moved is found,
an end that was cut off is not. Hence the hash of the last one is for auditors to keep. A last line without its end was never written to it, as when the
power or the disk gave out: it counts for nothing, and the next line takes its place.
"""

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError
from protocol.shape import canonical_json
from registry_api.clock import Clock, utc_now

NATIONAL: dict[str, float] = {"minimum": 10, "rounding": 5, "sites": 2, "dominance": 0.85}
"""The national minimum: what a registry starts with, and what no setting goes below."""

_WEAKER_UPWARDS = frozenset({"dominance"})
_FILE = Path("logs") / "thresholds.jsonl"
_GENESIS = "0" * 64

Thresholds = Mapping[str, float]


class Event(StrEnum):
    """What became of other thresholds."""

    REFUSED = "refused"
    WEAKENED = "weakened"
    TIGHTENED = "tightened"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log. `hash` is of the line as it stands in the file."""

    at: str
    event: Event
    thresholds: Thresholds
    previous: str
    hash: str


def weaker(thresholds: Thresholds, than: Thresholds) -> list[str]:
    """Return the names of the thresholds that protect less than those of before."""
    return [
        name
        for name, value in thresholds.items()
        if (value > than[name] if name in _WEAKER_UPWARDS else value < than[name])
    ]


def note_refused(home: Path, settings: Mapping[str, object], *, clock: Clock = utc_now) -> None:
    """Write down that settings below the national minimum were refused; others are not looked at.

    Raises:
        UnavailableError: `disk-full`.
        RefusedError: `audit-broken`.
    """
    asked = {
        **NATIONAL,
        **{
            name: number
            for name, value in settings.items()
            if name in NATIONAL and (number := _number(value)) is not None
        },
    }
    if weaker(asked, NATIONAL):
        _note(home, Event.REFUSED, asked, clock)


def note_accepted(home: Path, thresholds: Thresholds, *, clock: Clock = utc_now) -> None:
    """Write down thresholds that differ from those that held before.

    Raises:
        UnavailableError: `disk-full`.
        RefusedError: `audit-broken`.
    """
    held = next((line.thresholds for line in reversed(read_lines(home)) if line.event is not Event.REFUSED), NATIONAL)
    if thresholds != held:
        _note(home, Event.WEAKENED if weaker(thresholds, held) else Event.TIGHTENED, thresholds, clock)


def read_lines(home: Path) -> list[Line]:
    """Return the log, oldest first.

    Raises:
        RefusedError: `audit-broken` if a line is not the one that was written.
        UnavailableError: `disk-full` if the file cannot be read.
    """
    try:
        content = (home / _FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unusable(home / _FILE, error) from error
    return list(_lines(_whole(content), home / _FILE))


def _whole(content: bytes) -> bytes:
    """Return what was written to its end."""
    return content[: content.rfind(b"\n") + 1]


def _lines(content: bytes, path: Path) -> Iterator[Line]:
    previous = _GENESIS
    for number, text in enumerate(content.splitlines(), 1):
        try:
            said: dict[str, Any] = json.loads(text)
            line = Line(said["at"], Event(said["event"]), said["thresholds"], said["previous"], _hash(text))
        except (ValueError, KeyError, TypeError) as error:
            raise _broken(path, number) from error
        if line.previous != previous:
            raise _broken(path, number)
        previous = line.hash
        yield line


def _note(home: Path, event: Event, thresholds: Thresholds, clock: Clock) -> None:
    """Append a line, unless the last one says the same: a program that is started again and again says it once."""
    with _opened(home / _FILE) as file:
        whole = _whole(file.read())
        lines = list(_lines(whole, home / _FILE))
        if lines and (lines[-1].event, lines[-1].thresholds) == (event, thresholds):
            return
        line = Line(clock().isoformat(timespec="seconds"), event, thresholds, lines[-1].hash if lines else _GENESIS, "")
        content = {name: value for name, value in asdict(line).items() if name != "hash"}
        file.truncate(len(whole))
        file.write(canonical_json(content) + b"\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open the log to read and append, for one process at a time."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield file
    except OSError as error:
        raise _unusable(path, error) from error


def _number(value: object) -> float | None:
    """Return a threshold as a number; None for what is none, which is refused for that."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _unusable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        Code.DISK_FULL,
        f"{path} cannot be read or written ({error.strerror}), and other thresholds do not hold unwritten. Mend that.",
    )


def _broken(path: Path, number: int) -> RefusedError:
    return RefusedError(
        Code.AUDIT_BROKEN,
        f"Line {number} of {path} is not the one that was written. Ask who changed it, and keep the file.",
    )
