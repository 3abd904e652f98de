"""One database for the whole registry: SQLite by default, PostgreSQL in use. A commit is on the disk before it returns."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
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
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel

from protocol.codes import Code
from protocol.errors import UnavailableError
from registry_api.driver import quicken, read_times

_BUSY_SECONDS = 30
_WRITES = "acinus_writes"
_PASSING = frozenset({"08", "40", "53", "55", "57", "58"})
"""Classes of SQLSTATE by which PostgreSQL says that it cannot now, not that the statement is wrong (its appendix A)."""
_GOING = "57P"
"""PostgreSQL was told to stop, or is only just starting: the connection leads nowhere any more."""


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
        """Return what `process_result_value` does, in one call for each value: the queue holds four times a row."""
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
            UnavailableError: `disk-full` if the database does not answer.
        """
        with _told_apart(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Run the body in one transaction: all of it is stored when the block ends, or nothing if it raises.

        Raises:
            UnavailableError: `disk-full` if the database cannot take it.
        """
        with _told_apart(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


@contextmanager
def _told_apart() -> Iterator[None]:
    """Tell a database that cannot serve now from a statement that is wrong, which stays a fault.

    SQLite's driver raises OperationalError for the first. PostgreSQL's (pg8000) never does: a line that is gone is an InterfaceError,
    or what the socket says while it reads; and all that the server says but "not unique" is a ProgrammingError with its SQLSTATE.
    """
    try:
        yield
    except (PoolTimeoutError, ConnectionError) as error:
        raise _unavailable() from error
    except DBAPIError as error:
        if isinstance(error, OperationalError | InterfaceError) or _sqlstate(error.orig)[:2] in _PASSING:
            raise _unavailable() from error
        raise


def _unavailable() -> UnavailableError:
    return UnavailableError(
        Code.DISK_FULL, "The registry's database is busy, full or gone. Check its disk or server; try again."
    )


def _sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE of an error of pg8000; nothing of any other."""
    said = error.args[0] if error is not None and error.args else None
    return str(said.get("C", "")) if isinstance(said, dict) else ""


def open_engine(url: str) -> Engine:
    """Return an engine for `url`, set up so that an acknowledged commit survives a power cut."""
    if not url.startswith("sqlite"):
        quicken()
        engine = create_engine(url, pool_pre_ping=True)
        event.listen(engine, "connect", read_times)
        event.listen(engine, "handle_error", _notice_going)
        return engine
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _notice_going(context: ExceptionContext) -> None:
    """Let the pool open a new connection instead of one whose server has ended; SQLAlchemy does not know pg8000's word for it."""
    if _sqlstate(context.original_exception).startswith(_GOING):
        context.is_disconnect = True


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """WAL with FULL: with NORMAL a power cut may take acknowledged commits away (sqlite.org/pragma.html#pragma_synchronous)."""
    connection.isolation_level = None  # we say BEGIN ourselves, below; the driver would say it too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once where the transaction will write, so that what it reads cannot change before it writes."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
