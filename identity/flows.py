"""Log-ins at the identity provider that have begun and not ended: one use each, bound to the browser that began them."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from identity.id_token import refused

PATIENCE = timedelta(minutes=10)
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


class Flows(Protocol):
    """The log-ins under way, of all processes that may be asked to finish them."""

    async def begin(self) -> Flow:
        """Begin a log-in; the oldest one is given up when too many are open."""

    async def finish(self, state: str, binding: str | None) -> Flow:
        """Return the log-in of that state and use it up, if this browser began it.

        Raises:
            RefusedError: `unauthenticated` otherwise; a stranger's try leaves the log-in to its owner.
        """


def new_flow(now: datetime) -> Flow:
    """Return a log-in that begins now."""
    state, nonce, verifier, binding = (secrets.token_urlsafe(32) for _ in range(4))
    return Flow(state, nonce, verifier, binding, now + PATIENCE)


def in_time(flow: Flow | None, now: datetime) -> Flow:
    """Return the log-in that was used up.

    Raises:
        RefusedError: `unauthenticated` if there was none, or it took too long.
    """
    if flow is None:
        raise refused("it was not begun in this browser, or has been used")
    if now >= flow.ends:
        raise refused("it took too long")
    return flow


class MemoryFlows:
    """The log-ins under way at a program of one process, in its memory."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._open: dict[str, Flow] = {}

    async def begin(self) -> Flow:
        """Begin a log-in."""
        now = self._clock()
        living = [(state, flow) for state, flow in self._open.items() if now < flow.ends]
        self._open = dict(living[-(_MOST - 1) :])
        flow = new_flow(now)
        self._open[flow.state] = flow
        return flow

    async def finish(self, state: str, binding: str | None) -> Flow:
        """Return the log-in of that state and use it up, as `Flows` says."""
        flow = self._open.get(state)
        if flow is not None and hmac.compare_digest((binding or "").encode(), flow.binding.encode()):
            return in_time(self._open.pop(state), self._clock())
        return in_time(None, self._clock())
