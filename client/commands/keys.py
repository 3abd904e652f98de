"""`acinus-node key list|rotate|retire`: the site's pseudonym keys over time."""

from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.home import answering, home_of, say_json

if TYPE_CHECKING:
    from client.settings import NodeSettings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add `key` to the node's program."""
    key = typer.Typer(no_args_is_help=True, help="Pseudonym keys: list, rotate, retire.")
    key.command("list")(list_)
    key.command("rotate")(rotate)
    key.command("retire")(retire)
    app.add_typer(key, name="key")


def list_(context: typer.Context, as_json: Json = False) -> None:
    """Show the keys by id, the newest first, and how much is known by each. No key itself is shown."""
    with answering(as_json=as_json):
        from client.rooms.imaging import open_key_ring

        keys = open_key_ring(_settings(context)).held()
        rows = [{"key_id": one.key_id, "current": one.current, "uses": one.uses} for one in keys]
        if as_json:
            say_json({"ok": True, "keys": rows})
        else:
            for one in keys:
                typer.echo(f"{one.key_id}  {'in use' if one.current else 'earlier'}  {one.uses} names known by it")


def rotate(context: typer.Context, as_json: Json = False) -> None:
    """Make a new key for whatever is new. Stop the node first; back up `keys/pseudonym.key` afterwards."""
    with answering(as_json=as_json):
        from client.parts import only_supervisor
        from client.rooms.imaging import open_key_ring

        settings = _settings(context)
        with only_supervisor(settings.home):
            ring = open_key_ring(settings).rotate()
        document = {"ok": True, "key_id": ring.key_id, "earlier": [one.key_id for one in ring.ring[1:]]}
        say_json(document) if as_json else typer.echo(
            f"Key {ring.key_id} is in use. Back up keys/pseudonym.key now, then start the node."
        )


def retire(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `key list` shows it.")],
    forget: Annotated[
        bool, typer.Option("--forget", help="Let go also of withdrawals and deletions that are known by it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Destroy an earlier key by which nothing is known any more. Destroy its copies in backups too."""
    with answering(as_json=as_json):
        from client.parts import only_supervisor
        from client.rooms.imaging import open_key_ring

        settings = _settings(context)
        with only_supervisor(settings.home):
            open_key_ring(settings).retire(key_id, forget=forget)
        say_json({"ok": True, "retired": key_id}) if as_json else typer.echo(f"Key {key_id} is gone from this node.")


def _settings(context: typer.Context) -> "NodeSettings":
    from client.settings import load_settings

    return load_settings(home_of(context))
