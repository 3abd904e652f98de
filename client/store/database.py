"""The node's one SQLite file. Every commit is on the disk before it returns.

WAL with `synchronous=FULL`: with NORMAL, a power cut may take acknowledged commits away (sqlite.org/pragma.html#pragma_synchronous).
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.codes import Code
from protocol.errors import UnavailableError

_BUSY_SECONDS, _RETRY_SECONDS = 30.0, 0.02

_STORAGE = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
}  # fmt: skip
"""Primary result codes that speak of the disk or of other writers; the rest are mistakes of the caller."""


def connect(path: Path, *schemas: str) -> sqlite3.Connection:
    """Open the database at `path` and make the tables of `schemas` where they are missing.

    The connection is in autocommit mode: write inside `transaction`. Use one connection per thread.

    Raises:
        UnavailableError: `disk-full` if the file cannot be opened or written, or is damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        for schema in schemas:
            connection.executescript(schema)
    except (sqlite3.DatabaseError, OSError) as error:
        raise UnavailableError(
            Code.DISK_FULL,
            f"The database {path} is damaged or cannot be opened or written. Check free space and the folder's owner.",
        ) from error
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. Two programs that open a new file at once may both want to, and for this SQLite does not wait by itself.

    Raises:
        sqlite3.OperationalError: If the file stays locked.
    """
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def add_column(connection: sqlite3.Connection, table: str, column: str) -> None:
    """Give a table that is older than one of its columns that column, of text or null.

    Raises:
        UnavailableError: `disk-full`.
    """
    if not _has_column(connection, table, column):
        with transaction(connection):
            if not _has_column(connection, table, column):  # another process may have been first
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")


def _has_column(connection: sqlite3.Connection, table: str, column: str) -> bool:
    return any(known["name"] == column for known in connection.execute(f"PRAGMA table_info({table})"))


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run the body in one write transaction: all of it is stored, or nothing.

    `BEGIN IMMEDIATE` takes the write lock first, so what the body reads cannot change before it writes.

    Raises:
        UnavailableError: `disk-full` if SQLite cannot store it.
    """
    with _storage_faults():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        try:
            connection.commit()
        except sqlite3.DatabaseError:
            connection.rollback()
            raise


@contextmanager
def _storage_faults() -> Iterator[None]:
    """Turn SQLite's complaints about the disk into `disk-full`; a statement that is wrong stays what it is.

    Raises:
        UnavailableError: `disk-full`.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _STORAGE:
            raise
        raise UnavailableError(
            Code.DISK_FULL, "The node's database is busy or cannot be written. Check free space and try again."
        ) from error
