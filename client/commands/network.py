"""`acinus-node init`, `enrol`, `doctor`, `run` and `status`: joining the network and being in it."""

import json
import logging
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, remark, say_json
from client.parts import PARTS, die_with
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError

if TYPE_CHECKING:
    from client.store.studies import StudyStore

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

_PORT_NAMES = ("dicom", "gateway", "console", "forward", "runtime")
_PORTS = dict(zip(_PORT_NAMES, (11112, 9443, 9444, 9445, 9446), strict=True))

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to the node's program."""
    for verb in (init, enrol, doctor, run, status):
        app.command(verb.__name__)(verb)


def init(  # noqa: PLR0913, PLR0917 - a command line's options are its parameters
    context: typer.Context,
    site_name: Annotated[str, typer.Option(help="The hospital's name, for its own pages.")],
    base_port: Annotated[
        int | None, typer.Option(min=1, max=65_531, help="DICOM port; gateway, console and two more follow it.")
    ] = None,
    ae_title: Annotated[str, typer.Option(help="What DICOM senders call this node.")] = "ACINUS",
    caller: Annotated[
        list[str] | None, typer.Option(help="AE title that may send to this node; repeat for more.")
    ] = None,
    gateway_origin: Annotated[
        str | None, typer.Option(help="Where readers reach the hospital, such as https://ct.hospital.example:9443.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a node: its settings, its policy, its keys. What is there already is never overwritten."""
    with answering(as_json=as_json):
        from client.commands.setup import Wishes, make_home
        from client.rooms.border import utc_now

        ports = _PORTS if base_port is None else {name: base_port + at for at, name in enumerate(_PORT_NAMES)}
        wishes = Wishes(
            site_name=site_name,
            ae_title=ae_title,
            callers=tuple(caller or ()),
            ports=dict(ports),
            origin=gateway_origin,
        )
        home = home_of(context)
        token = make_home(home, wishes, now=utc_now())
        document = {
            "ok": True, "home": str(home), "console": f"https://localhost:{ports['console']}", "console_token": token,
            "gateway": wishes.gateway_origin, "dicom_port": ports["dicom"], "ae_title": ae_title,
        }  # fmt: skip
        say_json(document) if as_json else _tell_init(document, callers=wishes.callers)


def enrol(
    context: typer.Context,
    invite: Annotated[
        str,
        typer.Argument(metavar="INVITE", help="The coordinator's invite, one word; `-` reads it from standard input."),
    ],
    as_json: Json = False,
) -> None:
    """Join the network: prove this node's key to the centre and keep the certificate that comes back."""
    with answering(as_json=as_json):
        from client.gate.enrol import enrol as use_invite
        from client.gate.proxy import adopt_proxy
        from client.gate.trust import finish_enrolment
        from client.settings import load_settings
        from protocol.enrolment import decode_invite

        settings = load_settings(home_of(context))
        adopt_proxy(settings.network.proxy)
        finish_enrolment(settings.trust)
        centre = use_invite(
            decode_invite(_word(invite)), keys=settings.keys, trust=settings.trust, gateway=settings.gateway.origin
        )
        log.info("node.enrolled", extra={"site": centre.site})
        relay = centre.relay.address if centre.relay else None
        document = {
            "ok": True, "site": centre.site, "region": centre.region, "registry": centre.registry, "relay": relay,
        }  # fmt: skip
        say_json(document) if as_json else remark(
            f"Enrolled as {centre.site} in {centre.region}. `acinus-node run` starts the node; a running node goes on by itself."
            + (f' To be reached through the network\'s relay, set [relay] address = "{relay}".' if relay else "")
        )


def doctor(
    context: typer.Context,
    invite: Annotated[
        str | None,
        typer.Option(help="Before enrolment: look at the way to the centre of this invite, too; `-` reads it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at settings, keys, ports, disk, clock, centre, model and GPU, and say what to fix. An invite is not used up."""
    with answering(as_json=as_json):
        from client.commands.checkup import examine
        from protocol.enrolment import decode_invite

        invited = decode_invite(_word(invite)) if invite is not None else None
        checks = examine(home_of(context), invited)
        if as_json:
            say_json({"ok": all(c.holds for c in checks), "checks": [c.as_json() for c in checks]})
        else:
            for check in checks:
                remark(check.line())
        failed = next((check for check in checks if not check.holds), None)
        if failed is not None:
            raise typer.Exit(failed.exit_code)


def _word(invite: str) -> str:
    """Return an invite as it was given, or from standard input, so that it is in no list of processes."""
    return sys.stdin.read() if invite == "-" else invite


def run(
    context: typer.Context,
    only: Annotated[str | None, typer.Option(metavar="PART", help=f"One of {', '.join(PARTS)}.")] = None,
) -> None:
    """Run the node until Ctrl-C: every part as a process of its own, started again when it dies."""
    if only is not None and only not in PARTS:
        raise InvalidInputError(Code.BAD_REQUEST, f"There is no part {only!r}. Parts are {', '.join(PARTS)}.")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if only is None:
        _supervise(context, stop)
    else:
        _run_one(context, only, stop)


def status(
    context: typer.Context,
    as_json: Json = False,
    by_study: Annotated[
        bool, typer.Option("--studies", help="List every study too: its key and what became of it.")
    ] = False,
) -> None:
    """Show studies, parts, outbox, model and link; works while the node runs and while it does not."""
    with answering(as_json=as_json):
        from client.rooms.imaging import open_store
        from client.rooms.state import status_of
        from client.settings import load_settings

        settings = load_settings(home_of(context))
        document = status_of(settings)
        if by_study:
            document["by_study"] = studies_of(open_store(settings))
        say_json(document) if as_json else _tell_status(document)


def studies_of(store: "StudyStore") -> list[dict[str, Any]]:
    """Return every study, oldest first, with its key, its state, and its refusal's code or what was measured."""
    said = []
    for study in store.studies():
        finding = store.finding(study.study_key)
        measured = json.loads(finding.document) if finding is not None else {}
        shown = {key: measured.get(key) for key in ("ggo_fraction", "consolidation_fraction", "model_release")}
        said.append({"study_key": study.study_key, "state": study.state.value, "code": study.code, **shown})
    return said


def _supervise(context: typer.Context, stop: threading.Event) -> None:
    from client.commands.supervisor import Supervisor, part_command, refuse_taken_ports
    from client.gate.own_tls import renew_own_servers
    from client.gate.policy_file import load_policy
    from client.gate.proxy import adopt_proxy
    from client.gate.trust import pinned_by
    from client.logs import start_logging
    from client.parts import is_running, parts_of
    from client.rooms.border import utc_now
    from client.settings import load_settings

    home, level = home_of(context), log_level_of(context)
    settings = load_settings(home)
    adopt_proxy(settings.network.proxy)
    load_policy(settings.policy)
    start_logging(settings.logs, "node", level)
    renew_own_servers(settings.keys, utc_now(), gateway=settings.gateway.origin)
    enrolled = partial(pinned_by, settings.trust)
    joined = bool(enrolled())
    if not is_running(home):
        refuse_taken_ports(settings, enrolled=joined)
    if not joined:
        remark(
            "Not enrolled yet: only what serves the hospital alone runs. `acinus-node enrol INVITE` joins; the rest starts by itself."
        )
    remark(
        f"Console: https://localhost:{settings.console.port} · DICOM: {settings.dicom.ae_title} on port {settings.dicom.port}"
    )
    Supervisor(home, part_command(home, level), enrolled, remark, parts_of(settings)).run(stop)


def _run_one(context: typer.Context, part: str, stop: threading.Event) -> None:
    """Run one part in this process.

    Raises:
        FederationError: Why it cannot go on; it is in the part's log too.
    """
    from client.commands.supervisor import PARENT_VARIABLE
    from client.gate.proxy import adopt_proxy
    from client.logs import start_logging
    from client.settings import load_settings

    if PARENT_VARIABLE in os.environ:
        die_with(int(os.environ[PARENT_VARIABLE]))
    settings = load_settings(home_of(context))
    adopt_proxy(settings.network.proxy)
    start_logging(settings.logs, part, log_level_of(context))
    try:
        from client.runtime import run_part

        run_part(part, settings, stop)
    except FederationError as error:
        log.error("part.failed", extra={"part": part, "code": error.code.value})  # noqa: TRY400 - the code says it
        raise


def log_level_of(context: typer.Context) -> str:
    """Return the level that stands before the verb."""
    return str(context.find_root().params.get("log_level") or "info")


def _tell_init(document: dict[str, Any], *, callers: tuple[str, ...]) -> None:
    home = Path(document["home"])
    lines = [
        f"A node is in {home}: node.toml and policy.toml are yours to edit, keys/ to back up.",
        f"Console     {document['console']}",
        f"Token       {document['console_token']}   (kept in keys/console.token; shown this once)",
        f"Gateway     {document['gateway']}; readers trust keys/gateway-ca.pem",
        f"DICOM       {document['ae_title']} on port {document['dicom_port']}",
    ]
    if not callers:
        lines.append("Nobody may send yet: name senders under [dicom] allowed_callers in node.toml.")
    lines.append("Next: `acinus-node enrol INVITE`, then `acinus-node run`. `acinus-node doctor` says what is missing.")
    remark("\n".join(lines))


def _tell_status(document: dict[str, Any]) -> None:
    studies = ", ".join(f"{count} {state}" for state, count in document["studies"].items())
    site = f"enrolled as {document['site']}" if document["enrolled"] else "not enrolled"
    link = document["link"]
    lines = [
        f"{document['name']}: {'running' if document['running'] else 'stopped'}, {site}",
        f"studies   {studies}",
        f"context   {_context_line(document['context'])}",
        f"outbox    {document['outbox']} waiting, {len(document['parked'])} parked by the centre",
        f"link      {'connected' if link['connected'] else 'not connected'}, last heard {link['heard'] or 'never'}",
        *(
            f"notice    {one['kind']} of {one['received']} cannot be taken, {one['attempts']} {'try' if one['attempts'] == 1 else 'tries'}; "
            f"the last one: {one['code'] or 'see the log of link'}"
            for one in document["stuck"]
        ),
        *_certificate_lines(document["certificate"]),
        *_release_lines(document["release"]),
        *_pacs_lines(document["pacs"]),
        *_tunnel_lines(document["tunnel"]),
        *(f"  {name:<10} {state}" for name, state in document["parts"].items()),
        *(_study_line(study) for study in document.get("by_study", ())),
    ]
    typer.echo("\n".join(lines))


def _release_lines(release: dict[str, Any]) -> list[str]:
    """Say how the release in use does here; a figure that is not known yet is left out."""
    line = f"model     {release['taken']}: {release['standing'] or 'too little known to judge it'}"
    if release["release"] != release["taken"]:
        line += f", {release['release']} is in use"
    if release["score"] is not None:
        line += f"; Dice {release['score']:.3f} on {release['patients']} held-out patients"
    if release["change"] is not None and release["before"] != release["release"]:
        line += f", {release['change']:+.3f} against {release['before']}"
    changed = [one["figure"] for one in release["drifts"] if one["changed"]]
    return [line, *([f"scans     other than at first: {', '.join(changed)}"] if changed else [])]


def _certificate_lines(certificate: dict[str, Any] | None) -> list[str]:
    if certificate is None:
        return []
    line = f"identity  certificate good for {certificate['days']} days, renewed from {certificate['renewal'][:10]}"
    if certificate["code"] is None:
        return [line]
    return [f"{line}; last try {certificate['tried']} {certificate['code']}"]


def _context_line(context: dict[str, Any]) -> str:
    doubts = ", ".join(f"{count} {why}" for why, count in context["doubts"].items())
    return f"{context['facts']} facts, {context['waiting']} wait for a study, in doubt: {doubts or 'none'}"


def _pacs_lines(pacs: dict[str, Any] | None) -> list[str]:
    if pacs is None:
        return []
    counts, pull = ", ".join(f"{count} {state}" for state, count in pacs["findings"].items()), pacs["pull"]
    lines = [f"pacs      findings by {pacs['send']}: {counts}"]
    if pacs["reports"] is not None:
        lines.append("          reports: " + ", ".join(f"{count} {state}" for state, count in pacs["reports"].items()))
    if pull is not None:
        said = f"{pull['complete']} complete, {pull['waiting']} waiting, {pull['parked']} parked"
        lines.append(f"          pulled {said}; last look {pull['polled'] or 'never'} {pull['code'] or ''}".rstrip())
    return lines


def _tunnel_lines(tunnel: dict[str, Any] | None) -> list[str]:
    if tunnel is None:
        return []
    how = "open" if tunnel["connected"] else f"not open ({tunnel['code'] or 'the node does not run'})"
    lines = [f"tunnel    {how} to {tunnel['relay']} since {tunnel['since'] or 'never'}"]
    if tunnel["seen"] == "another":
        lines.append("          READERS ARE SHOWN ANOTHER KEY THAN THE GATEWAY'S: see docs/how-to/relay.md")
    return lines


def _study_line(study: dict[str, Any]) -> str:
    share = study["ggo_fraction"]
    result = (
        f"{100 * share:.1f} % ground glass by {study['model_release']}" if share is not None else study["code"] or ""
    )
    return f"{study['study_key']}  {study['state']:<9} {result}"
