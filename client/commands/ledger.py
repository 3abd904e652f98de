"""`acinus-node ledger`: what training has cost the patients of this hospital, and how much is left."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, say_json

if TYPE_CHECKING:  # Opacus takes seconds to import
    from client.gate.policy import TrainingPolicy
    from client.ledger.store import Entry

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add `ledger` to the node's program."""
    app.command("ledger")(ledger)


def ledger(context: typer.Context, as_json: Json = False) -> None:
    """Show every charge, and ε of them all at the policy's δ; fails if the chain of charges does not verify."""
    with answering(as_json=as_json):
        from client.gate.policy_file import load_policy
        from client.runtime import open_ledger
        from client.settings import load_settings

        settings = load_settings(home_of(context))
        document = as_document(open_ledger(settings).history(), load_policy(settings.policy).training)
        say_json(document) if as_json else _tell(document)


def as_document(entries: "list[Entry]", limit: "TrainingPolicy") -> dict[str, Any]:
    """Return the ledger as JSON-ready values; ε is recomputed from the charges."""
    from client.ledger.account import epsilon

    runs = dict.fromkeys(entry.spend.run_id for entry in entries)
    of_run = {run: [entry.spend for entry in entries if entry.spend.run_id == run] for run in runs}
    return {
        "ok": True,
        "epsilon": epsilon([entry.spend.event for entry in entries], limit.delta),
        "delta": limit.delta,
        "epsilon_total": limit.epsilon_total,
        "epsilon_per_run": limit.epsilon_per_run,
        "runs": [
            {"run_id": run, "rounds": len(spends), "epsilon": epsilon([spend.event for spend in spends], limit.delta)}
            for run, spends in of_run.items()
        ],
        "charges": [_charge(entry) for entry in entries],
    }


def _charge(entry: "Entry") -> dict[str, Any]:
    spend, event = entry.spend, entry.spend.event
    return {
        "number": entry.number, "run_id": spend.run_id, "round": spend.round, "lineage": spend.lineage,
        "noise_multiplier": event.noise_multiplier, "sample_rate": event.sample_rate, "steps": event.steps,
        "clipping_norm": event.clipping_norm, "charged_at": entry.charged_at, "hash": entry.hash,
    }  # fmt: skip


def _tell(document: dict[str, Any]) -> None:
    typer.echo(
        f"ε {document['epsilon']:.2f} of {document['epsilon_total']:g} at δ {document['delta']:g}, "
        f"{len(document['charges'])} charges in {len(document['runs'])} runs"
    )
    for charge in document["charges"]:
        typer.echo(
            f"{charge['number']:>5}  {charge['charged_at']}  run {charge['run_id'][:10]} round {charge['round']:<4} "
            f"σ {charge['noise_multiplier']:g}  q {charge['sample_rate']:g}  {charge['steps']} steps"
        )
