"""Where the registry's tests store: SQLite, or databases on a PostgreSQL server of this run if `ACINUS_TEST_DATABASE` says `postgresql`."""

import os
import re
import secrets
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from registry_api.settings import load_settings

ON_POSTGRESQL = os.environ.get("ACINUS_TEST_DATABASE", "sqlite") == "postgresql"
sqlite_only = pytest.mark.skipif(ON_POSTGRESQL, reason="says something of SQLite")

_OURS = "test_"
_TABLE = re.compile(r'\[database\]\nurl = "[^"]*"\n')


def use_database(home: Path, url: str) -> None:
    """Let the registry of `home` store at `url`."""
    settings = home / "registry.toml"
    settings.write_text(f'{_TABLE.sub("", settings.read_text())}[database]\nurl = "{url}"\n')


def make_database(server: str, *, template: str = "template1") -> str:
    """Make a database on a server, as a copy of another one to which nobody is connected, and return its URL."""
    name = f"{_OURS}{secrets.token_hex(6)}"
    _tell(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def copy_database(home: Path) -> None:
    """Give `home` a copy of the database that its settings name, if that is on a server."""
    url = load_settings(home).database_url
    if not url.startswith("sqlite"):
        use_database(home, make_database(url, template=str(make_url(url).database)))


def drop_database(home: Path) -> None:
    """Drop the database of `home`, if it was made here, whoever is still connected."""
    url = make_url(load_settings(home).database_url)
    if str(url.database).startswith(_OURS):
        _tell(url.render_as_string(hide_password=False), f'DROP DATABASE "{url.database}" WITH (FORCE)')


def _tell(server: str, statement: str) -> None:
    engine = create_engine(make_url(server).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
