"""The command line `acinus-registry`."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from click import Command, Context
from sqlalchemy.exc import StatementError
from typer.core import TyperGroup
from typer.main import get_group

from protocol.errors import FederationError
from registry_api.commands.output import home_of, opened
from registry_api.database import overtaken
from registry_api.logs import own_steps, start_logging

_GROUPS = {
    "invite": "network",
    "sites": "network",
    "units": "units",
    "people": "people",
    "keys": "people",
    "readers": "readers",
    "agreements": "readers",
    "webhooks": "webhooks",
    "release": "counts",
    "public": "public",
}
"""Groups of commands, each with its module in `commands/`."""

_FAULT = 1
"""The exit code of a fault of ours; every other one is a family's."""


class Groups(TyperGroup):
    """Imports a group of commands when it is asked for: each needs other parts of the registry, and a program is started for one command."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Return the names of all commands, those of groups first."""
        return [*_GROUPS, *super().list_commands(ctx)]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Return the command of that name."""
        if cmd_name not in _GROUPS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"registry_api.commands.{_GROUPS[cmd_name]}")
        command = get_group(getattr(module, cmd_name))
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=Groups,
    help="The registry: hospitals, case records, protected counts, reads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def choose_home(
    context: typer.Context,
    home: Annotated[Path, typer.Option(envvar="ACINUS_CENTRE_HOME", help="The centre's folder.")] = Path(
        "/var/lib/acinus/centre"
    ),
) -> None:
    """Choose the centre's folder."""
    context.obj = home


@app.command()
def serve(context: typer.Context) -> None:
    """Serve people over HTTPS and nodes over the link, until interrupted."""
    import asyncio

    from registry_api.runtime import build_runtime
    from registry_api.serve import serve as serve_runtime

    runtime = build_runtime(home_of(context))
    start_logging(runtime.settings.logs)
    asyncio.run(serve_runtime(runtime))


@app.command()
def migrate(context: typer.Context) -> None:
    """Bring the database to the newest schema. `serve` does so too."""
    with opened(context):
        typer.echo("The database is at the newest schema.", err=True)


def main() -> None:
    """Run the command line; errors become one sentence and the exit code of their family."""
    os.umask(0o077)
    try:
        app()
    except FederationError as error:
        _end(error.code.value, str(error), error.exit_code)
    except StatementError as error:
        known = overtaken(error)
        if known is not None:
            _end(known.code.value, str(known), known.exit_code)
        kind, place = type(error).__name__, own_steps(error)[-1]
        _end("fault", f"A fault inside the registry ({kind} at {place}). Report it with the command.", _FAULT)


def _end(code: str, text: str, exit_code: int) -> NoReturn:
    """Say why in one sentence, with `--json` in one document as well, and end. A traceback would quote the row that the database refused."""
    if "--json" in sys.argv:
        typer.echo(json.dumps({"ok": False, "code": code, "message": text}))
    typer.echo(f"{text} [{code}]", err=True)
    raise SystemExit(exit_code)


if __name__ == "__main__":
    main()
