"""Log-ins at the identity provider that have begun and not ended: one use each, bound to the browser that began them. In memory."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from identity.id_token import refused

_PATIENCE = timedelta(minutes=10)
_MOST = 200


@dataclass(frozen=True, slots=True)
class Flow:
    """What only the browser (`binding`, a cookie) and this program (`verifier`) know of one log-in, and what the provider repeats."""

    state: str
    nonce: str
    verifier: str
    binding: str
    ends: datetime

    @property
    def challenge(self) -> str:
        """The verifier's SHA-256 (RFC 7636 section 4.2, S256)."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")


class Flows:
    """The log-ins under way."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._open: dict[str, Flow] = {}

    def begin(self) -> Flow:
        """Begin a log-in; the oldest one is given up when too many are open."""
        now = self._clock()
        living = [(state, flow) for state, flow in self._open.items() if now < flow.ends]
        self._open = dict(living[-(_MOST - 1) :])
        state, nonce, verifier, binding = (secrets.token_urlsafe(32) for _ in range(4))
        flow = Flow(state, nonce, verifier, binding, now + _PATIENCE)
        self._open[flow.state] = flow
        return flow

    def finish(self, state: str, binding: str | None) -> Flow:
        """Return the log-in of that state and use it up, if this browser began it.

        Raises:
            RefusedError: `unauthenticated` otherwise; a stranger's try leaves the log-in to its owner.
        """
        flow = self._open.get(state)
        if flow is None or not hmac.compare_digest((binding or "").encode(), flow.binding.encode()):
            raise refused("it was not begun in this browser, or has been used")
        del self._open[state]
        if self._clock() >= flow.ends:
            raise refused("it took too long")
        return flow
