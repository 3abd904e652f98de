"""Every table of the registry in one metadata, and the migrations that bring a database to it."""

from functools import cache
from importlib import import_module
from pathlib import Path

from sqlalchemy import Engine, MetaData, inspect, text
from sqlmodel import SQLModel

from registry_api.database import Database, open_engine, told_apart
from registry_api.settings import RegistrySettings

AREAS = (
    "units", "enrolment", "people", "link", "cases", "releases", "promoted", "reading", "alerts", "public",
)  # fmt: skip
"""The folders whose `tables` put their rows into the metadata; a new area is added here."""

_MIGRATING = 0x6D6967726174
"""PostgreSQL names a lock by a number: "migrat" in ASCII."""

_MIGRATIONS = Path(__file__).with_name("migrations")


def metadata() -> MetaData:
    """Return the tables as the code knows them. Only migrations want all of them; a command loads those of its own area."""
    for area in AREAS:
        import_module(f"registry_api.{area}.tables")
    return SQLModel.metadata


def open_database(settings: RegistrySettings) -> Database:
    """Return the registry's database, brought to the newest schema.

    Raises:
        UnavailableError: `database-unreachable` or `disk-full`.
    """
    engine = open_engine(settings.database_url)
    with told_apart():
        migrate(engine)
    return Database(engine)


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema. What is already there stays; doing it twice changes nothing."""
    if version_of(engine) == newest_version():
        return  # as nearly always, and loading Alembic takes longer than most commands
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        if (
            connection.dialect.name == "postgresql"
        ):  # processes that start together: the second finds nothing left to do
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def version_of(engine: Engine) -> str | None:
    """Return the last migration that the database has seen; None of an empty one."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


@cache
def newest_version() -> str:
    """Return the name of the last migration; each is called as its file is, and they are numbered in their order."""
    return max(path.stem for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
