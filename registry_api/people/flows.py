"""Log-ins under way at the identity provider, in the database: the browser may come back to another process than it left."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from sqlmodel import col, delete, select

from identity.flows import Flow, in_time, new_flow
from registry_api.database import Database
from registry_api.people.service import secret_sha256
from registry_api.people.tables import LoginFlowRow

OPEN_MOST = 10_000
"""Anybody may begin a log-in; beyond so many the oldest are given up."""


class StoredFlows:
    """The log-ins under way at all processes of the registry. Of what the browser brings back only hashes are kept."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock

    async def begin(self) -> Flow:
        """Begin a log-in."""
        return await asyncio.to_thread(self._begin)

    async def finish(self, state: str, binding: str | None) -> Flow:
        """Return the log-in of that state and use it up, as `Flows` says."""
        return await asyncio.to_thread(self._finish, state, binding or "")

    def _begin(self) -> Flow:
        now = self._clock()
        flow = new_flow(now)
        row = LoginFlowRow(
            state_sha256=secret_sha256(flow.state),
            binding_sha256=secret_sha256(flow.binding),
            nonce=flow.nonce,
            verifier=flow.verifier,
            ends_at=flow.ends,
        )
        newest = select(LoginFlowRow.state_sha256).order_by(col(LoginFlowRow.ends_at).desc()).limit(OPEN_MOST - 1)
        over = col(LoginFlowRow.state_sha256).not_in(newest)
        with self._database.writing() as session:
            session.exec(delete(LoginFlowRow).where((col(LoginFlowRow.ends_at) <= now) | over))
            session.add(row)
        return flow

    def _finish(self, state: str, binding: str) -> Flow:
        """Use a log-in up in one statement: of two that come back with it, one gets it."""
        query = (
            delete(LoginFlowRow)
            .where(
                col(LoginFlowRow.state_sha256) == secret_sha256(state),
                col(LoginFlowRow.binding_sha256) == secret_sha256(binding),
            )
            .returning(col(LoginFlowRow.nonce), col(LoginFlowRow.verifier), col(LoginFlowRow.ends_at))
        )
        with self._database.writing() as session:
            found = session.exec(query).first()
        flow = Flow(state, found[0], found[1], binding, found[2]) if found is not None else None
        return in_time(flow, self._clock())
