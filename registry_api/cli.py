"""The command line `acinus-registry`."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import FederationError
from registry_api.commands.counts import release
from registry_api.commands.network import invite, sites
from registry_api.commands.output import home_of, opened
from registry_api.commands.people import keys, people
from registry_api.commands.readers import agreements, readers
from registry_api.commands.units import units
from registry_api.commands.webhooks import webhooks

app = typer.Typer(
    help="The registry: hospitals, case records, protected counts, reads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for name, group in {
    "invite": invite,
    "sites": sites,
    "units": units,
    "people": people,
    "keys": keys,
    "readers": readers,
    "agreements": agreements,
    "webhooks": webhooks,
    "release": release,
}.items():
    app.add_typer(group, name=name)


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
