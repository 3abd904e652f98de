"""Units: a tree of countries, regions and what lies below; who belongs where; how many people live there."""

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from registry_api import cli, schema
from registry_api.database import open_engine
from registry_api.people.roles import Role
from registry_api.units.service import add_unit, ensure_unit, read_tree, set_population
from registry_api.units.tree import Tree, Unit, country_of
from tests.unit.registry_api.conftest import Registry

TREE = Tree(
    [
        Unit("XA", None, "iso-3166-1", "Aland"),
        Unit("XA-N", "XA", "iso-3166-2", "North"),
        Unit("XA-N01", "XA-N", "urn:oid:1.2.3", "First district"),
        Unit("XA-N1A", "XA-N01", "urn:oid:1.2.3", "First ward"),
    ]
)


@pytest.mark.parametrize(("code", "place"), [("XA", "XA"), ("XA-N", "XA-N"), ("XA-N01", "XA-N"), ("XA-N1A", "XA-N")])
def test_what_lies_below_a_region_is_counted_in_it(code: str, place: str) -> None:
    assert TREE.place_of(code) == place


def test_the_way_up_ends_at_the_country() -> None:
    assert TREE.path("XA-N1A") == ["XA-N1A", "XA-N01", "XA-N", "XA"]
    with pytest.raises(KeyError):
        TREE.path("XB")


@given(population=st.dictionaries(st.integers(1990, 2050), st.integers(1, 10**9)), year=st.integers(1980, 2060))
def test_the_population_is_the_last_one_known(population: dict[int, int], year: int) -> None:
    earlier = [one for one in sorted(population) if one <= year]
    assert Unit("XA", None, "s", "n", population).persons(year) == (population[earlier[-1]] if earlier else None)


def test_the_code_system_is_the_list_in_which_units_of_that_level_stand(registry: Registry) -> None:
    home = str(registry.runtime.settings.home)
    for arguments in (["XB"], ["XB-N", "--parent", "XB"], ["XB-N01", "--parent", "XB-N", "--system", "urn:oid:1.2.3"]):
        CliRunner().invoke(cli.app, ["--home", home, "units", "add", *arguments, "--name", "n"], catch_exceptions=False)
    with registry.runtime.database.writing() as session:
        systems = {code: unit.system for code, unit in read_tree(session).units.items()}
        assert systems == {"XB": "iso-3166-1", "XB-N": "iso-3166-2", "XB-N01": "urn:oid:1.2.3"}
        for code, parent, system in (
            ("XB", None, "iso-3166-2"),
            ("XB-N", "XB", "iso-3166-1"),
            ("XB-S", "XB", "iso-3166-3"),
        ):
            with pytest.raises(InvalidInputError) as raised:
                add_unit(session, code, parent=parent, system=system, name="n")
            assert raised.value.code is Code.BAD_REQUEST


def test_an_invite_brings_the_region_and_its_country(registry: Registry) -> None:
    registry.enrol("northport", "XA-N")
    with registry.runtime.database.reading() as session:
        units = read_tree(session).units
    assert {code: (unit.parent, unit.system) for code, unit in units.items()} == {
        "XA": (None, "iso-3166-1"),
        "XA-N": ("XA", "iso-3166-2"),
    }


def test_a_unit_of_the_countrys_own_list_keeps_its_system_and_may_be_named_anew(registry: Registry) -> None:
    with registry.runtime.database.writing() as session:
        ensure_unit(session, "XA-N")
        for name in ("First", "First district"):
            add_unit(session, "XA-N01", parent="XA-N", system="urn:oid:1.2.3", name=name)
        ensure_unit(session, "XA-N01")
        unit = read_tree(session).units["XA-N01"]
    assert (unit.parent, unit.system, unit.name) == ("XA-N", "urn:oid:1.2.3", "First district")


@pytest.mark.parametrize(
    ("code", "parent", "name", "raised"),
    [
        ("XA-S", None, "South", Code.BAD_REQUEST),
        ("XA", "XA", "Aland", Code.BAD_REQUEST),
        ("XA-S", "XB", "South", Code.BAD_REQUEST),
        ("XA-S", "XA-Q", "South", Code.NOT_FOUND),
        ("XA-S", "XA", " ", Code.BAD_REQUEST),
        ("XA-N01", "XA", "First district", Code.ALREADY_EXISTS),
    ],
)
def test_a_unit_that_fits_nowhere_is_refused(
    registry: Registry, code: str, parent: str | None, name: str, raised: Code
) -> None:
    with registry.runtime.database.writing() as session:
        ensure_unit(session, "XA-N")
        ensure_unit(session, "XB")
        add_unit(session, "XA-N01", parent="XA-N", system="own", name="First district")
        with pytest.raises((InvalidInputError, ConflictError)) as refused:
            add_unit(session, code, parent=parent, system="own", name=name)
    assert refused.value.code is raised


def test_nobody_lives_in_an_unknown_unit(registry: Registry) -> None:
    with registry.runtime.database.writing() as session, pytest.raises(InvalidInputError) as raised:
        set_population(session, "XA-Q", year=2026, persons=5)
    assert raised.value.code is Code.NOT_FOUND


def test_a_population_said_twice_is_the_second(registry: Registry) -> None:
    with registry.runtime.database.writing() as session:
        ensure_unit(session, "XA")
        for persons in (5, 7):
            set_population(session, "XA", year=2026, persons=persons)
        session.flush()
        assert read_tree(session).units["XA"].population == {2026: 7}


def test_a_ministry_belongs_where_counts_are_published(registry: Registry) -> None:
    with registry.runtime.database.writing() as session:
        ensure_unit(session, "XA-N")
        add_unit(session, "XA-N01", parent="XA-N", system="own", name="First district")
    registry.add(Role.MINISTRY, region="XA-N")
    with pytest.raises(InvalidInputError, match="counted in XA-N"):
        registry.add(Role.MINISTRY, region="XA-N01")


def test_the_migration_gives_units_to_sites_and_people_that_were_there(tmp_path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002_reading")
        connection.execute(sa.text("INSERT INTO sites (site, region) VALUES ('northport', 'XA-N')"))
        insert = "INSERT INTO people (id, name, role, region, key_sha256, created_at) VALUES ('1', 'n', 'ministry', 'XB', 'k', '2026-01-01')"
        connection.execute(sa.text(insert))
    schema.migrate(engine)
    with engine.begin() as connection:
        found = connection.execute(sa.text("SELECT code, parent FROM units ORDER BY code")).all()
    engine.dispose()
    assert [tuple(row) for row in found] == [("XA", None), ("XA-N", "XA"), ("XB", None)]
    assert country_of("XA-N") == "XA"
