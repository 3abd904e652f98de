"""`acinus-node context import|set|show`: what DICOM does not carry, from files and from the hospital's staff."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, remark, say_json
from protocol.codes import Code
from protocol.errors import InvalidInputError

if TYPE_CHECKING:
    from client.context.desk import ContextDesk
    from client.settings import NodeSettings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

_MOST_BYTES = 256 << 20


def add_to(app: typer.Typer) -> None:
    """Add `context` to the node's program."""
    context = typer.Typer(
        no_args_is_help=True, help="What DICOM does not carry: PCR, care setting, question, sex, age."
    )
    context.command("import")(import_)
    context.command("set")(set_)
    context.command("show")(show)
    app.add_typer(context, name="context")


def import_(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="CSV, FHIR (JSON, NDJSON) or HL7 v2.")],
    as_json: Json = False,
) -> None:
    """Take a file in. The same file again changes nothing; a corrected one corrects."""
    with answering(as_json=as_json):
        _, desk = _open_home(home_of(context))
        document = _taken(desk, _content(path))
        say_json(document) if as_json else _tell(document)
        if not document["ok"]:
            raise typer.Exit(InvalidInputError.exit_code)


def set_(  # noqa: PLR0913, PLR0917 - a command line's options are its parameters
    context: typer.Context,
    study: Annotated[str, typer.Argument(metavar="STUDY_KEY", help="As `status --studies` shows it.")],
    pcr: Annotated[str, typer.Option(help="positive, negative, unknown or retract.")] = "",
    pcr_date: Annotated[str, typer.Option(help="Day of the sample, YYYY-MM-DD.")] = "",
    care_setting: Annotated[str, typer.Option(help="outpatient, inpatient, intensive, emergency, unknown.")] = "",
    question: Annotated[str, typer.Option(help="The clinical question; stays at this hospital.")] = "",
    sex: Annotated[str, typer.Option(help="female, male, other or unknown; counts where the header has none.")] = "",
    age: Annotated[str, typer.Option(help="Whole years; counts where the header has none.")] = "",
    as_json: Json = False,
) -> None:
    """Say what is known of a stored study. It outranks every file and message; `retract` takes a word back."""
    with answering(as_json=as_json):
        settings, desk = _open_home(home_of(context))
        from client.rooms.imaging import open_store

        open_store(settings).study(study)
        row = {
            "pcr": pcr, "pcr_date": pcr_date, "care_setting": care_setting, "clinical_question": question, "sex": sex,
            "age": age,
        }  # fmt: skip
        kept = desk.hear_staff(study, {column: text for column, text in row.items() if text})
        if not kept:
            raise InvalidInputError(Code.BAD_REQUEST, "Nothing was said. Name an option, such as --pcr negative.")
        document = {"ok": True, "study_key": study, "kept": kept}
        say_json(document) if as_json else typer.echo(f"{kept} kept; the worker draws its conclusion at its next step.")


def show(
    context: typer.Context,
    study: Annotated[str, typer.Argument(metavar="STUDY_KEY", help="As `status --studies` shows it.")],
    as_json: Json = False,
) -> None:
    """Show what counts for a study, whose word it is, and what is in doubt."""
    with answering(as_json=as_json):
        settings, _ = _open_home(home_of(context))
        from client.rooms.imaging import open_context, open_store

        open_store(settings).study(study)
        held = open_context(settings).conclusion(study)
        document: dict[str, Any] = {"ok": True, "study_key": study, "concluded": held is not None}
        if held is not None:
            document |= {
                "pcr": held.pcr, "care_setting": held.care_setting, "sex": held.sex, "age_band": held.age_band,
                "clinical_question": held.question, "sources": held.sources, "doubts": list(held.doubts),
            }  # fmt: skip
        if as_json:
            say_json(document)
        else:
            typer.echo("\n".join(f"{key:<18} {value}" for key, value in document.items() if key != "ok"))


def _taken(desk: "ContextDesk", content: bytes) -> dict[str, Any]:
    """Take a file of whatever kind it is, by how it begins."""
    from client.context.desk import hear_messages

    start = content[:1024].lstrip(b"\xef\xbb\xbf\x0b \t\r\n")
    if start.startswith(b"MSH"):
        taken, refused = hear_messages(desk, content)
        return {"ok": not refused, "kind": "hl7", "kept": taken, "refused": refused, "lines": []}
    if start.startswith((b"{", b"[")):
        return {"ok": True, "kind": "fhir", "kept": desk.hear_fhir(content), "refused": 0, "lines": []}
    kept, wrong = desk.hear_table(content)
    lines = [{"line": one.number, "code": one.code.value, "column": one.column or None} for one in wrong]
    return {"ok": not wrong, "kind": "csv", "kept": kept, "refused": len(wrong), "lines": lines}


def _tell(document: dict[str, Any]) -> None:
    for one in document["lines"]:
        remark(f"line {one['line']}: {one['code']}{' in ' + one['column'] if one['column'] else ''}")
    typer.echo(f"{document['kind']}: {document['kept']} kept, {document['refused']} refused")


def _content(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        InvalidInputError: `not-found`, `bad-request` if it is too large.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidInputError(Code.BAD_REQUEST, f"The file is larger than {_MOST_BYTES >> 20} MB. Split it.")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(
            Code.NOT_FOUND, "The file cannot be read. Check the path and who may read it."
        ) from error


def _open_home(home: Path) -> "tuple[NodeSettings, ContextDesk]":
    from client.rooms.imaging import open_context_desk
    from client.settings import load_settings

    settings = load_settings(home)
    return settings, open_context_desk(settings)
