"""The command line `acinus-node`."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from client.commands import context, imaging, keys, labels, ledger, network, pacs, policy, reading, staff, study
from client.commands.home import DEFAULT_HOME
from client.logs import frames_of, start_logging
from client.settings import SETTINGS_FILE
from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError

app = typer.Typer(
    help="A hospital's node: images stay; weights, counts and reads travel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for room in (network, imaging, labels, context, study, keys, ledger, reading, policy, pacs, staff):
    room.add_to(app)

log = logging.getLogger(__name__)


@app.callback()
def choose_home(
    invocation: typer.Context,
    home: Annotated[
        Path,
        typer.Option(
            envvar="ACINUS_NODE_HOME",
            help="The folder that holds everything the node keeps.",
            readable=False,  # `quantify` needs none, and the usual place may belong to a node of somebody else
        ),
    ] = DEFAULT_HOME,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error; logs lie in the home.")] = "info",
) -> None:
    """Choose the node's folder."""
    invocation.obj = home
    if log_level.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise typer.BadParameter("debug, info, warning or error", param_hint="--log-level")
    if os.path.isfile(home / SETTINGS_FILE):  # noqa: PTH113 - false, not an error, where the home belongs to somebody else
        start_logging(home / "logs", "commands", log_level)


def main() -> None:
    """Run the command line; errors become one sentence and the exit code of their family."""
    os.umask(0o077)
    logging.getLogger().addHandler(
        logging.NullHandler()
    )  # without a home, Python's own last resort would print texts of errors
    try:
        app()
    except FederationError as error:
        _say(error)
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        log.exception("command.fault")
        fault = UnavailableError(Code.NODE_FAULT, _where(error))
        _say(fault)
        raise SystemExit(fault.exit_code) from None


def _say(error: FederationError) -> None:
    """One sentence on standard error; with `--json` one document on standard output."""
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"ok": False, "code": error.code.value, "message": str(error)}) + "\n")
    sys.stderr.write(f"{error} [{error.code.value}]\n")


def _where(error: Exception) -> str:
    """Name the kind of an unexpected error and its place; its text may quote a header and is not repeated."""
    place = frames_of(error)[-1:] or ["unknown place"]
    return f"A fault inside the node ({type(error).__name__} at {place[0]}). Report it with logs/commands.jsonl."


if __name__ == "__main__":
    main()
