"""Commands about webhooks. Where the registry calls out to is the coordinator's to say, so no route makes one."""

from typing import Annotated

import typer
from sqlmodel import col, select

from protocol.shape import OpaqueId
from registry_api.clock import utc_now
from registry_api.commands.output import AsJson, matching, opened, say
from registry_api.keyfiles import load_signing_key
from registry_api.reading.tables import WebhookRow
from registry_api.reading.webhooks import add_webhook, dead_letters, end_webhook, redeliver, secret_of, webhook_of

webhooks = typer.Typer(help="Events of reads, posted to programs.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK_ID", help="As `webhooks list` shows it.")]


@webhooks.command("add")
def add(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="Where to post; https only.")],
    *,
    person: Annotated[str, typer.Option(help="Whose events: a coordinator, a reader or a person of a hospital.")],
    as_json: AsJson = False,
) -> None:
    """Post the events that a person may see to their program, and print the secret that signs them."""
    matching(person, OpaqueId, what="--person")
    with opened(context) as (settings, database), database.writing() as session:
        row = add_webhook(session, person, url, now=utc_now())
        secret = secret_of(load_signing_key(settings.within(settings.secrets.grant)), row.id)
    lines = [f"id      {row.id}", f"secret  {secret}", "Hand the secret over safely; `webhooks secret` shows it again."]
    say({"id": row.id, "url": url, "person": person, "secret": secret}, as_json=as_json, lines=lines)


@webhooks.command("secret")
def show_secret(context: typer.Context, webhook: WebhookId, *, as_json: AsJson = False) -> None:
    """Print the secret that signs a webhook's events. It is made anew from the grant key; no table holds it."""
    matching(webhook, OpaqueId, what="WEBHOOK_ID")
    with opened(context) as (settings, database), database.reading() as session:
        webhook_of(session, webhook)
        secret = secret_of(load_signing_key(settings.within(settings.secrets.grant)), webhook)
    say({"id": webhook, "secret": secret}, as_json=as_json, lines=[secret])


@webhooks.command("list")
def show(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List webhooks, with what could not be delivered."""
    with opened(context) as (_, database), database.reading() as session:
        rows = session.exec(
            select(WebhookRow).where(col(WebhookRow.ended_at).is_(None)).order_by(col(WebhookRow.created_at))
        ).all()
        content = [
            {
                "id": row.id,
                "person": row.person_id,
                "url": row.url,
                "dead": [{"event": one.event_id, "outcome": one.outcome} for one in dead_letters(session, row.id)],
            }
            for row in rows
        ]
    lines = [f"{one['id']}  {one['url']}  {len(one['dead'])} dead" for one in content]
    say(content, as_json=as_json, lines=lines)


@webhooks.command("remove")
def remove(context: typer.Context, webhook: WebhookId, *, as_json: AsJson = False) -> None:
    """Post nothing more to it."""
    with opened(context) as (_, database), database.writing() as session:
        end_webhook(session, webhook, now=utc_now())
    say({"id": webhook, "active": False}, as_json=as_json, lines=["Removed."])


@webhooks.command("redeliver")
def try_again(context: typer.Context, webhook: WebhookId, *, as_json: AsJson = False) -> None:
    """Try everything that was given up anew."""
    with opened(context) as (_, database), database.writing() as session:
        count = redeliver(session, webhook, now=utc_now())
    say({"id": webhook, "deliveries": count}, as_json=as_json, lines=[f"{count} will be tried again."])
