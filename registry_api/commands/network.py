"""Commands about hospitals: invites, the list of sites, shutting one out."""

from typing import Annotated

import typer

from protocol.case import LegalBasis
from protocol.enrolment import Invite, encode_invite
from protocol.shape import RegionCode, SiteId
from registry_api.cases.bases import withdraw_basis
from registry_api.clock import utc_now
from registry_api.commands.output import AsJson, matching, opened, say
from registry_api.enrolment.invites import create_invite, revoke_invites
from registry_api.enrolment.sites import expect_studies, list_sites, revoke_site
from registry_api.keyfiles import load_authority

invite = typer.Typer(help="One-time invites for hospitals.", no_args_is_help=True)
sites = typer.Typer(help="The hospitals of the network.", invoke_without_command=True)


@invite.command("create")
def create(
    context: typer.Context,
    *,
    site: Annotated[str, typer.Option(help="Short name of the hospital: lower-case letters, digits, hyphens.")],
    region: Annotated[str, typer.Option(help="Its country or region, such as XA-N.")],
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 90, help="How long the invite lives.")] = 72,
    as_json: AsJson = False,
) -> None:
    """Write an invite and print it: one word, to be handed over by a way that others cannot read."""
    matching(site, SiteId, what="--site")
    matching(region, RegionCode, what="--region")
    with opened(context) as (settings, database):
        authority = load_authority(settings)
        with database.writing() as session:
            token = create_invite(session, site=site, region=region, hours=hours, now=utc_now())
    word = encode_invite(Invite(registry=settings.http.origin, ca_sha256=authority.sha256, site=site, token=token))
    say({"site": site, "region": region, "hours": hours, "invite": word}, as_json=as_json, lines=[word])


@invite.command("revoke")
def revoke(context: typer.Context, site: str, *, as_json: AsJson = False) -> None:
    """End the unused invites of a hospital."""
    with opened(context) as (_, database), database.writing() as session:
        ended = revoke_invites(session, site, now=utc_now())
    say({"site": site, "revoked": ended}, as_json=as_json, lines=[f"{ended} invite of {site} ended."])


@sites.callback()
def show(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the hospitals; or `sites revoke SITE`."""
    if context.invoked_subcommand is not None:
        return
    with opened(context) as (_, database), database.reading() as session:
        entries = list_sites(session, now=utc_now())
    lines = [f"{one.site:<24} {one.region:<8} {'active' if one.active else 'not active'}" for one in entries]
    say([one.model_dump(mode="json") for one in entries], as_json=as_json, lines=lines or ["No site yet."])


@sites.command("revoke")
def shut_out(context: typer.Context, site: str, *, as_json: AsJson = False) -> None:
    """Shut a hospital out: its certificate ends, its stream is cut. A new invite lets it in again."""
    with opened(context) as (_, database), database.writing() as session:
        revoke_site(session, site, now=utc_now())
    say({"site": site, "active": False}, as_json=as_json, lines=[f"{site} is shut out."])


@sites.command("expect")
def expect(
    context: typer.Context,
    site: str,
    *,
    weekly: Annotated[int, typer.Option(min=1, max=100_000, help="Chest CT studies a week that it says it makes.")],
    as_json: AsJson = False,
) -> None:
    """Note what a hospital expects to send, so that it sees how complete its records are."""
    with opened(context) as (_, database), database.writing() as session:
        expect_studies(session, site, weekly=weekly)
    say({"site": site, "weekly": weekly}, as_json=as_json, lines=[f"{site} expects {weekly} studies a week."])


@sites.command("withdraw-basis")
def take_back(context: typer.Context, site: str, basis: LegalBasis, *, as_json: AsJson = False) -> None:
    """Empty, for good, every record of a hospital that rests on a legal basis, on the hospital's word. Later releases lack them."""
    with opened(context) as (_, database), database.writing() as session:
        emptied = withdraw_basis(session, site, basis, now=utc_now())
    say(
        {"site": site, "basis": basis.value, "emptied": emptied},
        as_json=as_json,
        lines=[f"{emptied} records of {site} are emptied. Build a release to take them out of the counts."],
    )
