"""Commands about people: who may ask, who may read, for which hospital."""

from typing import Annotated

import typer

from protocol.reading import Language
from protocol.shape import OpaqueId, RegionCode, SiteId
from registry_api.commands.network import AsJson
from registry_api.commands.output import matching, opened, say
from registry_api.people.roles import Role
from registry_api.people.service import NewPerson, add_agreement, add_person, add_reader, disable_person, list_people
from registry_api.reading.groups import set_group
from registry_api.runtime import utc_now

people = typer.Typer(help="People and their programs.", no_args_is_help=True)
readers = typer.Typer(help="Radiologists who read for other hospitals.", no_args_is_help=True)
agreements = typer.Typer(help="Which reader may read for which hospital.", no_args_is_help=True)


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
    _show_key(added, role, as_json=as_json)


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


@readers.command("add")
def add_one(
    context: typer.Context,
    name: str,
    *,
    jurisdiction: Annotated[
        str, typer.Option(help="Where the reader is licensed, by the patient's country or region.")
    ],
    language: Annotated[str, typer.Option(help="Language of the reports, ISO 639-1.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Add a reader and print the API key, this once."""
    matching(jurisdiction, RegionCode, what="--jurisdiction")
    matching(language, Language, what="--language")
    with opened(context) as (_, database), database.writing() as session:
        added = add_reader(session, name, jurisdiction=jurisdiction, language=language, now=utc_now())
    _show_key(added, Role.READER, as_json=as_json)


@readers.command("group")
def group_one(
    context: typer.Context,
    reader: Annotated[str, typer.Argument(metavar="READER_ID", help="The reader's id, as `people list` shows it.")],
    group: Annotated[str | None, typer.Argument(metavar="GROUP", help="Its name; without one, no group.")] = None,
    *,
    lead: Annotated[bool, typer.Option("--lead", help="This reader leads the group.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say with which group a reader reads. Readers of one group never decide over one another's reads."""
    matching(reader, OpaqueId, what="READER_ID")
    with opened(context) as (_, database), database.writing() as session:
        set_group(session, reader, group=group, leads=lead)
    content = {"reader": reader, "group": group, "lead": lead}
    say(content, as_json=as_json, lines=[f"The reader reads {f'with {group}' if group else 'alone'}."])


@agreements.command("add")
def agree(
    context: typer.Context,
    *,
    site: Annotated[str, typer.Option(help="The hospital.")],
    reader: Annotated[str, typer.Option(help="The reader's id, as `people list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Let a reader read for a hospital."""
    matching(site, SiteId, what="--site")
    matching(reader, OpaqueId, what="--reader")
    with opened(context) as (_, database), database.writing() as session:
        add_agreement(session, site=site, reader_id=reader, now=utc_now())
    say({"site": site, "reader": reader}, as_json=as_json, lines=[f"The reader may read for {site}."])


def _show_key(added: NewPerson, role: Role, *, as_json: bool) -> None:
    content = {"id": added.person_id, "role": role.value, "api_key": added.api_key}
    lines = [
        f"id       {added.person_id}",
        f"API key  {added.api_key}",
        "The key is shown this once; hand it over safely.",
    ]
    say(content, as_json=as_json, lines=lines)
