"""What every command of the node shares: the home folder, one JSON document on standard output, errors as codes."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from protocol.errors import FederationError

DEFAULT_HOME = Path("/var/lib/acinus/node")


def home_of(context: typer.Context) -> Path:
    """Return the home folder that stands before the verb (`acinus-node --home DIR ...`)."""
    given = context.find_root().params.get("home")
    return Path(given) if given is not None else DEFAULT_HOME


def say_json(document: dict[str, Any]) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def remark(text: str) -> None:
    """Tell a person what is going on; goes to standard error."""
    sys.stderr.write(text + "\n")


@contextmanager
def answering(*, as_json: bool) -> Iterator[None]:
    """With `--json`, print a refusal as JSON too and end with its exit code; otherwise leave it to the program's own rim.

    Raises:
        typer.Exit: With the error's exit code.
    """
    try:
        yield
    except FederationError as error:
        if not as_json:
            raise
        say_json({"ok": False, "code": error.code.value, "message": str(error)})
        raise typer.Exit(error.exit_code) from None
