"""Commands about administrative units."""

from typing import Annotated

import typer
from pydantic import StringConstraints

from protocol.shape import RegionCode
from registry_api.commands.output import AsJson, matching, opened, say
from registry_api.units.service import add_unit, read_tree, set_population
from registry_api.units.tree import ISO_COUNTRIES, ISO_REGIONS

units = typer.Typer(help="Countries, regions and what lies below them.", invoke_without_command=True)

_CodeSystem = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.:/-]{1,99}$")]


@units.callback()
def show(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the units with their population; or `units add`, `units population`."""
    if context.invoked_subcommand is not None:
        return
    with opened(context) as (_, database), database.reading() as session:
        found = read_tree(session).units.values()
    content = [
        {
            "code": one.code,
            "parent": one.parent,
            "system": one.system,
            "name": one.name,
            "population": {str(year): persons for year, persons in sorted(one.population.items())},
        }
        for one in found
    ]
    lines = [f"{one.code:<8} {one.parent or '-':<8} {one.system:<14} {one.name}" for one in found]
    say(content, as_json=as_json, lines=lines or ["No unit yet."])


@units.command("add")
def add(
    context: typer.Context,
    code: str,
    *,
    name: Annotated[str, typer.Option(help="What people call it.")],
    parent: Annotated[str | None, typer.Option(help="The unit it lies in; none for a country.")] = None,
    system: Annotated[
        str | None,
        typer.Option(
            help=f"The list its code comes from: {ISO_COUNTRIES} of countries, else {ISO_REGIONS}, by default."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a unit, or name a known one anew. Units of ISO 3166 also come by themselves, with the first invite."""
    matching(code, RegionCode, what="CODE")
    system = system or (ISO_COUNTRIES if parent is None else ISO_REGIONS)
    matching(system, _CodeSystem, what="--system")
    with opened(context) as (_, database), database.writing() as session:
        add_unit(session, code, parent=parent, system=system, name=name)
    say({"code": code, "parent": parent, "system": system, "name": name}, as_json=as_json, lines=[f"{code}: {name}."])


@units.command("population")
def population(
    context: typer.Context,
    code: str,
    *,
    year: Annotated[int, typer.Option(min=1950, max=2100, help="The year the number is of.")],
    persons: Annotated[int, typer.Option(min=1, max=2_000_000_000, help="How many people live there.")],
    as_json: AsJson = False,
) -> None:
    """Say how many people live in a unit: rates of that year and of later ones are per 100,000 of them."""
    with opened(context) as (_, database), database.writing() as session:
        set_population(session, code, year=year, persons=persons)
    say(
        {"code": code, "year": year, "persons": persons},
        as_json=as_json,
        lines=[f"{code} in {year}: {persons} people."],
    )
