"""A request in one piece, on one thread: who calls, what is done, the commit. For what readers' programs ask all day (ADR 0181).

As dependencies these are four steps, and each goes to a thread and comes back, which costs more than what is done there.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlmodel import Session

from registry_api.api.access import SAFE_METHODS, Caller, admitted, form_token, identify, refuse_forged, runtime_of
from registry_api.api.gate import SESSIONS_MAX, Gate
from registry_api.people.roles import Role

T = TypeVar("T")


class Errand:
    """A request that waits to be run. Who may is looked up in its transaction, before anything is done."""

    def __init__(self, request: Request, roles: tuple[Role, ...]) -> None:
        self._request, self._roles = request, roles

    async def run(self, work: Callable[[Session, Caller], T]) -> T:
        """Run `work` in one transaction, stored when this returns, or undone if it raises; return what it returns.

        Raises:
            RefusedError: `unauthenticated` or `forbidden`; UnavailableError: `rate-limited`, or of the database.
        """
        gate: Gate = self._request.app.state.gate
        shown = "authorization" in self._request.headers
        token = b"" if shown else await form_token(self._request)

        def whole() -> T:
            with self._session() as session:
                caller = admitted(identify(self._request, session), self._roles)
                refuse_forged(self._request, caller, token)
                return work(session, caller)

        async with gate.turn(writes=self._writes):
            running = asyncio.get_running_loop().run_in_executor(
                self._request.app.state.threads, copy_context().run, whole
            )
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait([running])  # the turn is over when the thread is done, whoever has given up waiting
                raise

    @property
    def _writes(self) -> bool:
        return self._request.method not in SAFE_METHODS

    @contextmanager
    def _session(self) -> Iterator[Session]:
        database = runtime_of(self._request).database
        with database.writing() if self._writes else database.reading() as session:
            yield session


def errand(*roles: Role) -> Any:
    """Return the dependency that lets callers of these roles run something, as `access.require` lets them in.

    Use it as `errand: Annotated[Errand, errand(Role.READER)]`.
    """

    async def waiting(request: Request) -> Errand:
        request.state.errand = Errand(request, roles)
        return request.state.errand  # type: ignore[no-any-return] # the line above

    return Depends(waiting)


class ErrandRoute(APIRoute):
    """A route of a router with errands: who may not call is told so, and not what is wrong with the call."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler; values that are wrong keep the errand from being run, so that it is asked for here."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError:
                if hasattr(request.state, "errand"):
                    await request.state.errand.run(lambda _session, _caller: None)
                raise

        return handler


def threads() -> ThreadPoolExecutor:
    """Return the threads that errands run on: as many as there are turns."""
    return ThreadPoolExecutor(SESSIONS_MAX, thread_name_prefix="errand")
