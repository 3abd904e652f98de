"""A registry that dies while it brings its database to the newest schema finds it afterwards as it was, or done, and goes on."""

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event, text

import registry_api.schema
from registry_api.database import open_engine
from registry_api.schema import metadata, migrate, newest_version, version_of

OLD = "0013_amendments"
KILLED = 9
POINTS = 6


@contextmanager
def opened(path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{path}")
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of an earlier version with a unit in it."""
    path = tmp_path_factory.mktemp("old") / "registry.db"
    config = Config()
    config.set_main_option("script_location", str(Path(registry_api.schema.__file__).with_name("migrations")))
    with opened(path) as engine:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, OLD)
            connection.execute(text("INSERT INTO units (code, system, name) VALUES ('XA', 'iso-3166-1', 'XA')"))
        with engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    return path


def count_or_die(path: Path, at: int | None) -> int:
    """Migrate in this process and return how many statements it took; die before number `at`."""
    taken = 0
    with opened(path) as engine:

        @event.listens_for(engine, "before_cursor_execute")
        def count(*_: object) -> None:
            nonlocal taken
            if taken == at:
                os._exit(KILLED)
            taken += 1

        migrate(engine)
    return taken


def test_a_migration_that_is_killed_leaves_what_was_and_is_done_by_the_next_start(old: Path, tmp_path: Path) -> None:
    statements = count_or_die(Path(shutil.copy(old, tmp_path / "whole.db")), None)
    for at in range(1, statements, max(1, statements // POINTS)):
        path = Path(shutil.copy(old, tmp_path / f"{at}.db"))
        child = multiprocessing.get_context("fork").Process(target=count_or_die, args=(path, at))
        child.start()
        child.join(60)
        assert child.exitcode == KILLED
        with opened(path) as engine:
            assert version_of(engine) == OLD, f"killed before statement {at} of {statements}"
            migrate(engine)
            assert version_of(engine) == newest_version()
            with engine.connect() as connection:
                assert compare_metadata(MigrationContext.configure(connection), metadata()) == []
                assert connection.execute(text("SELECT code FROM units")).scalars().all() == ["XA"]
