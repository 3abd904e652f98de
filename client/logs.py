"""Logging as JSON lines, set up in one place: an event's name with keys. No sentence of a library and no value of a header gets in.

Only what our own rooms log is written out. Of other libraries a line says who spoke, where and how gravely, because their messages
quote what they stumbled over. An exception leaves its kind and its places in the code, never its text.
"""

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

from protocol.codes import Code
from protocol.errors import UnavailableError

OWN = ("client", "models", "strategies", "protocol")
WITHHELD = "withheld"

_PACKAGES = Path(__file__).parents[1]
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_EVENT = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*")
_PLAIN = re.compile(r"[A-Za-z0-9@:._/+-]{0,200}")
_PROGRAM_OUTPUT = "said"
"""The key under which the lines of the stock SuperNode are kept; it never sees an image or a header."""


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, event and keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.name.partition(".")[0] in OWN:
            line |= _own(record)
        else:
            line |= {"event": "library.spoke", "where": f"{Path(record.pathname).name}:{record.lineno}"}
        if record.exc_info and record.exc_info[1] is not None:
            line |= {"exception": type(record.exc_info[1]).__name__, "frames": frames_of(record.exc_info[1])}
        return json.dumps(line, ensure_ascii=False)


def frames_of(error: BaseException) -> list[str]:
    """Return where an exception passed through the code, innermost last, without its text."""
    return [
        f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]


def fault_of(error: BaseException) -> dict[str, str]:
    """Return what a log may say of an unexpected error: its kind, and the last of our own lines that it passed. Its text may quote a header."""
    steps = [(Path(step.filename), step.lineno) for step in traceback.extract_tb(error.__traceback__)]
    own = [step for step in steps if any(_PACKAGES / name in step[0].parents for name in OWN)]
    path, line = (own or steps or [(Path("-"), 0)])[-1]
    return {"kind": type(error).__name__, "at": f"{path.name}:{line}"}


def start_logging(folder: Path, part: str, level: str) -> None:
    """Write what is logged from `level` on to `<part>.jsonl` in `folder`.

    Raises:
        UnavailableError: `disk-full` if the file cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = WatchedFileHandler(folder / f"{part}.jsonl", encoding="utf-8")
    except OSError as error:
        raise UnavailableError(
            Code.DISK_FULL, f"{folder} cannot be written ({error.strerror}). Free some space or correct its owner."
        ) from error
    file.setFormatter(JsonLines())
    root = logging.getLogger()
    for before in list(root.handlers):
        root.removeHandler(before)
    root.addHandler(file)
    root.setLevel(logging.WARNING)
    for name in OWN:
        logging.getLogger(name).setLevel(level.upper())


def _own(record: logging.LogRecord) -> dict[str, object]:
    """Return event and keys of one of our own records, given as `extra` or as `event key=value ...`."""
    event, *words = record.getMessage().split(" ")
    if not _EVENT.fullmatch(event):
        return {"event": WITHHELD}
    keys: dict[str, object] = {**dict(pair.split("=", 1) for pair in words if "=" in pair)}
    keys |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return {"event": event, **{key: _plain(key, value) for key, value in keys.items()}}


def _plain(key: str, value: object) -> object:
    """Return a value that cannot be a sentence or a DICOM name: numbers, ids, codes, paths."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if key == _PROGRAM_OUTPUT:
        return str(value)
    return str(value) if _PLAIN.fullmatch(str(value)) else WITHHELD
