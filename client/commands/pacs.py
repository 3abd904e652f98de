"""`acinus-node pacs`: look into the hospital's PACS, fetch from it, send findings to it, by hand."""

import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, remark, say_json
from protocol.codes import Code
from protocol.errors import InvalidInputError

if TYPE_CHECKING:
    from client.pacs.send import Sender
    from client.settings import NodeSettings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

group = typer.Typer(help="The hospital's PACS: check, pull, send.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to the node's program."""
    app.add_typer(group, name="pacs")


@group.command()
def check(context: typer.Context, as_json: Json = False) -> None:
    """Ask the PACS for one study over DICOMweb, and echo on the way on which findings go; nothing is fetched or sent."""
    with answering(as_json=as_json):
        from client.pacs.reach import reach_dicomweb, reach_dimse

        settings, ways = _settings_of(context), (("dicomweb", reach_dicomweb), ("c-store", reach_dimse))
        tried = [name for name, reach in ways if reach(settings)]
        if not tried:
            raise InvalidInputError(Code.BAD_SETTING, "No PACS is set up. Fill in [pacs] in node.toml.")
        say_json({"ok": True, "answered": tried}) if as_json else remark(f"The PACS answers: {', '.join(tried)}.")


@group.command()
def pull(
    context: typer.Context,
    study: Annotated[
        list[str] | None,
        typer.Option(
            metavar="UID", help="A Study Instance UID, whatever the rules say; `-` reads them from standard input."
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try what is parked or waits again, at once.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch what the rules of [pull] want now, or the CT series of named studies. The running node measures what comes."""
    with answering(as_json=as_json):
        from client.rooms.pacs import open_puller, retry_pulling

        settings = _settings_of(context)
        if not settings.pacs.dicomweb:
            raise InvalidInputError(
                Code.BAD_SETTING, "There is no PACS to pull from. Set [pacs] dicomweb in node.toml."
            )
        puller = open_puller(settings)
        if retry:
            retry_pulling(settings)
        if study:
            done = puller.by_uid(_uids(study))
        elif settings.pull.rules:
            done = puller.by_rule(settings.pull.rules, settings.pull.most_studies, threading.Event())
        else:
            raise InvalidInputError(
                Code.BAD_REQUEST, "There is no rule. Name --study, or write [[pull.rules]] in node.toml."
            )
        document = {"ok": not done.postponed, **asdict(done)}
        said = f"{done.instances} instances of {done.studies} studies fetched; {done.postponed} studies postponed."
        say_json(document) if as_json else remark(said)
        if done.postponed:
            raise typer.Exit(5)


@group.command()
def send(
    context: typer.Context,
    study_key: Annotated[
        list[str] | None, typer.Argument(metavar="STUDY_KEY...", help="Studies whose present finding is to go.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try what is parked or waits again, at once.")] = False,
    as_json: Json = False,
) -> None:
    """Send findings to the PACS, and final reports to it and the hospital's own system, now: findings also of the named studies."""
    with answering(as_json=as_json):
        from client.rooms.pacs import (
            open_outgoing,
            open_report_queue,
            open_report_sender,
            open_sender,
            report_channels,
            retry_sending,
        )

        settings = _settings_of(context)
        channels, findings = report_channels(settings), settings.pacs.send != "off"
        if not findings and (study_key or not channels):
            raise InvalidInputError(
                Code.BAD_SETTING, "Sending is off. Set [pacs] send to c-store or stow in node.toml, or [reports] host."
            )
        outgoing, reports = open_outgoing(settings), open_report_queue(settings)
        retried = retry_sending(settings) if retry else 0
        settled = _send_findings(open_sender(settings), study_key or ()) if findings else 0
        settled += open_report_sender(settings).step()
        document: dict[str, Any] = {
            "ok": True,
            "retried": retried,
            "settled": settled,
            "findings": outgoing.counts(),
            "reports": reports.counts(),
        }
        say_json(document) if as_json else remark(
            f"Findings: {_counted(document['findings'])}. Reports: {_counted(document['reports'])}."
        )


def _send_findings(sender: "Sender", study_keys: Sequence[str]) -> int:
    without = [key for key in study_keys if not sender.queue(key)]
    if without:
        raise InvalidInputError(Code.NOT_FOUND, f"{len(without)} of these studies have no finding to send.")
    return sender.step()


def _counted(counts: dict[str, int]) -> str:
    return f"{counts['sent']} sent, {counts['waiting']} waiting, {counts['parked']} parked"


def _settings_of(context: typer.Context) -> "NodeSettings":
    from client.settings import load_settings

    return load_settings(home_of(context))


def _uids(given: list[str]) -> list[str]:
    """Return the UIDs of the option; `-` stands for the lines of standard input, where no other user of the machine sees them."""
    return [uid for word in given for uid in (sys.stdin.read().split() if word == "-" else [word])]
