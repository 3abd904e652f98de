"""Carries webhook deliveries out, a few at a time. Transactions are over before and begin after a message is under way."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from ssl import SSLContext, create_default_context

import httpx

from registry_api.loops import keep_on
from registry_api.reading.webhooks import Message, enqueue, is_any, settle, take_due
from registry_api.runtime import Runtime

TICK_SECONDS = 2.0
_TIMEOUT_SECONDS = 10.0
"""For each step of an attempt: a connection, a piece of the answer."""

_ATTEMPT_SECONDS = 30.0
"""For the whole of it: an answer that comes byte by byte would hold up everybody's messages. Less than a delivery's lease."""

UNREACHABLE = "unreachable"

Send = Callable[[Message], Awaitable[str]]
"""Makes one attempt and returns what it met. Raises nothing."""


class Messenger:
    """Looks for events and due deliveries of every webhook."""

    def __init__(self, runtime: Runtime, send: Send) -> None:
        self._runtime = runtime
        self._send = send

    async def run(self) -> None:
        """Carry messages until cancelled."""
        await keep_on("webhooks", self._carry, every_seconds=TICK_SECONDS)

    async def _carry(self) -> None:
        """Go on at once as long as something went out: more may wait behind it."""
        while await self.step():
            pass

    async def step(self) -> int:
        """Make one attempt for each delivery that is due; return how many."""
        messages = await asyncio.to_thread(self._take)
        outcomes = await asyncio.gather(*(self._send(one) for one in messages))
        if messages:
            await asyncio.to_thread(self._settle, messages, outcomes)
        return len(messages)

    def _take(self) -> list[Message]:
        with self._runtime.database.reading() as session:
            if not is_any(session):
                return []
        with self._runtime.database.writing() as session:
            now = self._runtime.clock()
            enqueue(session, now=now)
            return take_due(session, self._runtime.grant_key, now=now)

    def _settle(self, messages: list[Message], outcomes: list[str]) -> None:
        with self._runtime.database.writing() as session:
            for message, outcome in zip(messages, outcomes, strict=True):
                settle(session, message.delivery_id, outcome, now=self._runtime.clock())


async def post(client: httpx.AsyncClient, message: Message) -> str:
    """Post one message; neither a redirect is followed nor an answer's body read."""
    try:
        async with (
            asyncio.timeout(_ATTEMPT_SECONDS),
            client.stream("POST", message.url, content=message.body, headers=message.headers) as answer,
        ):
            return str(answer.status_code)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return UNREACHABLE


async def open_client(stack: AsyncExitStack, authority: Path | None) -> httpx.AsyncClient:
    """Return a client that trusts the system's authorities, or this one alone."""
    trust: SSLContext | bool = True if authority is None else create_default_context(cafile=str(authority))
    client = httpx.AsyncClient(verify=trust, timeout=_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)
    return await stack.enter_async_context(client)
