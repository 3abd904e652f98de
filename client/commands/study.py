"""`acinus-node study delete|readmit`: a study goes on request, for good."""

from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.home import answering, home_of, say_json

if TYPE_CHECKING:
    from client.store.removal import Remover

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add `study` to the node's program."""
    study = typer.Typer(no_args_is_help=True, help="Delete a study on request, or take a deleted one again.")
    study.command("delete")(delete)
    study.command("readmit")(readmit)
    app.add_typer(study, name="study")


def delete(
    context: typer.Context,
    study: Annotated[str, typer.Argument(metavar="STUDY_KEY", help="As `status --studies` shows it.")],
    subject: Annotated[
        bool, typer.Option("--subject", help="Every study of its patient, and what was said of them.")
    ] = False,
    admit_again: Annotated[
        bool, typer.Option("--admit-again", help="Take it as new if it is sent again; otherwise it is refused.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete images, results, labels, facts and reports of a study, and withdraw its record from the centre."""
    with answering(as_json=as_json):
        remover = _remover(context)
        keys = remover.of_subject(study)
        for key in keys if subject else [study]:
            remover.delete(key, admit_again=admit_again, facts_of_patient=subject)
        deleted = keys if subject else [study]
        document = {"ok": True, "deleted": deleted, "waiting": len(remover.unfinished())}
        say_json(document) if as_json else typer.echo(
            f"{len(deleted)} deleted; {document['waiting']} withdrawals wait for the worker of the running node."
        )


def readmit(
    context: typer.Context,
    study: Annotated[str, typer.Argument(metavar="STUDY_KEY", help="Of a deleted study.")],
    as_json: Json = False,
) -> None:
    """Let a deleted study be taken again when it is sent."""
    with answering(as_json=as_json):
        _remover(context).readmit(study)
        say_json({"ok": True, "study_key": study}) if as_json else typer.echo("It is taken when it is sent again.")


def _remover(context: typer.Context) -> "Remover":
    from client.rooms.keeping import open_remover
    from client.settings import load_settings

    return open_remover(load_settings(home_of(context)))
