"""One build at a time, over all processes of a registry. The turn ends with its process, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from protocol.codes import Code
from protocol.errors import ConflictError
from registry_api.database import Database, told_apart

ADVISORY_KEY = 0x6163696E7573
"""PostgreSQL names such a lock by a number: "acinus" in ASCII."""


@contextmanager
def turn(database: Database) -> Iterator[None]:
    """Hold the only turn to build a release while the body runs.

    Neither lock needs tidying up after a kill: the kernel lets go of the file, PostgreSQL of what the session held.

    Raises:
        ConflictError: `run-in-progress` if another process has the turn.
        UnavailableError: `database-unreachable`.
    """
    if database.engine.dialect.name == "postgresql":
        with _advisory(database):
            yield
    else:
        with _locked_file(Path(f"{database.engine.url.database}.build")):
            yield


@contextmanager
def _advisory(database: Database) -> Iterator[None]:
    with told_apart(), database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        key = {"key": ADVISORY_KEY}
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar():
            raise _taken()
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)


@contextmanager
def _locked_file(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _taken() from error
        yield


def _taken() -> ConflictError:
    return ConflictError(Code.RUN_IN_PROGRESS, "A release is being built already. Wait for it; then build again.")
