"""Commands about the public tier."""

from typing import Annotated

import typer

from registry_api.clock import utc_now
from registry_api.commands.output import AsJson, opened, say
from registry_api.keyfiles import load_signing_key
from registry_api.public.noise import discrete_gaussian
from registry_api.public.service import budgets, draw, due_weeks

public = typer.Typer(help="Counts for everybody, with noise (differential privacy).", no_args_is_help=True)


@public.command("draw")
def draw_due(
    context: typer.Context,
    *,
    week: Annotated[
        str | None, typer.Option(help="One week, such as 2026-W08; every one that is due if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish the weeks that can change no more, each once and for good, and charge them to their year."""
    drawn = []
    with opened(context) as (settings, database):
        key = load_signing_key(settings.within(settings.secrets.counts))
        with database.reading() as session:
            weeks = [week] if week is not None else due_weeks(session, settings.public, today=utc_now().date())
        for one in weeks:
            row = draw(database, one, settings.public, key=key, noise=discrete_gaussian, now=utc_now())
            drawn.append({"week": one, "sha256": row.sha256, "signature": row.signature})
            typer.echo(f"{one}: published", err=True)
    say(drawn, as_json=as_json, lines=[f"{one['week']}  {one['sha256']}" for one in drawn] or ["No week is due."])


@public.command("ledger")
def show_ledger(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show what the published weeks have cost the patients of each year."""
    with opened(context) as (settings, database), database.reading() as session:
        found = budgets(session, settings.public)
    content = [{"year": one.year, "weeks": one.weeks, "rho": one.rho, "epsilon": one.epsilon} for one in found]
    lines = [f"{one.year}  {one.weeks:>2} weeks  ε = {one.epsilon:.3f}" for one in found]
    say(content, as_json=as_json, lines=lines or ["Nothing has been published for everybody yet."])
