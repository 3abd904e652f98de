"""How commands speak: one JSON document on standard output or plain lines; settings and database opened in one place."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.database import Database
from registry_api.schema import open_database
from registry_api.settings import RegistrySettings, load_settings

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def home_of(context: typer.Context) -> Path:
    """Return the centre's folder as given before the verb."""
    home: Path = context.obj
    return home


@contextmanager
def opened(context: typer.Context) -> Iterator[tuple[RegistrySettings, Database]]:
    """Give settings and database to a command, and close the database after it."""
    settings = load_settings(home_of(context))
    database = open_database(settings)
    try:
        yield settings, database
    finally:
        database.close()


def say(content: Any, *, as_json: bool, lines: list[str]) -> None:
    """Print one JSON document, or the lines for a person."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))


def matching(value: str, pattern: Any, *, what: str) -> str:
    """Return `value` if it is of the form that `pattern` (a type with constraints) allows.

    Raises:
        InvalidInputError: `bad-request`, naming the option and the form.
    """
    try:
        checked: str = TypeAdapter(pattern).validate_python(value)
    except ValidationError as error:
        raise InvalidInputError(Code.BAD_REQUEST, f"{what}: {error.errors()[0]['msg']}.") from error
    return checked


def show_key(person_id: str, api_key: str, role: str, *, as_json: bool) -> None:
    """Print a new API key, the only time that it exists in the clear."""
    lines = [
        f"id       {person_id}",
        f"API key  {api_key}",
        "The key is shown this once; hand it over safely.",
    ]
    say({"id": person_id, "role": role, "api_key": api_key}, as_json=as_json, lines=lines)
