"""Accounts of the hospital's people. An account is an opaque id in the audit; its name stands in this table and on staff pages only."""

import re
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from client.staff.passwords import USUAL, Cost, kept_form, refuse_poor
from client.staff.roles import Role, roles_of, words_of
from client.store.database import add_column, transaction
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError

SCHEMA = """
CREATE TABLE IF NOT EXISTS staff_account (
    account_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    person TEXT UNIQUE,
    password TEXT,
    must_change INTEGER NOT NULL DEFAULT 0,
    roles TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 1,
    granted_by TEXT NOT NULL,
    made_at REAL NOT NULL,
    entered_at REAL,
    password_by TEXT
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS staff_account_by_name ON staff_account (name) WHERE person IS NULL;
"""
"""`person` is a hash of issuer and subject, for those whom the hospital's identity provider vouches for; they have no password here.
`epoch` moves whenever sessions must end. `granted_by` is who last gave the role, `password_by` who last gave a password to somebody else's account:
an account id or one of `NOBODY`. Neither takes the place of the other. Without the second, from before it was kept, the first was either."""

BY_TOKEN, BY_COMMAND, BY_PROVIDER = "setup", "command-line", "identity-provider"
NOBODY = frozenset({BY_TOKEN, BY_COMMAND, BY_PROVIDER})
"""Who grants without being an account."""

_NAME = re.compile(r"[a-z][a-z0-9._-]{1,39}")
_SHOWN_MOST = 60
_CHAIN_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One person's account."""

    account_id: str
    name: str
    local: bool
    roles: frozenset[Role]
    disabled: bool
    must_change: bool
    epoch: int
    granted_by: str
    password_by: str
    made_at: float
    entered_at: float | None


class Accounts:
    """The accounts of one node. One object per connection."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float], cost: Cost = USUAL) -> None:
        self._connection = connection
        self._clock = clock
        self._cost = cost
        add_column(connection, "staff_account", "password_by")

    def add(self, name: str, password: str, roles: frozenset[Role], *, by: str) -> Account:
        """Make an account with a password that must be changed at the first log-in.

        Raises:
            InvalidInputError: `bad-request` for a name or a password that cannot be taken.
            ConflictError: `already-exists`.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInputError(
                Code.BAD_REQUEST, "A name has 2 to 40 small letters, digits, dots, hyphens; a letter first. Correct it."
            )
        refuse_poor(password, name=name)
        account_id, kept = secrets.token_hex(16), kept_form(password, self._cost)
        with transaction(self._connection):
            if self._row("name = ? AND person IS NULL", name) is not None:
                raise ConflictError(Code.ALREADY_EXISTS, "There is an account of that name. Choose another name.")
            self._connection.execute(
                "INSERT INTO staff_account (account_id, name, password, must_change, roles, granted_by, password_by, made_at)"
                " VALUES (?, ?, ?, 1, ?, ?, ?, ?)",
                (account_id, name, kept, _stored(roles), by, by, self._clock()),
            )
        return self.get(account_id)

    def meet(self, person: str, *, name: str, roles: frozenset[Role]) -> Account:
        """Return the account of somebody whom the identity provider vouches for; it is made at the first log-in.

        Name and roles are what the provider says now. A role that changed ends other sessions of the account.

        Args:
            person: Hash of issuer and subject.
            name: How the provider calls them.
            roles: As the settings map the provider's claim.
        """
        shown = "".join(letter for letter in name if letter.isprintable())[:_SHOWN_MOST] or "somebody"
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO staff_account (account_id, name, person, roles, granted_by, made_at) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (person) DO UPDATE SET epoch = epoch + (roles != excluded.roles), name = excluded.name,"
                " roles = excluded.roles",
                (secrets.token_hex(16), shown, person, _stored(roles), BY_PROVIDER, self._clock()),
            )
        row = self._row("person = ?", person)
        if row is None:
            raise _unknown()
        return _account(row)

    def get(self, account_id: str) -> Account:
        """Return one account.

        Raises:
            InvalidInputError: `not-found`.
        """
        row = self._row("account_id = ?", account_id)
        if row is None:
            raise _unknown()
        return _account(row)

    def named(self, word: str) -> Account:
        """Return the local account of that name, or any account by its id.

        Raises:
            InvalidInputError: `not-found`.
        """
        row = self._row("account_id = ?1 OR (name = ?1 AND person IS NULL)", word)
        if row is None:
            raise _unknown()
        return _account(row)

    def all(self) -> list[Account]:
        """Return every account, oldest first."""
        rows = self._connection.execute("SELECT * FROM staff_account ORDER BY made_at, account_id")
        return [_account(row) for row in rows]

    def credential(self, name: str) -> tuple[Account, str] | None:
        """Return the enabled local account of that name with what is kept of its password; `None` if there is none."""
        row = self._row("name = ? AND person IS NULL AND disabled = 0 AND password IS NOT NULL", name)
        return (_account(row), str(row["password"])) if row is not None else None

    def set_roles(self, account_id: str, roles: frozenset[Role], *, by: str) -> None:
        """Give other roles; sessions of the account end.

        Raises:
            InvalidInputError: `not-found`.
            ConflictError: `illegal-transition` if the identity provider decides.
        """
        self._refuse_provided(account_id)
        self._change(
            account_id, "roles = ?, password_by = coalesce(password_by, granted_by), granted_by = ?, epoch = epoch + 1",
            _stored(roles), by,
        )  # fmt: skip

    def set_password(self, account_id: str, password: str, *, by: str | None) -> None:
        """Set a password; sessions of the account end.

        Args:
            account_id: Whose.
            password: The new one.
            by: Who sets it for somebody else, who must then change it; `None` if it is the account's own holder.

        Raises:
            InvalidInputError: `not-found`, or `bad-request` for a password that can be guessed.
            ConflictError: `illegal-transition` if the identity provider decides.
        """
        account = self._refuse_provided(account_id)
        refuse_poor(password, name=account.name)
        self._change(
            account_id, "password = ?, must_change = ?, password_by = ?, epoch = epoch + 1", kept_form(password, self._cost),
            int(by is not None), by or account.password_by,
        )  # fmt: skip

    def refresh_password(self, account_id: str, password: str) -> None:
        """Keep the same password under today's parameters; nobody is logged out."""
        self._change(account_id, "password = ?", kept_form(password, self._cost))

    def set_disabled(self, account_id: str, *, disabled: bool) -> None:
        """Close an account, which ends its sessions everywhere, or open it again.

        Raises:
            InvalidInputError: `not-found`.
        """
        self._change(account_id, "disabled = ?, epoch = epoch + 1", int(disabled))

    def entered(self, account_id: str) -> None:
        """Note a log-in."""
        self._change(account_id, "entered_at = ?", self._clock())

    def owes_to(self, account_id: str, other_id: str) -> bool:
        """Say whether `account_id` has its role or password from `other_id`, at first hand or through others.

        Whoever gave somebody a password may know it still, or have chosen the next one, so the two do not count as two people; nor is that
        forgotten when somebody else gives a role.
        """
        return self._owes(account_id, other_id, (), set())

    def _owes(self, at: str, other_id: str, path: tuple[str, ...], free: set[str]) -> bool:
        """Follow who gave role and password; `free` are accounts of whom it is known already that they owe nothing to the other."""
        if at == other_id or at in path or len(path) >= _CHAIN_MOST:
            return True  # in a ring or an endless chain nobody can say that they are two people
        if at in NOBODY or at in free:
            return False
        account = self.get(at)
        owes = any(
            self._owes(giver, other_id, (*path, at), free)
            for giver in dict.fromkeys((account.granted_by, account.password_by))
        )
        free.update(() if owes else {at})
        return owes

    def _change(self, account_id: str, what: str, *values: object) -> None:
        with transaction(self._connection) as connection:
            done = connection.execute(f"UPDATE staff_account SET {what} WHERE account_id = ?", (*values, account_id))  # noqa: S608 - our own words
            if not done.rowcount:
                raise _unknown()

    def _refuse_provided(self, account_id: str) -> Account:
        account = self.get(account_id)
        if not account.local:
            raise ConflictError(
                Code.ILLEGAL_TRANSITION,
                "The hospital's identity provider decides on this account's roles and password. Change them there.",
            )
        return account

    def _row(self, where: str, value: str) -> sqlite3.Row | None:
        found = self._connection.execute(f"SELECT * FROM staff_account WHERE {where}", (value,)).fetchone()  # noqa: S608 - our own words
        return found if isinstance(found, sqlite3.Row) else None


def _account(row: sqlite3.Row) -> Account:
    return Account(
        account_id=row["account_id"], name=row["name"], local=row["person"] is None, roles=roles_of(row["roles"].split()),
        disabled=bool(row["disabled"]), must_change=bool(row["must_change"]), epoch=row["epoch"], granted_by=row["granted_by"],
        password_by=row["password_by"] or row["granted_by"], made_at=row["made_at"], entered_at=row["entered_at"],
    )  # fmt: skip


def _stored(roles: frozenset[Role]) -> str:
    return " ".join(words_of(roles_of(role.value for role in roles)))


def _unknown() -> InvalidInputError:
    return InvalidInputError(Code.NOT_FOUND, "There is no such account; `acinus-node staff list` names them.")
