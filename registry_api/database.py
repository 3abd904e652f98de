"""One database for the whole registry: SQLite by default, PostgreSQL in use. A commit is on the disk before it returns."""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    DateTime,
    Dialect,
    Engine,
    Executable,
    Table,
    create_engine,
    event,
    or_,
)
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel

from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError, UnavailableError

_CONNECTIONS = 15
"""Kept open to PostgreSQL by a process: one opened beyond those would be closed after its request, and opening one costs more than most requests.

Who comes next gets the one that was given back last: it has its statements prepared, and its server process what it knows of the tables.
"""

_BUSY_SECONDS = 30
_WRITES = "acinus_writes"
_PASSING = frozenset({"08", "40", "53", "55", "57", "58"})
"""Classes of SQLSTATE by which PostgreSQL says that it cannot now, not that the statement is wrong (its appendix A)."""
_SHUT = frozenset({"28", "3D"})
"""Classes by which it says that it lets nobody of that name in, or has no such database."""
_GOING = "57P"
"""PostgreSQL was told to stop, or is only just starting: the connection leads nowhere any more."""
_BROKEN = "23"
"""Something else speaks against a row: another row, or one that it names and that is not there."""
UNASKED = "acinus_unasked"
"""The option by which PostgreSQL's connection knows a statement that is `unasked`."""
_MISSING = frozenset({"23503", sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY})
_TAKEN = frozenset({"23505", sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})
"""How PostgreSQL and SQLite say that a row names another one that is not there, and that there is one of the same key."""
_UNKEPT = frozenset({"22021", "22003"})
"""PostgreSQL keeps no NUL in a text, and no number that is larger than its column; SQLite keeps both."""
_OVERTAKEN = "Something that was named has gone, or has come, since you looked. Look again; then try again."
_FULL = frozenset({"53100", sqlite3.SQLITE_FULL})
"""How PostgreSQL and SQLite say that there is no room."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC. SQLite knows no zones, so the zone is taken off on the way in and put back on the way out."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 — SQLAlchemy's signature
        """Refuse a time without a zone; store the others as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone must not be stored")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 — as above
        """Return the stored time with its zone."""
        return None if value is None else value.replace(tzinfo=UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        """Return what `process_result_value` does, in one call for each value: the queue holds three times a row."""
        if dialect.name == "sqlite":
            return lambda text: None if text is None else datetime.fromisoformat(f"{text}+00:00")
        read = self.impl_instance.result_processor(dialect, coltype) or (lambda value: value)

        def read_with_zone(value: Any) -> datetime | None:
            moment = read(value) if value is not None else None
            return moment.replace(tzinfo=UTC) if moment is not None else None

        return read_with_zone


def row_table(row: type[SQLModel]) -> Table:
    """Return the table of a row, for statements that neither make nor change objects: the session's bookkeeping costs more than they do."""
    return cast("Table", vars(row)["__table__"])


def ask(session: Session, statement: Executable, **values: Any) -> CursorResult[*tuple[Any, ...]]:
    """Run a statement that is made of tables, after what the session still holds back."""
    session.flush()
    return session.connection().execute(statement, values)


def unasked(statement: Any) -> Any:
    """Return a statement for `ask` of whose outcome nothing is asked: on PostgreSQL it goes out with what comes after it (ADR 0188).

    What is wrong with it, a row that it names and that is not there, fails what comes after it or the commit: whoever catches one statement's
    failure and goes on must not use this.
    """
    return statement.execution_options(**{UNASKED: True})


def lines(session: Session, statement: Executable, **values: Any) -> list[Any]:
    """Return what `ask` finds as named tuples: a column of SQLAlchemy's own rows costs ten times as much by its name."""
    found = ask(session, statement, **values)
    return list(map(_line_of(tuple(found.keys())), found.all()))  # all at once: one by one costs a call for each


@cache
def _line_of(names: tuple[str, ...]) -> Callable[[Iterable[Any]], Any]:
    named: Any = namedtuple  # noqa: PYI024 - mypy wants the names written out; they are the statement's
    make: Callable[[Iterable[Any]], Any] = named("Line", names)._make
    return make


def among(column: ColumnElement[str], values: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a column holds one of a few constant values. Unlike `in_` it is written once, not at every execution."""
    return or_(*(column == value for value in sorted(values)))


class Database:
    """Hands out transactions. Reading ones may run side by side; on SQLite a writing one holds the write lock from its start."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(**{_WRITES: True})
        self.single_writer = engine.dialect.name == "sqlite"
        """Whether a writing transaction keeps every other one waiting."""

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Run the body on one consistent state; nothing it changes is kept.

        Raises:
            UnavailableError: `database-unreachable` if the database does not answer.
            InvalidInputError: `bad-request` for a text or a number that it does not keep.
        """
        with told_apart(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Run the body in one transaction: all of it is stored when the block ends, or nothing if it raises.

        Raises:
            UnavailableError: `database-unreachable` if the database cannot take it now, `disk-full` if it has no room.
            InvalidInputError: `bad-request` for a text or a number that it does not keep.
        """
        with told_apart(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


@contextmanager
def told_apart() -> Iterator[None]:
    """Tell a database that cannot serve now from a statement that is wrong, which stays a fault.

    SQLite's driver raises OperationalError for the first. PostgreSQL's (pg8000) never does: a line that is gone is an InterfaceError,
    or what the socket says while it reads; and all that the server says but "not unique" is a ProgrammingError with its SQLSTATE.

    Raises:
        UnavailableError: `database-unreachable` or `disk-full`.
        InvalidInputError: `bad-request` for a text or a number that the database does not keep.
    """
    try:
        yield
    except (PoolTimeoutError, ConnectionError) as error:
        raise _unreachable() from error
    except DBAPIError as error:
        state = _sqlstate(error.orig)
        if state in _UNKEPT:
            raise InvalidInputError(Code.BAD_REQUEST, "A text or a number is none that can be stored.") from error
        if state[:2] in _SHUT:
            raise UnavailableError(
                Code.DATABASE_UNREACHABLE,
                "The database's server lets nobody of that name in, or has no such database. Correct [database] url in registry.toml, or make both there.",
            ) from error
        if not isinstance(error, OperationalError | InterfaceError) and state[:2] not in _PASSING:
            raise
        if _FULL & {state, getattr(error.orig, "sqlite_errorcode", None)}:
            raise UnavailableError(
                Code.DISK_FULL, "The disk of the registry's database is full. Make room on it; try again."
            ) from error
        raise _unreachable() from error


def overtaken(error: BaseException) -> FederationError | None:
    """Return what keeps a row out: `not-found` if it names a row that is not there, `already-exists` if there is one like it; None for a fault of ours.

    Whoever stores a row looks first and says what is missing in words. This is for what comes or goes in between, and for looks that were forgotten.
    Nothing of the row is quoted.
    """
    if not isinstance(error, IntegrityError):
        return None
    state = _sqlstate(error.orig) or getattr(error.orig, "sqlite_errorcode", None)
    if state in _MISSING:
        return InvalidInputError(Code.NOT_FOUND, _OVERTAKEN)
    return ConflictError(Code.ALREADY_EXISTS, _OVERTAKEN) if state in _TAKEN else None


def _unreachable() -> UnavailableError:
    return UnavailableError(
        Code.DATABASE_UNREACHABLE,
        "The registry's database does not answer, or is busy. Check that its server runs and that [database] url names it; try again.",
    )


def _sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE of an error of pg8000; nothing of any other."""
    said = error.args[0] if error is not None and error.args else None
    return str(said.get("C", "")) if isinstance(said, dict) else ""


def open_engine(url: str) -> Engine:
    """Return an engine for `url`, set up so that an acknowledged commit survives a power cut."""
    if not url.startswith("sqlite"):
        from registry_api import driver

        driver.quicken()
        engine = create_engine(url, pool_size=_CONNECTIONS, max_overflow=0, pool_use_lifo=True)
        event.listen(engine, "do_connect", driver.connect)
        event.listen(engine, "do_execute", driver.mark)
        event.listen(engine, "checkout", _refuse_gone)
        event.listen(engine, "handle_error", _understand, retval=True)
        return engine
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _refuse_gone(connection: Any, _record: object, _proxy: object) -> None:
    """Let the pool open another connection instead of one that the server has closed; to ask the server would cost every request a question."""
    if connection.is_gone():
        raise DisconnectionError


def _understand(context: ExceptionContext) -> IntegrityError | None:
    """Let the pool open a new connection instead of one whose server has ended; SQLAlchemy does not know pg8000's word for it.

    A reference to what is not there becomes the error that it is on SQLite; pg8000 has that one for rows that are not unique alone.
    """
    state = _sqlstate(context.original_exception)
    if state.startswith(_GOING):
        context.is_disconnect = True
    if state.startswith(_BROKEN):
        return IntegrityError(context.statement, context.parameters, context.original_exception)
    return None


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """WAL with FULL: with NORMAL a power cut may take acknowledged commits away (sqlite.org/pragma.html#pragma_synchronous)."""
    connection.isolation_level = None  # we say BEGIN ourselves, below; the driver would say it too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once where the transaction will write, so that what it reads cannot change before it writes."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
