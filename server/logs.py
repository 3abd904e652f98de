"""Logging as JSON lines, set up in one place by the command line. An exception leaves its kind, not its text."""

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

from server.files import unwritable

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, event, and what came as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, default=str, ensure_ascii=False)


def start_logging(folder: Path, part: str) -> None:
    """Write everything from `info` on to `<part>.jsonl` in `folder`, and warnings to standard error as well.

    Raises:
        UnavailableError: `disk-full` if the log cannot be opened. A line that cannot be written later is lost without a word.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = WatchedFileHandler(folder / f"{part}.jsonl", encoding="utf-8")
    except OSError as error:
        raise unwritable(folder, error) from error
    logging.raiseExceptions = False
    loud = logging.StreamHandler(sys.stderr)
    loud.setLevel(logging.WARNING)
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for sink in (file, loud):
        sink.setFormatter(JsonLines())
        root.addHandler(sink)
    for name in ("server", "strategies"):
        logging.getLogger(name).setLevel(logging.INFO)
