"""The way into the console: the token for setting up, a local account's password, or the hospital's identity provider."""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from client.staff.accounts import Account, Accounts
from client.staff.attempts import Attempts
from client.staff.passwords import USUAL, Cost, fits, is_dated, kept_form
from client.staff.sessions import Sessions
from protocol.codes import Code
from protocol.errors import RefusedError

_TOKEN_TRIES = 5
_NO_NAME = ""


@dataclass(frozen=True, slots=True)
class Entered:
    """A session has begun: its cookie, and whose it is (`None` for the token)."""

    cookie: str
    account: Account | None


class Entrance:
    """Checks what a person shows and opens sessions. Of the token only a hash is held."""

    def __init__(
        self,
        accounts: Accounts,
        sessions: Sessions,
        clock: Callable[[], datetime],
        *,
        token: str | None,
        cost: Cost = USUAL,
    ) -> None:
        """Prepare the entrance.

        Args:
            accounts: The hospital's.
            sessions: Where sessions are kept.
            clock: The time.
            token: The console's; `None` closes that way.
            cost: Of a password that nobody has, so that an unknown name takes as long as a wrong password.
        """
        self.sessions = sessions
        self._accounts = accounts
        self._token = hashlib.sha256(token.encode()).digest() if token is not None else None
        self._token_tries = Attempts(clock, altogether=_TOKEN_TRIES)
        self._tries = Attempts(clock)
        self._cost = cost
        self._nobodys = kept_form(secrets.token_urlsafe(24), cost)
        self._one_at_a_time = asyncio.Lock()

    @property
    def takes_token(self) -> bool:
        """Whether the token opens the door."""
        return self._token is not None

    def enter_by_token(self, token: str) -> Entered:
        """Open a session for setting up.

        Raises:
            RefusedError: `unauthenticated` for a wrong token, or where the token is turned off.
            UnavailableError: `rate-limited` after five wrong ones within fifteen minutes.
        """
        self._token_tries.refuse_many(_NO_NAME)
        shown = hashlib.sha256(token.strip().encode()).digest()
        if self._token is None or not hmac.compare_digest(shown, self._token):
            self._token_tries.failed(_NO_NAME)
            raise RefusedError(
                Code.UNAUTHENTICATED, "That is not the console's token, or the token is turned off. Ask the node's IT."
            )
        self._token_tries.forgive(_NO_NAME)
        return Entered(self.sessions.open(None), None)

    async def enter_by_password(self, name: str, password: str) -> Entered:
        """Open a session for an account's holder.

        The answer is the same, and takes as long, whether the account is unknown, closed or the password wrong. One check at a time:
        each takes 32 MiB and most of a second, and runs beside the event loop.

        Raises:
            RefusedError: `unauthenticated`.
            UnavailableError: `rate-limited` after five failures of one name, or fifty of all, within fifteen minutes.
        """
        async with self._one_at_a_time:
            self._tries.refuse_many(name)
            found = self._accounts.credential(name)
            kept = found[1] if found is not None else self._nobodys
            right = await asyncio.to_thread(fits, password, kept)
            if not right or found is None:
                self._tries.failed(name)
                raise RefusedError(
                    Code.UNAUTHENTICATED,
                    "Name and password do not belong to an open account. Try again or ask for help.",
                )
            self._tries.forgive(name)
            if is_dated(kept, self._cost):
                self._accounts.refresh_password(found[0].account_id, password)
        return self.enter_as(found[0])

    async def knows(self, account: Account, password: str) -> bool:
        """Say whether `password` is the account's own; tries count as log-ins.

        Raises:
            UnavailableError: `rate-limited`.
        """
        async with self._one_at_a_time:
            self._tries.refuse_many(account.name)
            found = self._accounts.credential(account.name)
            right = await asyncio.to_thread(fits, password, found[1] if found is not None else self._nobodys)
            if not right:
                self._tries.failed(account.name)
        return right and found is not None

    def enter_as(self, account: Account) -> Entered:
        """Open a session for somebody who has shown who they are.

        Raises:
            RefusedError: `unauthenticated` if the account is closed.
        """
        present = self._accounts.get(account.account_id)
        if present.disabled:
            raise RefusedError(Code.UNAUTHENTICATED, "This account is closed. An administrator can open it again.")
        self._accounts.entered(present.account_id)
        return Entered(self.sessions.open(present), present)
