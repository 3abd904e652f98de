"""`acinus-node staff`: the accounts of the hospital's people, from a shell. Whoever may run this owns the node's folder."""

import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, remark, say_json

if TYPE_CHECKING:
    from client.gate.audit import AuditChain
    from client.staff.accounts import Account, Accounts

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The account's name, or its id.")]
FromInput = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input; otherwise one is made up.")
]


def add_to(app: typer.Typer) -> None:
    """Add `staff` to the node's program."""
    staff = typer.Typer(no_args_is_help=True, help="Accounts for the staff console.")
    staff.command("add")(add)
    staff.command("list")(list_)
    staff.command("role")(role)
    staff.command("password")(password)
    staff.command("disable")(disable)
    staff.command("enable")(enable)
    app.add_typer(staff, name="staff")


@dataclass(frozen=True, slots=True)
class _Office:
    """What the commands work with."""

    accounts: "Accounts"
    audit: "AuditChain"

    def note(self, event: str, account: "Account", verdict: str = "clear") -> None:
        """Write into the audit what was done to an account, by whoever has the shell."""
        from client.staff.accounts import BY_COMMAND

        self.audit.append(event, f"{BY_COMMAND}:{account.account_id}", verdict)


def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits, dots, hyphens.")],
    roles: Annotated[
        list[str], typer.Option("--role", help="viewer, technician, radiologist or administrator; repeat for more.")
    ],
    from_input: FromInput = False,
    as_json: Json = False,
) -> None:
    """Make an account. Its password holds for one log-in, at which its holder chooses another."""
    with answering(as_json=as_json):
        from client.staff.accounts import BY_COMMAND
        from client.staff.roles import roles_of, words_of

        office, word = _open(context), _password(from_input=from_input)
        account = office.accounts.add(name, word, roles_of(roles), by=BY_COMMAND)
        office.note("staff.added", account, ".".join(words_of(account.roles)))
        _tell_password(account, None if from_input else word, as_json=as_json)


def list_(context: typer.Context, as_json: Json = False) -> None:
    """List accounts: name, roles, id in the audit, last log-in."""
    with answering(as_json=as_json):
        accounts = [_as_json(one) for one in _open(context).accounts.all()]
        if as_json:
            say_json({"ok": True, "accounts": accounts})
            return
        for one in accounts:
            closed = "  closed" if one["disabled"] else ""
            typer.echo(f"{one['name']:<20} {', '.join(one['roles']):<34} {one['account_id']}{closed}")


def role(
    context: typer.Context,
    name: Name,
    roles: Annotated[list[str], typer.Argument(metavar="ROLE...", help="All the roles that the account shall have.")],
    as_json: Json = False,
) -> None:
    """Give other roles; the account is logged out everywhere."""
    with answering(as_json=as_json):
        from client.staff.accounts import BY_COMMAND
        from client.staff.roles import roles_of, words_of

        office, wanted = _open(context), roles_of(roles)
        account = office.accounts.named(name)
        office.accounts.set_roles(account.account_id, wanted, by=BY_COMMAND)
        office.note("staff.roles", account, ".".join(words_of(wanted)))
        _tell(office, account, as_json=as_json)


def password(context: typer.Context, name: Name, from_input: FromInput = False, as_json: Json = False) -> None:
    """Set a password for one log-in; the account is logged out everywhere."""
    with answering(as_json=as_json):
        from client.staff.accounts import BY_COMMAND

        office, word = _open(context), _password(from_input=from_input)
        account = office.accounts.named(name)
        office.accounts.set_password(account.account_id, word, by=BY_COMMAND)
        office.note("staff.password", account)
        _tell_password(account, None if from_input else word, as_json=as_json)


def disable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Close an account; its holder is logged out everywhere, now."""
    _close(context, name, disabled=True, as_json=as_json)


def enable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Open a closed account again."""
    _close(context, name, disabled=False, as_json=as_json)


def _close(context: typer.Context, name: str, *, disabled: bool, as_json: bool) -> None:
    with answering(as_json=as_json):
        office = _open(context)
        account = office.accounts.named(name)
        office.accounts.set_disabled(account.account_id, disabled=disabled)
        office.note("staff.disabled" if disabled else "staff.enabled", account)
        _tell(office, account, as_json=as_json)


def _open(context: typer.Context) -> _Office:
    from client.rooms.border import open_gate
    from client.settings import load_settings
    from client.staffroom import open_accounts

    settings = load_settings(home_of(context))
    return _Office(open_accounts(settings), open_gate(settings).audit)


def _password(*, from_input: bool) -> str:
    """Return the first line of standard input, or a word that nobody can guess."""
    return sys.stdin.readline().rstrip("\r\n") if from_input else secrets.token_urlsafe(15)


def _tell(office: _Office, account: "Account", *, as_json: bool) -> None:
    document = _as_json(office.accounts.get(account.account_id))
    closed = "closed" if document["disabled"] else ", ".join(document["roles"])
    say_json({"ok": True, **document}) if as_json else remark(f"{document['name']}: {closed}")


def _tell_password(account: "Account", made_up: str | None, *, as_json: bool) -> None:
    """Say the password that was made up, this once; one that came from standard input is known there."""
    if as_json:
        say_json({"ok": True, "account_id": account.account_id, "name": account.name, "password": made_up})
    else:
        shown = f" Password: {made_up}" if made_up is not None else ""
        remark(
            f"{account.name} ({account.account_id}) can log in to the console once and must choose a password then.{shown}"
        )


def _as_json(account: "Account") -> dict[str, Any]:
    from client.staff.roles import words_of

    entered = account.entered_at
    return {
        "account_id": account.account_id, "name": account.name, "local": account.local, "roles": words_of(account.roles),
        "disabled": account.disabled, "granted_by": account.granted_by, "password_by": account.password_by,
        "entered": datetime.fromtimestamp(entered, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if entered is not None else None,
    }  # fmt: skip
