"""Sessions of staff, in memory: a restart logs everybody out, and no copy of the database holds one.

Every request looks the account up again, so that a session ends at once, in every browser, when its account is closed or gets
another role or password, whichever process did that.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from client.staff.accounts import BY_TOKEN, Account, Accounts
from client.staff.roles import Role
from protocol.errors import InvalidInputError

_MOST = 500


@dataclass(frozen=True, slots=True)
class Span:
    """When a session ends: so long after the last click, and so long after the log-in."""

    idle: timedelta = timedelta(minutes=30)
    whole: timedelta = timedelta(hours=8)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends a request. `csrf` must come back with every form."""

    csrf: str
    account_id: str | None
    name: str
    roles: frozenset[Role]
    must_change: bool = False

    @property
    def who(self) -> str:
        """How the audit calls them."""
        return self.account_id or BY_TOKEN


@dataclass(frozen=True, slots=True)
class _Session:
    csrf: str
    account: tuple[str, int] | None
    """Id and epoch; `None` for the token."""
    ends: datetime
    idle_ends: datetime


class Sessions:
    """Opens, finds and ends sessions. Of cookies only hashes are held."""

    def __init__(self, accounts: Accounts, clock: Callable[[], datetime], span: Span) -> None:
        self._accounts = accounts
        self._clock = clock
        self._span = span
        self._held: dict[bytes, _Session] = {}

    def open(self, account: Account | None) -> str:
        """Return the cookie of a new session; without an account it is the token's."""
        now = self._clock()
        self._forget(now)
        cookie = secrets.token_urlsafe(32)
        named = (account.account_id, account.epoch) if account is not None else None
        self._held[_sha256(cookie)] = _Session(
            secrets.token_urlsafe(24), named, now + self._span.whole, now + self._span.idle
        )
        return cookie

    def find(self, cookie: str | None, *, active: bool = True) -> Visitor | None:
        """Return who holds a cookie, if the session has not ended.

        Args:
            cookie: As the browser sent it.
            active: Whether a person did something; a page that renews itself does not keep a session alive.
        """
        key, now = _sha256(cookie or ""), self._clock()
        session = self._held.get(key)
        if session is None or now >= min(session.ends, session.idle_ends):
            self._held.pop(key, None)
            return None
        visitor = self._visitor(session)
        if visitor is None:
            self._held.pop(key, None)
        elif active:
            self._held[key] = replace(session, idle_ends=now + self._span.idle)
        return visitor

    def leave(self, cookie: str | None) -> None:
        """End the session behind a cookie."""
        self._held.pop(_sha256(cookie or ""), None)

    def _visitor(self, session: _Session) -> Visitor | None:
        if session.account is None:
            return Visitor(session.csrf, None, "setting up", frozenset({Role.SETUP}))
        account_id, epoch = session.account
        try:
            account = self._accounts.get(account_id)
        except InvalidInputError:
            return None
        if account.disabled or account.epoch != epoch:
            return None
        return Visitor(session.csrf, account_id, account.name, account.roles, account.must_change)

    def _forget(self, now: datetime) -> None:
        """Drop sessions that have ended, and the oldest ones when there are too many."""
        living = [(key, one) for key, one in self._held.items() if now < min(one.ends, one.idle_ends)]
        self._held = dict(living[-(_MOST - 1) :])


def _sha256(text: str) -> bytes:
    """Cookies are random, so a plain hash cannot be searched backwards."""
    return hashlib.sha256(text.encode()).digest()
