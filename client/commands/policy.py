"""`acinus-node policy` and `audit`: what the hospital allows, and what it has let out."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from client.commands.home import answering, home_of, remark, say_json
from protocol.codes import MEANINGS, Code
from protocol.errors import InvalidInputError, error_for

if TYPE_CHECKING:
    from client.gate.audit import Head, Row
    from client.gate.policy import SitePolicy, Verdict
    from client.settings import NodeSettings
    from protocol.plan import RoundOrder

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

_NO_RUN, _NO_HASH = "0" * 32, "0" * 64


def add_to(app: typer.Typer) -> None:
    """Add `policy` and `audit` to the node's program."""
    policy = typer.Typer(no_args_is_help=True, help="What this hospital allows.")
    policy.command("show")(show)
    policy.command("check")(check)
    app.add_typer(policy, name="policy")
    audit = typer.Typer(no_args_is_help=True, help="What has asked to leave, and what became of it.")
    audit.command("verify")(verify)
    audit.command("list")(list_rows)
    app.add_typer(audit, name="audit")


def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the policy as the node reads it, defaults included."""
    with answering(as_json=as_json):
        from client.gate.policy_file import load_policy
        from client.settings import load_settings

        settings = load_settings(home_of(context))
        document = load_policy(settings.policy).model_dump(mode="json")
        if as_json:
            say_json(document)
            return
        for table, keys in document.items():
            typer.echo(f"[{table}]")
            for key, value in keys.items():
                typer.echo(f"  {key:<18} {value}")


def check(
    context: typer.Context,
    order: Annotated[
        Path | None,
        typer.Argument(metavar="ORDER", help="A plan (TOML) or an order (JSON); without it, the file's form."),
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="SHA-256 of the app bundle that would run.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether this site would take part, what that would cost, and if it would not, why."""
    with answering(as_json=as_json):
        from client.gate.policy import judge_bundle
        from client.gate.policy_file import load_policy
        from client.settings import load_settings

        settings = load_settings(home_of(context))
        policy = load_policy(settings.policy)
        document: dict[str, Any] = {"ok": True, "message": f"{settings.policy} is in order."}
        if bundle is not None:
            _raise_refusal(judge_bundle(bundle, policy))
            document["message"] = "The site would answer runs of this bundle."
        if order is not None:
            document["plan"] = _judged(settings, policy, read_order(order))
            document["message"] = _taking_part(document["plan"], policy)
        say_json(document) if as_json else remark(document["message"])


def _judged(settings: "NodeSettings", policy: "SitePolicy", order: "RoundOrder") -> dict[str, Any]:
    """Return what the run of an order would cost.

    Raises:
        RefusedError: The site would not take part.
    """
    from client.commands.ledger import as_forecast
    from client.gate.policy import judge_order, labels_for
    from client.rooms.border import local_now
    from client.rooms.imaging import open_store
    from client.rooms.training import foresee
    from client.train.prospect import judge_prospect

    cases = open_store(settings).labels.training_cases(labels_for(order, policy))
    cohort = len({case.subject_key for case in cases})
    _raise_refusal(judge_order(order, policy, cohort=cohort, now=local_now()))
    prospect = foresee(settings, order, policy.training)
    _raise_refusal(
        judge_prospect(prospect, policy.training),
        f"All of it would come to ε {prospect.epsilon_whole:.2f}; {prospect.passing} of {prospect.rounds} rounds would pass."
        " See `acinus-node ledger --plan`, and whole_plan in policy.toml.",
    )
    return as_forecast(prospect)


def _raise_refusal(verdict: "Verdict", detail: str = "") -> None:
    """Raise what a verdict refuses with, if it does.

    Raises:
        RefusedError: With the verdict's code.
    """
    from client.gate.policy import Refusal

    if isinstance(verdict, Refusal):
        raise error_for(verdict.code, f"{MEANINGS[verdict.code][1]} {detail}".strip())


def _taking_part(plan: dict[str, Any], policy: "SitePolicy") -> str:
    whole = f"The site would take part: ε {plan['epsilon_after']:.2f} of {policy.training.epsilon_total:g} would be spent afterwards."
    part = f"The site would take part in {plan['rounds_within_budget']} of {plan['rounds']} rounds, and refuse the next (`budget-spent`)."
    return whole if plan["would_pass"] else part


def verify(
    context: typer.Context,
    head: Annotated[Path | None, typer.Option(help="A copy of audit.head that was kept on another machine.")] = None,
    as_json: Json = False,
) -> None:
    """Check the audit chain from its first row to its last, and that its end was not cut off."""
    with answering(as_json=as_json):
        from client.gate.audit import read_head
        from client.rooms.border import open_gate
        from client.settings import load_settings

        witnessed = _witnessed(head, read_head(head)) if head is not None else None
        end = open_gate(load_settings(home_of(context))).audit.verify(witnessed)
        document = {"ok": True, "rows": end.number, "head": end.hash}
        say_json(document) if as_json else remark(f"{end.number} rows verify. Head {end.hash}")


def list_rows(
    context: typer.Context,
    last: Annotated[int, typer.Option(min=1, help="How many rows, counted from the end.")] = 50,
    as_json: Json = False,
) -> None:
    """Show what asked to leave; of what left, word for word what it said."""
    with answering(as_json=as_json):
        from client.rooms.border import open_gate
        from client.settings import load_settings

        rows = list(open_gate(load_settings(home_of(context))).audit.rows())[-last:]
        if as_json:
            say_json({"rows": [_row(row) for row in rows]})
        for row in rows if not as_json else ():
            typer.echo(f"{row.number:>6}  {row.at}  {row.event:<24} {row.verdict:<16} {row.subject}")


def read_order(path: Path) -> "RoundOrder":
    """Return the order in `path`. A plan counts as its first round.

    Raises:
        InvalidInputError: `not-found` or `bad-request`.
    """
    from protocol.plan import RoundOrder, RunPlan

    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            plan = RunPlan.model_validate(tomllib.loads(text))
            return RoundOrder(run_id=_NO_RUN, round=1, base_sha256=_NO_HASH, plan=plan)
        return RoundOrder.model_validate_json(text)
    except OSError as error:
        raise InvalidInputError(Code.NOT_FOUND, f"{path} cannot be read. Check the path.") from error
    except (ValidationError, ValueError) as error:
        raise InvalidInputError(Code.BAD_REQUEST, f"{path} is neither a plan (TOML) nor an order (JSON).") from error


def _witnessed(path: Path, head: "Head | None") -> "Head":
    if head is None:
        raise InvalidInputError(Code.NOT_FOUND, f"{path} is not there. Check the path.")
    return head


def _row(row: "Row") -> dict[str, Any]:
    return {
        "number": row.number, "at": row.at, "event": row.event, "subject": row.subject, "verdict": row.verdict, "body": row.body,
    }  # fmt: skip
