"""`acinus-node ledger`: what training has cost the patients of this hospital, what a plan would cost, and how much is left."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, say_json
from protocol.codes import Code

if TYPE_CHECKING:  # Opacus takes seconds to import
    from client.ledger.store import BudgetLedger, Entry, Limit
    from client.train.prospect import Prospect

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add `ledger` to the node's program."""
    app.command("ledger")(ledger)


def ledger(
    context: typer.Context,
    plan: Annotated[
        Path | None, typer.Option(metavar="PLAN", help="A run plan (TOML): what would it cost, and would it pass?")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every charge and ε of them all; with a plan also its cost. Exits with 4 if the plan would not pass or the chain is broken."""
    with answering(as_json=as_json):
        from client.commands.policy import read_order
        from client.gate.policy_file import load_policy
        from client.rooms.border import open_gate
        from client.rooms.training import foresee, open_ledger
        from client.settings import load_settings
        from client.train.limits import limit_of

        settings = load_settings(home_of(context))
        training = load_policy(settings.policy).training
        limit = limit_of(training)
        open_gate(settings).audit.verify()  # it is the ledger's witness
        book = open_ledger(settings)
        document = as_document(book, limit)
        if plan is not None:
            document["plan"] = as_forecast(foresee(settings, read_order(plan), training))
            if not document["plan"]["would_pass"]:
                document |= {"ok": False, "code": Code.BUDGET_TOO_SMALL.value}
        say_json(document) if as_json else _tell(document)
        if not document["ok"]:
            raise typer.Exit(4)


def as_document(book: "BudgetLedger", limit: "Limit") -> dict[str, Any]:
    """Return the ledger as JSON-ready values; ε is recomputed from the charges.

    Raises:
        RefusedError: `audit-broken`.
    """
    from client.ledger.account import epsilon
    from client.ledger.store import Kind

    entries = book.history()
    spent = epsilon([entry.spend.event for entry in entries], limit.delta)
    runs = dict.fromkeys(entry.spend.run_id for entry in entries)
    of_run = {run: [entry.spend for entry in entries if entry.spend.run_id == run] for run in runs}
    return {
        "ok": True,
        "epsilon": spent,
        "delta": limit.delta,
        "epsilon_total": limit.epsilon_total,
        "epsilon_per_run": limit.epsilon_per_run,
        "epsilon_per_period": limit.epsilon_per_period,
        "period_days": limit.period_days,
        "left": max(0.0, limit.epsilon_total - spent),
        "runs": [
            {
                "run_id": run,
                "rounds": sum(spend.kind is not Kind.EVALUATION for spend in spends),
                "epsilon": epsilon([spend.event for spend in spends], limit.delta),
            }
            for run, spends in of_run.items()
        ],
        "charges": [_charge(entry) for entry in entries],
    }


def as_forecast(prospect: "Prospect") -> dict[str, Any]:
    """Return what a plan would cost as JSON-ready values."""
    return {
        "would_pass": prospect.whole,
        "rounds": prospect.rounds,
        "rounds_within_budget": prospect.passing,
        "epsilon_of_run": prospect.epsilon_run,
        "epsilon_after": prospect.epsilon,
        "epsilon_of_all": prospect.epsilon_whole if math.isfinite(prospect.epsilon_whole) else None,
    }


def _charge(entry: "Entry") -> dict[str, Any]:
    spend, event = entry.spend, entry.spend.event
    return {
        "number": entry.number, "run_id": spend.run_id, "round": spend.round, "kind": spend.kind, "lineage": spend.lineage,
        "noise_multiplier": event.noise_multiplier, "sample_rate": event.sample_rate, "steps": event.steps,
        "clipping_norm": event.clipping_norm, "charged_at": entry.charged_at, "hash": entry.hash,
    }  # fmt: skip


def _told(epsilon: float | None) -> str:
    return "without bound" if epsilon is None else f"{epsilon:.2f}"


def _tell(document: dict[str, Any]) -> None:
    typer.echo(
        f"ε {document['epsilon']:.2f} of {document['epsilon_total']:g} at δ {document['delta']:g}, {document['left']:.2f} left; "
        f"{len(document['charges'])} charges in {len(document['runs'])} runs"
    )
    for charge in document["charges"]:
        what = f"round {charge['round']}" if charge["kind"] != "evaluation" else "evaluation"
        typer.echo(
            f"{charge['number']:>5}  {charge['charged_at']}  run {charge['run_id'][:10]} {what:<10} "
            f"σ {charge['noise_multiplier']:g}  q {charge['sample_rate']:g}  {charge['steps']} steps"
        )
    if plan := document.get("plan"):
        typer.echo(
            f"The plan's {plan['rounds']} rounds would pass: ε {plan['epsilon_after']:.2f} afterwards."
            if plan["would_pass"]
            else f"Of the plan's {plan['rounds']} rounds {plan['rounds_within_budget']} would pass; all would come to ε {_told(plan['epsilon_of_all'])}."
        )
