"""Carries webhook deliveries out, a few at a time. Transactions are over before and begin after a message is under way."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from ssl import SSLContext, create_default_context

import httpx

from protocol.errors import FederationError
from registry_api.reading.webhooks import Message, enqueue, settle, take_due
from registry_api.runtime import Runtime

log = logging.getLogger(__name__)

TICK_SECONDS = 2.0
_TIMEOUT_SECONDS = 10.0
UNREACHABLE = "unreachable"

Send = Callable[[Message], Awaitable[str]]
"""Makes one attempt and returns what it met. Raises nothing."""


class Messenger:
    """Looks for events and due deliveries of every webhook."""

    def __init__(self, runtime: Runtime, send: Send) -> None:
        self._runtime = runtime
        self._send = send

    async def run(self) -> None:
        """Carry messages until cancelled. A database that is away for a while ends nothing."""
        sent = 0
        while True:
            if not sent:  # else more may wait behind what has just gone out
                await asyncio.sleep(TICK_SECONDS)
            try:
                sent = await self.step()
            except FederationError as error:
                sent = 0
                log.warning("webhooks.wait", extra={"code": error.code})

    async def step(self) -> int:
        """Make one attempt for each delivery that is due; return how many."""
        messages = await asyncio.to_thread(self._take)
        outcomes = await asyncio.gather(*(self._send(one) for one in messages))
        if messages:
            await asyncio.to_thread(self._settle, messages, outcomes)
        return len(messages)

    def _take(self) -> list[Message]:
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
        async with client.stream("POST", message.url, content=message.body, headers=message.headers) as answer:
            return str(answer.status_code)
    except httpx.HTTPError:
        return UNREACHABLE


async def open_client(stack: AsyncExitStack, authority: Path | None) -> httpx.AsyncClient:
    """Return a client that trusts the system's authorities, or this one alone."""
    trust: SSLContext | bool = True if authority is None else create_default_context(cafile=str(authority))
    client = httpx.AsyncClient(verify=trust, timeout=_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)
    return await stack.enter_async_context(client)
