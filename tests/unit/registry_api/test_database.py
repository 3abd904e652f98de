"""Transactions: durable on SQLite, all or nothing, one writer at a time; migrations end where the code's tables are."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

import registry_api.schema
from protocol.codes import Code
from protocol.errors import UnavailableError
from registry_api.database import Database, UtcDateTime, open_engine
from registry_api.people.tables import PageSessionRow, PersonRow
from registry_api.releases.tables import CountReleaseRow
from registry_api.schema import metadata, migrate, newest_version, version_of
from tests.fakes.databases import sqlite_only
from tests.unit.registry_api.conftest import database_of

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = database_of(home)
    yield opened
    opened.close()


def person(number: int, *, created_at: datetime = NOON) -> PersonRow:
    return PersonRow(id=f"{number:032x}", name="n", role="auditor", key_sha256=str(number), created_at=created_at)


@sqlite_only
def test_sqlite_waits_for_the_disk(database: Database) -> None:
    with database.reading() as session:
        assert session.exec(text("PRAGMA synchronous")).scalar() == 2  # FULL
        assert session.exec(text("PRAGMA journal_mode")).scalar() == "wal"
        assert session.exec(text("PRAGMA foreign_keys")).scalar() == 1


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def add_and_fail() -> None:
        with database.writing() as session:
            session.add(person(1))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    with database.reading() as session:
        assert session.exec(select(PersonRow)).all() == []


def test_what_a_reading_transaction_changes_is_not_kept(database: Database) -> None:
    with database.reading() as session:
        session.add(person(1))
        session.flush()
    with database.reading() as session:
        assert session.exec(select(PersonRow)).all() == []


def test_readers_are_not_held_up_by_a_writer(database: Database) -> None:
    with database.writing() as writer:
        writer.add(person(1))
        writer.flush()
        with database.reading() as reader:
            assert reader.exec(select(PersonRow)).all() == []


@sqlite_only
def test_writers_come_one_after_the_other(database: Database) -> None:
    def count_up(_: int) -> None:
        with database.writing() as session:
            highest = len(session.exec(select(PersonRow)).all())
            session.add(person(highest))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(40)))
    with database.reading() as session:
        assert len(session.exec(select(PersonRow)).all()) == 40


@sqlite_only
def test_a_database_that_cannot_be_written_is_unavailable(database: Database) -> None:
    def write_on_a_full_disk() -> None:
        with database.writing() as session:
            session.exec(text("PRAGMA query_only = 1"))
            session.add(person(1))

    with pytest.raises(UnavailableError) as raised:
        write_on_a_full_disk()
    assert raised.value.code is Code.DATABASE_UNREACHABLE


@sqlite_only
def test_a_full_disk_is_told_from_a_database_that_is_away(database: Database) -> None:
    def write_more_than_there_is_room_for() -> None:
        with database.writing() as session:
            pages = session.exec(text("PRAGMA page_count")).scalar()
            session.exec(text(f"PRAGMA max_page_count = {pages}"))
            session.add_all([person(number) for number in range(1000)])

    with pytest.raises(UnavailableError) as raised:
        write_more_than_there_is_room_for()
    assert raised.value.code is Code.DISK_FULL


def test_a_reference_to_what_is_not_there_is_the_same_error_on_every_database(database: Database) -> None:
    with pytest.raises(IntegrityError), database.writing() as session:
        session.add(PageSessionRow(cookie_sha256="0", person_id="f" * 32, csrf="", expires_at=NOON))


def test_times_come_back_in_utc_whatever_zone_they_had(database: Database) -> None:
    east = NOON.astimezone(timezone(timedelta(hours=5)))
    with database.writing() as session:
        session.add(person(1, created_at=east))
    with database.reading() as session:
        assert session.exec(select(PersonRow)).one().created_at == NOON


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        UtcDateTime().process_bind_param(NOON.replace(tzinfo=None), None)  # type: ignore[arg-type]


def test_migrations_end_where_the_code_is_and_may_run_twice(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata()) == []
    engine.dispose()


def test_migrations_are_one_chain_numbered_in_its_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(registry_api.schema.__file__).with_name("migrations")))
    steps = list(ScriptDirectory.from_config(config).walk_revisions())
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1
    names = [step.revision for step in reversed(steps)]
    assert [int(name.partition("_")[0]) for name in names] == list(range(1, len(names) + 1))
    assert all(Path(step.path).stem == step.revision for step in steps)
    assert newest_version() == names[-1]


def test_a_database_at_the_newest_schema_is_left_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_of(database.engine) == newest_version()
    monkeypatch.setattr("alembic.command.upgrade", lambda *_: pytest.fail("migrated again"))
    migrate(database.engine)


def test_an_empty_database_has_no_version(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/empty.db")
    assert version_of(engine) is None
    engine.dispose()


def test_migrating_keeps_what_is_there(database: Database) -> None:
    with database.writing() as session:
        session.add(person(7))
    migrate(database.engine)
    with Session(database.engine) as session:
        assert session.exec(select(PersonRow)).one().id == f"{7:032x}"


def test_nothing_stands_behind_the_bytes_of_a_release_and_those_that_were_there_stay(tmp_path: Path) -> None:
    engine, config = open_engine(f"sqlite:///{tmp_path}/registry.db"), Config()
    config.set_main_option("script_location", str(Path(registry_api.schema.__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0027_no_heartbeat")
        insert = "INSERT INTO count_releases VALUES (1, 'content', 'hash', 'signature', x'00ff', '2026-03-04 12:00:00')"
        connection.execute(text(insert))
    migrate(engine)
    with engine.connect() as connection:
        assert list(connection.execute(text("PRAGMA table_info(count_releases)")))[-1].name == "body"
    with Session(engine) as session:
        assert session.exec(select(CountReleaseRow)).one() == CountReleaseRow(
            number=1, content_sha256="content", sha256="hash", signature="signature", body=b"\0\xff", built_at=NOON
        )
    engine.dispose()
