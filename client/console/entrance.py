"""Who may see the staff page: whoever knows the console's token, and then holds a session. In memory; a restart logs everybody out."""

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError

_SESSION = timedelta(hours=8)
_FAILURES, _WINDOW = 5, timedelta(minutes=15)
_SESSIONS_MAX = 100


@dataclass(frozen=True, slots=True)
class Session:
    """One logged-in browser. `csrf` must come back with every form."""

    csrf: str
    ends: datetime


class Entrance:
    """Checks the token and keeps sessions. Of token and cookies only hashes are held."""

    def __init__(self, token: str, clock: Callable[[], datetime]) -> None:
        self._token = _sha256(token)
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}
        self._failures: deque[datetime] = deque(maxlen=_FAILURES)

    def enter(self, token: str) -> str:
        """Return a session's cookie for the right token.

        Raises:
            RefusedError: `unauthenticated` for a wrong one.
            UnavailableError: `rate-limited` after five wrong ones within fifteen minutes.
        """
        now = self._clock()
        if len(self._failures) == _FAILURES and now - self._failures[0] < _WINDOW:
            raise UnavailableError(
                Code.RATE_LIMITED, "Five wrong tokens in a short time. Try again in a quarter of an hour."
            )
        if not hmac.compare_digest(_sha256(token.strip()), self._token):
            self._failures.append(now)
            raise RefusedError(Code.UNAUTHENTICATED, "That is not the console's token. It lies in keys/console.token.")
        self._failures.clear()
        self._forget(now)
        cookie = secrets.token_urlsafe(32)
        self._sessions[_sha256(cookie)] = Session(csrf=secrets.token_urlsafe(24), ends=now + _SESSION)
        return cookie

    def find(self, cookie: str | None) -> Session | None:
        """Return the session behind a cookie, if it has not ended."""
        session = self._sessions.get(_sha256(cookie or ""))
        return session if session is not None and self._clock() < session.ends else None

    def leave(self, cookie: str | None) -> None:
        """End the session behind a cookie."""
        self._sessions.pop(_sha256(cookie or ""), None)

    def _forget(self, now: datetime) -> None:
        """Drop sessions that have ended, and the oldest ones when there are too many."""
        living = [(key, session) for key, session in self._sessions.items() if now < session.ends]
        self._sessions = dict(living[-(_SESSIONS_MAX - 1) :])


def _sha256(text: str) -> bytes:
    """Tokens and cookies are random, so a plain hash cannot be searched backwards."""
    return hashlib.sha256(text.encode()).digest()
