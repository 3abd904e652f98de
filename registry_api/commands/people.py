"""Commands about people: who may ask, in which role."""

from typing import Annotated

import typer

from protocol.shape import RegionCode, SiteId
from registry_api.clock import utc_now
from registry_api.commands.output import AsJson, matching, opened, say, show_key
from registry_api.people.keys import add_key, list_keys, revoke_key
from registry_api.people.roles import Role, Scope
from registry_api.people.service import add_person, disable_person, list_people

people = typer.Typer(help="People and their programs.", no_args_is_help=True)
keys = typer.Typer(help="Further API keys, for one program each.", no_args_is_help=True)


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


@keys.command("add")
def add_one_key(
    context: typer.Context,
    person_id: str,
    *,
    label: Annotated[str, typer.Option(help="What the program is called.")],
    scope: Annotated[list[Scope], typer.Option(help="What the key opens; may be said several times.")],
    days: Annotated[
        int | None, typer.Option(min=1, max=3660, help="How long it lives; until revoked if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for a program of a person and print it, this once."""
    with opened(context) as (_, database), database.writing() as session:
        made = add_key(session, person_id, label=label, scopes=scope, days=days, now=utc_now())
    content = {"id": made.key_id, "scopes": sorted(scope), "api_key": made.api_key}
    lines = [f"id       {made.key_id}", f"API key  {made.api_key}", "The key is shown this once; hand it over safely."]
    say(content, as_json=as_json, lines=lines)


@keys.command("list")
def show_keys(
    context: typer.Context,
    *,
    person: Annotated[str | None, typer.Option(help="Whose; everybody's if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the keys by their beginnings."""
    with opened(context) as (_, database), database.reading() as session:
        rows = list_keys(session, person)
    names = ("id", "person_id", "label", "prefix", "scopes", "created_at", "expires_at", "revoked_at")
    content = [row.model_dump(mode="json", include=set(names)) for row in rows]
    lines = [f"{row.id}  {row.prefix}…  {'revoked' if row.revoked_at else row.scopes:<24} {row.label}" for row in rows]
    say(content, as_json=as_json, lines=lines or ["No further key yet."])


@keys.command("revoke")
def end_key(context: typer.Context, key_id: str, *, as_json: AsJson = False) -> None:
    """End a key."""
    with opened(context) as (_, database), database.writing() as session:
        revoke_key(session, key_id, now=utc_now())
    say({"id": key_id, "active": False}, as_json=as_json, lines=["Revoked."])
