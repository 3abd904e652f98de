"""Adding units and their population, and reading the whole tree."""

from sqlmodel import Session, select

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from registry_api.units.tables import PopulationRow, UnitRow
from registry_api.units.tree import ISO_COUNTRIES, ISO_REGIONS, Tree, Unit, country_of

_NAME_MAX = 200
_ISO = "iso-3166"


def ensure_unit(session: Session, code: str) -> None:
    """Add an ISO 3166 country or region, and the country of a region, unless they are known."""
    country = country_of(code)
    for one, parent, system in ((country, None, ISO_COUNTRIES), (code, country, ISO_REGIONS)):
        if session.get(UnitRow, one) is None:
            session.add(UnitRow(code=one, parent=parent, system=system, name=one))
            session.flush()


def add_unit(session: Session, code: str, *, parent: str | None, system: str, name: str) -> None:
    """Add a unit below `parent`, a country if that is None; what is known of it is replaced, but never where it belongs.

    Raises:
        InvalidInputError: `not-found` if the parent is not known, `bad-request` if the code is of another country, the name empty, or
            `system` a list of ISO 3166 in which no unit of that level stands.
        ConflictError: `already-exists` if the unit is known under another parent: counts of the past would move.
    """
    if not name.strip() or len(name) > _NAME_MAX:
        raise InvalidInputError(Code.BAD_REQUEST, f"Give the unit a name of 1 to {_NAME_MAX} characters.")
    if (parent is None) != (code == country_of(code)) or (
        parent is not None and country_of(parent) != country_of(code)
    ):
        raise InvalidInputError(
            Code.BAD_REQUEST, f"{code} must begin with its country's code, and all but countries need --parent."
        )
    of_its_level = ISO_COUNTRIES if parent is None else ISO_REGIONS
    if system.startswith(_ISO) and system != of_its_level:
        raise InvalidInputError(
            Code.BAD_REQUEST, f"Of ISO 3166, {code} can be in {of_its_level} alone, not in {system}."
        )
    if parent is not None and session.get(UnitRow, parent) is None:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no unit {parent}. `acinus-registry units` lists them.")
    row = session.get(UnitRow, code)
    if row is not None and row.parent != parent:
        raise ConflictError(
            Code.ALREADY_EXISTS, f"{code} is known below {row.parent or 'no other unit'}. Use that or another code."
        )
    row = row or UnitRow(code=code, parent=parent, system=system, name=name)
    row.system, row.name = system, name.strip()
    session.add(row)
    session.flush()


def set_population(session: Session, code: str, *, year: int, persons: int) -> None:
    """Say how many people live in a unit in a year.

    Raises:
        InvalidInputError: `not-found` if there is no such unit.
    """
    if session.get(UnitRow, code) is None:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no unit {code}. `acinus-registry units` lists them.")
    session.merge(PopulationRow(unit=code, year=year, persons=persons))


def read_tree(session: Session) -> Tree:
    """Return all units with their population."""
    population: dict[str, dict[int, int]] = {}
    for one in session.exec(select(PopulationRow)):
        population.setdefault(one.unit, {})[one.year] = one.persons
    rows = session.exec(select(UnitRow).order_by(UnitRow.code))
    return Tree(Unit(row.code, row.parent, row.system, row.name, population.get(row.code, {})) for row in rows)
