"""The driver's connections on a real PostgreSQL: what they send, what they keep prepared, and what they say when something is wrong."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from pg8000.converters import timestamp_in
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from protocol.codes import Code
from registry_api import driver
from registry_api.database import Database, open_engine, overtaken, unasked
from tests.integration.registry.test_postgresql import needs_postgresql, url

__all__ = ["url"]

pytestmark = needs_postgresql

PREPARED = text("SELECT count(*) FROM pg_prepared_statements")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = open_engine(url)
    with made.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS kept"))
        connection.execute(text("CREATE TABLE kept (name text PRIMARY KEY, number int, at timestamp)"))
    yield made
    made.dispose()


def line_of(connection: Any) -> driver.Connection:
    found = connection.connection.dbapi_connection
    assert isinstance(found, driver.Connection)
    return found


class Watched:
    """The socket's file, counting what goes out."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.flushed = inner, 0

    def flush(self) -> None:
        self.flushed += 1
        self.inner.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_a_statement_is_one_exchange_and_the_beginning_of_a_transaction_none(engine: Engine) -> None:
    with engine.connect() as connection:
        line = line_of(connection)
        line._sock = watched = Watched(line._sock)
        for _ in range(2):
            with connection.begin():
                connection.execute(text("INSERT INTO kept VALUES (:name, 1)"), {"name": "a"})
                assert connection.execute(text("SELECT number FROM kept WHERE name = :name"), {"name": "a"}).all() == [
                    (1,)
                ]
                connection.execute(text("DELETE FROM kept WHERE name = :name"), {"name": "a"})
            assert watched.flushed == 4, "three statements and a commit"
            watched.flushed = 0
        line._sock = watched.inner


def test_what_was_used_last_stays_prepared(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_PREPARED", 3)
    with engine.connect() as connection:
        for number in range(10):
            for one in (0, number):
                assert connection.execute(text(f"SELECT {one} + :more"), {"more": 1}).scalar() == one + 1
        assert connection.execute(PREPARED).scalar() in {3, 4}, "the one that is due to go goes with the next one"
        kept = connection.execute(text("SELECT statement FROM pg_prepared_statements")).scalars().all()
    assert any(one.startswith("SELECT 0") for one in kept)


def test_an_error_is_that_of_the_statement_and_the_connection_serves_on(engine: Engine) -> None:
    insert = text("INSERT INTO kept VALUES (:name, :number)")
    with engine.connect() as connection:
        for _ in range(3):
            with connection.begin():
                connection.execute(insert, {"name": "a", "number": 1})
            with pytest.raises(IntegrityError), connection.begin():
                connection.execute(insert, {"name": "a", "number": 1})
            with pytest.raises(DBAPIError, match="out of range"), connection.begin():
                connection.execute(text("SELECT name FROM kept WHERE number = CAST(:much AS int)"), {"much": 2**40})
            with pytest.raises(DBAPIError, match="does not exist"), connection.begin():
                connection.execute(text("SELECT nothing FROM kept WHERE name = :name"), {"name": "a"})
            with connection.begin():
                assert connection.execute(text("DELETE FROM kept WHERE name = :name"), {"name": "a"}).rowcount == 1


def test_a_first_statement_that_fails_leaves_nothing_behind(engine: Engine) -> None:
    """It goes out together with the beginning of its transaction."""
    with engine.connect() as connection:
        with pytest.raises(DBAPIError), connection.begin():
            connection.execute(
                text("INSERT INTO kept VALUES (:name, CAST(:number AS int))"), {"name": "a", "number": "x"}
            )
        with connection.begin() as begun:
            connection.execute(text("INSERT INTO kept VALUES (:name, 1)"), {"name": "b"})
            begun.rollback()
        with connection.begin():
            assert connection.execute(text("SELECT count(*) FROM kept WHERE name <> :name"), {"name": ""}).scalar() == 0


def test_a_column_that_changes_costs_one_failure(engine: Engine) -> None:
    """A statement that was prepared before says so, once, and is prepared anew."""
    ask = text("SELECT number FROM kept WHERE name = :name")
    with engine.connect() as connection, engine.connect() as other:
        for _ in range(2):
            with connection.begin():
                assert connection.execute(ask, {"name": "a"}).all() == []
        with other.begin():
            other.execute(text("ALTER TABLE kept ALTER number TYPE text"))
        with pytest.raises(DBAPIError, match="cached plan"), connection.begin():
            connection.execute(ask, {"name": "a"})
        with connection.begin():
            assert connection.execute(ask, {"name": "a"}).all() == []


def test_what_the_server_closed_is_opened_anew_and_nobody_notices(engine: Engine) -> None:
    with engine.connect() as connection:
        first = connection.execute(text("SELECT pg_backend_pid()")).scalar()
    with create_engine(engine.url).connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
        while other.execute(text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), {"pid": first}).scalar():
            other.rollback()
        other.engine.dispose()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar() != first


@pytest.mark.parametrize("said", ["2026-11-26 22:24:20", "2026-11-26 22:24:20.5", "2026-11-26 22:24:20.123456"])
def test_times_are_read_as_the_driver_reads_them(engine: Engine, said: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO kept VALUES (:name, 1, CAST(:said AS timestamp))"), {"name": said, "said": said}
        )
        found = connection.execute(text("SELECT at FROM kept WHERE name = :name"), {"name": said}).scalar()
    assert found == timestamp_in(said)
    assert isinstance(found, datetime)


def test_nothing_is_copied_over_such_a_connection(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(ValueError, match="copied"):
        line_of(connection).execute_unnamed("COPY kept TO STDOUT", stream=object())


UNASKED = unasked(text("INSERT INTO kept VALUES (:name, 1)"))


def add(connection: Any, *names: str) -> None:
    for name in names:
        connection.execute(UNASKED, {"name": name})


def names_of(connection: Any) -> list[str]:
    found: list[str] = connection.execute(text("SELECT name FROM kept ORDER BY name")).scalars().all()
    return found


@pytest.fixture
def prepared(engine: Engine) -> Iterator[Any]:
    """A connection on which the statement of whose outcome nothing is asked was used before."""
    with engine.connect() as connection:
        with connection.begin():
            add(connection, "prepared")
        yield connection


def test_what_is_not_asked_of_goes_out_with_what_comes_after_it(prepared: Any) -> None:
    ask, line = text("SELECT count(*) FROM kept WHERE name <> :name"), line_of(prepared)
    with prepared.begin():
        prepared.execute(ask, {"name": ""})
    line._sock = watched = Watched(line._sock)
    with prepared.begin():
        add(prepared, "a", "b")
        assert watched.flushed == 0
        assert prepared.execute(ask, {"name": ""}).scalar() == 3
        add(prepared, "c")
        assert watched.flushed == 1
    assert watched.flushed == 2, "the last one went out with the commit"
    with prepared.begin():
        add(prepared, "d")
        assert names_of(prepared) == ["a", "b", "c", "d", "prepared"], "also with a statement that has no values"
    line._sock = watched.inner


def test_what_another_statement_changed_is_counted_by_itself(prepared: Any) -> None:
    remove = text("DELETE FROM kept WHERE number = :number")
    for _ in range(2):
        with prepared.begin():
            add(prepared, "a", "b")
            assert prepared.execute(remove, {"number": 2}).rowcount == 0
            assert prepared.execute(remove, {"number": 1}).rowcount in {2, 3}
            add(prepared, "prepared")


def test_what_is_wrong_with_it_fails_what_comes_after_it_and_all_is_undone(prepared: Any) -> None:
    ask = text("SELECT number FROM kept WHERE name = :name")
    for _ in range(2):
        with prepared.begin() as begun:
            add(prepared, "a")
            with pytest.raises(IntegrityError):
                (add(prepared, "prepared"), prepared.execute(ask, {"name": "a"}))
            begun.rollback()
        with prepared.begin():
            assert names_of(prepared) == ["prepared"]


def test_what_is_wrong_with_it_fails_the_commit_at_the_latest(engine: Engine, prepared: Any) -> None:
    prepared.close()
    for _ in range(2):
        with pytest.raises(IntegrityError) as raised, Database(engine).writing() as session:
            add(session, "a", "prepared", "b")
        found = overtaken(raised.value)
        assert found is not None
        assert found.code is Code.ALREADY_EXISTS
        with engine.connect() as connection:
            assert names_of(connection) == ["prepared"]


def test_what_waits_is_forgotten_when_the_transaction_is_undone(prepared: Any) -> None:
    with prepared.begin() as begun:
        add(prepared, "a")
        begun.rollback()
    with prepared.begin():
        prepared.execute(text("SELECT count(*) FROM kept WHERE number = :number"), {"number": 1})
        add(prepared, "b")
        prepared.rollback()
    with prepared.begin():
        assert names_of(prepared) == ["prepared"]
