"""Logging as JSON lines: an event's name and its keys, never a message that somebody else wrote."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

LOG_FILE = "registry.jsonl"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, event, and what came as `extra`. Exceptions are named, not quoted."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.msg if record.name.startswith("registry_api") else record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, default=str, ensure_ascii=False)


def own_steps(error: BaseException) -> list[str]:
    """Return file and line of each of our own steps down to where `error` was raised; a library's come below them."""
    steps = [frame for frame in traceback.extract_tb(error.__traceback__) if "registry_api" in frame.filename]
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in steps]


def fault_of(error: BaseException) -> dict[str, object]:
    """Return what a log may say of an unexpected error: its kind, and where it passed through our code. Its text may quote a row or a request."""
    return {"fault": type(error).__name__, "where": own_steps(error)}


def start_logging(folder: Path) -> None:
    """Write everything from `info` on to `registry.jsonl` in `folder`, and warnings to standard error as well."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = WatchedFileHandler(folder / LOG_FILE, encoding="utf-8")
    loud = logging.StreamHandler(sys.stderr)
    loud.setLevel(logging.WARNING)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in (file, loud):
        handler.setFormatter(JsonLines())
        root.addHandler(handler)
    for name in ("uvicorn", "uvicorn.error", "alembic", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
