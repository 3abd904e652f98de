"""What the PostgreSQL driver (pg8000) does anew for every statement and every time, and need not: half of what a claim cost."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

Convert = Callable[[str, str, Any], tuple[str, Any]]

_TIMESTAMP = 1114
"""The number of `timestamp` without a zone (PostgreSQL's `pg_type.dat`)."""

_STATEMENTS = 1024
"""How many texts are remembered; the registry has some hundreds."""


def quicken() -> None:
    """Let the driver remember how it writes each statement. It walks through the text letter by letter, in Python; twice changes nothing.

    The name that is replaced is the driver's own (compare ADR 0094); a test holds what stands in its place against it.
    """
    from pg8000 import legacy

    driver: Any = legacy
    if not hasattr(driver.convert_paramstyle, "remembers"):
        driver.convert_paramstyle = remembering(driver.convert_paramstyle)


def remembering(convert: Convert) -> Convert:
    """Return `convert` with its texts remembered. In the style that SQLAlchemy uses (`%s`) they do not depend on the values."""

    @lru_cache(maxsize=_STATEMENTS)
    def text_of(query: str) -> str:
        return convert("format", query, ())[0]

    def converted(style: str, query: str, args: Any) -> tuple[str, Any]:
        return (text_of(query), args) if style == "format" else convert(style, query, args)

    vars(converted)["remembers"] = True
    return converted


def read_times(connection: Any, _record: object) -> None:
    """Let a new connection read times by ISO 8601, as which they come, instead of trying a pattern on each."""
    connection.register_in_adapter(_TIMESTAMP, datetime.fromisoformat)
