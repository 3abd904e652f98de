"""The command line `acinus-centre`."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, UnavailableError
from server.settings import CentreSettings, load_settings

app = typer.Typer(
    help="The centre: rounds of training, the catalogue of models, the fleet gateway. Runs the registry as its child.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
catalogue = typer.Typer(help="Signed model releases.", no_args_is_help=True)
app.add_typer(catalogue, name="catalogue")
relay = typer.Typer(help="The way from readers to hospitals that have no open port.", no_args_is_help=True)
app.add_typer(relay, name="relay")
keys = typer.Typer(help="The keys that say which releases count.", no_args_is_help=True)
app.add_typer(keys, name="keys")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


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
def init(
    context: typer.Context,
    base_port: Annotated[
        int, typer.Option(help="First of four ports: HTTPS, link, fleet gateway, SuperLink (loopback).")
    ] = 8443,
    host_name: Annotated[str, typer.Option(help="Name under which nodes and people reach the centre.")] = "localhost",
    as_json: AsJson = False,
) -> None:
    """Make a centre: authority, certificates, keys, settings. What exists is never overwritten."""
    from server.home import Plot, make_home
    from server.runtime import utc_now

    with answering(as_json=as_json):
        home: Path = context.obj
        make_home(home, Plot(base_port=base_port, host_name=host_name), now=utc_now())
        if as_json:
            say_json({"ok": True, "home": str(home.resolve())})
        remark(
            f"A centre is in {home}. Keep a copy of its pki and secrets, and carry the three keys of {home}/secrets/roots to three safes: two "
            f"of them replace every other key of the catalogue. `acinus-centre --home {home} run` starts it."
        )


@app.command()
def run(
    context: typer.Context,
    only: Annotated[str, typer.Option(help="Run one part in this process: fleet.", hidden=True)] = "",
) -> None:
    """Run SuperLink, fleet gateway and registry until interrupted."""
    from server.gate import serve_fleet
    from server.logs import start_logging
    from server.parts import FLEET
    from server.renewal import renew_servers
    from server.runtime import open_fleet, open_registry
    from server.supervise import Supervisor

    settings = settings_of(context)
    if only not in {"", FLEET}:
        raise InvalidInputError(Code.BAD_REQUEST, f"There is no part {only}; leave --only away.")
    start_logging(settings.logs, only or "centre")
    if only:
        asyncio.run(serve_fleet(settings, open_registry(settings), open_fleet(settings)))
    else:
        renew_servers(settings.home / "pki", datetime.now(UTC))
        Supervisor(settings).run()


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Say how the parts, the sites and the releases are."""
    from server.status import status_of

    with answering(as_json=as_json):
        document = status_of(settings_of(context))
        if as_json:
            say_json(document)
            return
        for part, state in document["parts"].items():
            typer.echo(f"{part:10} {state}")
        for site in document["sites"] or []:
            typer.echo(f"site {site['site']}: {'connected' if site['connected'] else 'not connected'}")
        for line in relay_lines(document["relay"]):
            typer.echo(line)
        said = ", ".join(f"{count} {word}" for word, count in (document["standings"] or {}).items() if count)
        typer.echo(
            f"bundle     {document['bundle_sha256']}\nrelease    {document['promoted']}{f' (sites: {said})' if said else ''}"
        )


@app.command()
def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Look at certificates, secrets, programs and disk, and say what to do."""
    from server.runtime import utc_now
    from server.status import examine

    with answering(as_json=as_json):
        findings = examine(settings_of(context), utc_now())
        ill = [finding for finding in findings if not finding.well]
        if as_json:
            say_json(
                {"ok": not ill, "findings": [{"what": f.what, "well": f.well, "advice": f.advice} for f in findings]}
            )
        for finding in ill:
            remark(f"not so: {finding.what}. {finding.advice}")
        if ill:
            raise typer.Exit(UnavailableError.exit_code)
        remark("All is well.")


@app.command()
def train(
    context: typer.Context,
    plan: Annotated[Path | None, typer.Argument(help="The run plan (TOML).")] = None,
    resume: Annotated[str, typer.Option(help="Take up an earlier run, by its id.")] = "",
    as_json: AsJson = False,
) -> None:
    """Train with the sites of a plan, sign the result and put it into the catalogue. Blocks until the run has ended."""
    from server.runtime import only_run, open_trainer
    from server.training import read_plan, summary
    from strategies.threat import threat_left_open

    with answering(as_json=as_json):
        if (plan is None) == (not resume):
            raise InvalidInputError(Code.BAD_REQUEST, "Give either a plan or --resume with the id of a run.")
        settings = settings_of(context)
        wanted = read_plan(plan) if plan else None
        with only_run(settings):
            trainer = open_trainer(settings)
            folder = trainer.begin(wanted) if wanted else trainer.take_up(resume)
            remark(f"run {folder.run_id}\n{threat_left_open(folder.plan())}")
            signed = trainer.run(folder)
        if as_json:
            say_json(summary(folder, signed.manifest.name))
        remark(f"{signed.manifest.name} is in the catalogue; `acinus-centre catalogue promote` sends it to the nodes.")


@catalogue.command("list")
def list_releases(context: typer.Context, as_json: AsJson = False) -> None:
    """Show every release and which one nodes should use."""
    from server.catalogue import described
    from server.runtime import open_catalogue, open_overrides

    with answering(as_json=as_json):
        settings = settings_of(context)
        shelf, overrides = open_catalogue(settings), open_overrides(settings).entries()
        promoted = shelf.promoted()
        rows = [described(shelf.signed(name), promoted=name == promoted) for name in shelf.names()]
        if as_json:
            said = [asdict(one) for one in overrides]
            say_json({"ok": True, "promoted": promoted, "releases": rows, "overrides": said})
            return
        for row in rows:
            dice = f"Dice {row['scores']['dice']:.3f}" if row["scores"] else "not measured"
            refused = (row["evaluation"] or {}).get("reason")
            typer.echo(
                f"{'*' if row['promoted'] else ' '} {row['name']:10} {row['created']}  {dice}{f'  {refused}' if refused else ''}"
            )
        for one in overrides:
            typer.echo(f"{one.release} was promoted in spite of {one.code.value} by {one.who} at {one.at}")


@catalogue.command("promote")
def promote_release(
    context: typer.Context,
    name: str,
    despite: Annotated[
        Code | None,
        typer.Option(help="The refusal of the sites' evaluation to override; it is written down with your account."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a release through the registry; every active node fetches and verifies it."""
    from server.runtime import promote

    with answering(as_json=as_json):
        promote(settings_of(context), name, despite=despite)
        if as_json:
            said = {"despite": despite.value} if despite else {}
            say_json({"ok": True, "promoted": name, **said})
        remark(f"{name} is promoted{f' in spite of {despite.value}' if despite else ''}.")


@catalogue.command("rollback")
def roll_back_release(context: typer.Context, as_json: AsJson = False) -> None:
    """Publish the weights that were in use before, as a new release: nodes take no older version back."""
    from server.runtime import roll_back

    with answering(as_json=as_json):
        name = roll_back(settings_of(context))
        if as_json:
            say_json({"ok": True, "promoted": name})
        remark(f"{name} is promoted; it holds the weights of the release before.")


@relay.command("config")
def write_relay(context: typer.Context, as_json: AsJson = False) -> None:
    """Write HAProxy's and OpenSSH's configuration from the enrolled sites, for `relay run` or for a machine of the relay's own."""
    from server.relay.files import write_config, write_plan
    from server.relay.plan import plan_of
    from server.runtime import open_registry

    with answering(as_json=as_json):
        settings = settings_of(context)
        plan = plan_of(open_registry(settings).sites())
        folder = write_config(settings)
        write_plan(folder, plan)
        host_key = settings.within(settings.relay.host_key).with_suffix(".pub").read_text(encoding="ascii").strip()
        if as_json:
            routes = {route.site: {"name": route.name, "port": route.port} for route in plan.routes}
            say_json({
                "ok": True, "folder": str(folder), "host_key": host_key, "routes": routes, "unrouted": plan.unrouted,
            })  # fmt: skip
        for site, why in plan.unrouted.items():
            remark(f"{site} has no route: {why}.")
        remark(f"{len(plan.routes)} routes are in {folder}; nodes know the relay by {host_key}")


@relay.command("run")
def run_relay(context: typer.Context) -> None:
    """Run HAProxy and the tunnel server until interrupted; both follow the registry's list of sites within seconds."""
    from server.logs import start_logging
    from server.relay.run import Relay, until_signalled
    from server.runtime import open_registry

    settings = settings_of(context)
    start_logging(settings.logs, "relay")
    remark(f"The relay answers on port {settings.relay.port}. Ctrl-C ends it.")
    Relay(settings, open_registry(settings)).run(until_signalled())


@keys.command("replace")
def replace_signing_keys(
    context: typer.Context,
    root_key: Annotated[list[Path], typer.Option(help="A root key from its safe; give two of the three.")],
    new_roots: Annotated[
        Path | None, typer.Option(help="A new folder for three new root keys, if one was lost or stolen.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make new keys for releases and their lists: after a loss, a theft, or a few years. Nodes follow by themselves."""
    from server.keychange import replace_keys

    with answering(as_json=as_json):
        replace_keys(settings_of(context), root_key, new_roots=new_roots)
        if as_json:
            say_json({"ok": True})
        remark(
            "The keys are replaced. Carry the root keys back to their safes, and what was used here off this machine."
        )


@keys.command("show")
def show_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """Say until when root and lists are good, and how many root keys lie on this machine."""
    from server.home import ROOTS
    from server.runtime import open_repository

    with answering(as_json=as_json):
        settings = settings_of(context)
        until = open_repository(settings).good_until()
        here = sorted(path.name for path in settings.within(Path("secrets") / ROOTS).glob("*.key"))
        if as_json:
            say_json(
                {
                    "ok": True,
                    "good_until": {role: f"{moment:%Y-%m-%dT%H:%M:%SZ}" for role, moment in until.items()},
                    "root_keys_here": here,
                }
            )
            return
        for role, moment in until.items():
            typer.echo(f"{role:10} good until {moment:%Y-%m-%d}")
        typer.echo(f"root keys  {', '.join(here) or 'none'} on this machine")


def settings_of(context: typer.Context) -> CentreSettings:
    """Return the settings of the centre that stands before the verb (`acinus-centre --home DIR ...`)."""
    home: Path = context.obj
    return load_settings(home)


def relay_lines(state: dict[str, Any] | None) -> list[str]:
    """Return how the relay is, for a person; nothing where none runs."""
    if state is None:
        return []
    down = [name for name, up in state["parts"].items() if not up]
    lines = [f"relay      {'running' if not down else 'down: ' + ', '.join(down)}"]
    lines += [f"tunnel {site}: {'open' if is_open else 'not open'}" for site, is_open in state["sites"].items()]
    return lines + [f"no tunnel for {site}: {why}" for site, why in state["unrouted"].items()]


def say_json(document: dict[str, Any]) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def remark(text: str) -> None:
    """Tell a person what is going on; goes to standard error."""
    sys.stderr.write(text + "\n")


@contextmanager
def answering(*, as_json: bool) -> Iterator[None]:
    """With `--json`, print a refusal as JSON too and end with its exit code; otherwise leave it to `main`.

    Raises:
        typer.Exit: With the error's exit code.
    """
    try:
        yield
    except FederationError as error:
        if not as_json:
            raise
        say_json({"ok": False, "code": error.code.value, "message": str(error)})
        remark(f"{error} [{error.code.value}]")
        raise typer.Exit(error.exit_code) from None


def main() -> None:
    """Run the command line; errors become one sentence and the exit code of their family."""
    os.umask(0o077)
    os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), "localhost", "127.0.0.1")))
    os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")
    try:
        app()
    except FederationError as error:
        remark(f"{error} [{error.code.value}]")
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
