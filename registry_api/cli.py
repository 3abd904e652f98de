"""The command line `acinus-registry`."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from click import Command, Context
from typer.core import TyperGroup
from typer.main import get_group

from protocol.errors import FederationError
from registry_api.commands.output import home_of, opened

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

    from registry_api.logs import start_logging
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
        if "--json" in sys.argv:
            typer.echo(json.dumps({"ok": False, "code": error.code.value, "message": str(error)}))
        typer.echo(f"{error} [{error.code.value}]", err=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
