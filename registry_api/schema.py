"""Every table of the registry in one metadata, and the migrations that bring a database to it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, MetaData
from sqlmodel import SQLModel

from registry_api.alerts import tables as _alerts
from registry_api.cases import tables as _cases
from registry_api.enrolment import tables as _enrolment
from registry_api.link import tables as _link
from registry_api.people import tables as _people
from registry_api.promoted import tables as _promoted
from registry_api.reading import tables as _reading
from registry_api.releases import tables as _releases
from registry_api.units import tables as _units

AREAS = (_units, _enrolment, _people, _link, _cases, _releases, _promoted, _reading, _alerts)
"""The modules whose import puts their rows into the metadata; a new area is added here."""

_MIGRATIONS = Path(__file__).with_name("migrations")


def metadata() -> MetaData:
    """Return the tables as the code knows them."""
    return SQLModel.metadata


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema. What is already there stays; doing it twice changes nothing."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
