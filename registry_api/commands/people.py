"""Commands about people: who may ask, in which role."""

from typing import Annotated

import typer

from protocol.shape import RegionCode, SiteId
from registry_api.commands.network import AsJson
from registry_api.commands.output import matching, opened, say, show_key
from registry_api.people.roles import Role
from registry_api.people.service import add_person, disable_person, list_people
from registry_api.runtime import utc_now

people = typer.Typer(help="People and their programs.", no_args_is_help=True)


@people.command("add")
def add(
    context: typer.Context,
    name: str,
    *,
    role: Annotated[Role, typer.Option(help="What the person may do.")],
    region: Annotated[str | None, typer.Option(help="Country or region whose counts a ministry sees.")] = None,
    site: Annotated[str | None, typer.Option(help="Hospital whose own record quality its person sees.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a person and print the API key, this once."""
    if region is not None:
        matching(region, RegionCode, what="--region")
    if site is not None:
        matching(site, SiteId, what="--site")
    with opened(context) as (_, database), database.writing() as session:
        added = add_person(session, name, role=role, region=region, site=site, now=utc_now())
    show_key(added.person_id, added.api_key, role.value, as_json=as_json)


@people.command("list")
def show(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List everybody."""
    with opened(context) as (_, database), database.reading() as session:
        rows = list_people(session)
    content = [
        {
            "id": row.id,
            "name": row.name,
            "role": row.role,
            "region": row.region,
            "site": row.site,
            "active": row.disabled_at is None,
        }
        for row in rows
    ]
    say(
        content,
        as_json=as_json,
        lines=[f"{row.id}  {row.role:<12} {row.region or row.site or '-':<8} {row.name}" for row in rows],
    )


@people.command("remove")
def remove(context: typer.Context, person_id: str, *, as_json: AsJson = False) -> None:
    """Take a person's key and log-ins away."""
    with opened(context) as (_, database), database.writing() as session:
        disable_person(session, person_id, now=utc_now())
    say({"id": person_id, "active": False}, as_json=as_json, lines=["Removed."])
