"""The node's one SQLite file: what is committed is on the disk, what fails leaves nothing, and the disk's refusals become one code."""

import sqlite3
import threading
from pathlib import Path

import pytest

from client.store import database
from client.store.database import connect, transaction
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

SCHEMA = "CREATE TABLE IF NOT EXISTS thing (name TEXT PRIMARY KEY, size INTEGER) STRICT;"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "node.db"


def names(connection: sqlite3.Connection) -> list[str]:
    return [row["name"] for row in connection.execute("SELECT name FROM thing ORDER BY name")]


def pragma(connection: sqlite3.Connection, word: str) -> object:
    return connection.execute(f"PRAGMA {word}").fetchone()[0]


def put(connection: sqlite3.Connection, *new: str, then: Exception | None = None) -> None:
    with transaction(connection):
        connection.executemany("INSERT INTO thing VALUES (?, 1)", [(name,) for name in new])
        if then is not None:
            raise then


def test_commits_are_forced_to_the_disk(path: Path) -> None:
    connection = connect(path, SCHEMA)
    assert pragma(connection, "journal_mode") == "wal"
    assert pragma(connection, "synchronous") == 2, "FULL: with NORMAL a power cut takes acknowledged commits away"
    assert pragma(connection, "foreign_keys") == 1


def test_schemas_are_made_once_and_keep_what_is_there(path: Path) -> None:
    put(connect(path, SCHEMA), "a")
    assert names(connect(path, SCHEMA, "CREATE TABLE IF NOT EXISTS other (x INTEGER) STRICT;")) == ["a"]


def test_all_or_nothing(path: Path) -> None:
    connection = connect(path, SCHEMA)
    with pytest.raises(InvalidInputError):
        put(connection, "a", then=InvalidInputError(Code.NOT_FOUND, "no"))
    assert names(connection) == []
    put(connection, "b")
    assert names(connect(path)) == ["b"]


def test_a_wrong_statement_stays_what_it_is(path: Path) -> None:
    connection = connect(path, SCHEMA)
    with pytest.raises(sqlite3.OperationalError, match="no such table"), transaction(connection):
        connection.execute("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError):
        put(connection, "a", "a")
    assert names(connection) == []


def test_a_full_disk_is_said_and_leaves_nothing(path: Path) -> None:
    connection = connect(path, SCHEMA)
    connection.execute(f"PRAGMA max_page_count = {pragma(connection, 'page_count')}")
    with pytest.raises(UnavailableError) as caught:
        put(connection, "first", "x" * 100_000)
    assert caught.value.code is Code.DISK_FULL
    assert names(connection) == []
    connection.execute("PRAGMA max_page_count = 100000")
    put(connection, "x" * 100_000)
    assert len(names(connection)) == 1, "well again once there is room"


def test_writers_wait_for_one_another(path: Path) -> None:
    """What a transaction has read cannot change before it writes: fifty increments by each of four threads all count."""
    with transaction(connect(path, SCHEMA)) as connection:
        connection.execute("INSERT INTO thing VALUES ('n', 0)")

    def count() -> None:
        own = connect(path)
        for _ in range(50):
            with transaction(own):
                (size,) = own.execute("SELECT size FROM thing").fetchone()
                own.execute("UPDATE thing SET size = ?", (size + 1,))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert connect(path).execute("SELECT size FROM thing").fetchone()["size"] == 200


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    slow, other = connect(path, SCHEMA), connect(path, SCHEMA)
    with transaction(slow):
        slow.execute("INSERT INTO thing VALUES ('a', 1)")
        with pytest.raises(UnavailableError) as caught, transaction(other):
            pass
    assert caught.value.code is Code.DISK_FULL
    assert names(other) == ["a"]


def test_readers_are_not_kept_waiting(path: Path) -> None:
    writer, reader = connect(path, SCHEMA), connect(path, SCHEMA)
    with transaction(writer):
        writer.execute("INSERT INTO thing VALUES ('a', 1)")
        assert names(reader) == []
    assert names(reader) == ["a"]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("x")
    with pytest.raises(UnavailableError) as caught:
        connect(tmp_path / "home" / "node.db", SCHEMA)
    assert caught.value.code is Code.DISK_FULL


def test_a_damaged_database_is_said_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 400)
    with pytest.raises(UnavailableError) as caught:
        connect(path, SCHEMA)
    assert (caught.value.code, caught.value.exit_code) == (Code.DISK_FULL, 5)
    assert path.read_bytes() == b"this is no database" * 400


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Every part of a node does so at its first start; SQLite's own waiting does not cover the switch to WAL."""
    failed: list[BaseException] = []

    def open_it(file: Path, start: threading.Barrier) -> None:
        start.wait()
        try:
            connect(file, SCHEMA).close()
        except UnavailableError as error:
            failed.append(error)

    for number in range(60):
        start = threading.Barrier(8)
        openers = [threading.Thread(target=open_it, args=(tmp_path / f"{number}.db", start)) for _ in range(8)]
        for opener in openers:
            opener.start()
        for opener in openers:
            opener.join()
    assert failed == []
