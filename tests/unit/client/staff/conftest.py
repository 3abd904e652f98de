"""A clock that a test moves, and accounts on a database of their own."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.staff.accounts import SCHEMA, Accounts
from client.staff.passwords import Cost
from client.store.database import connect

CHEAP = Cost(n=16, r=1, p=1)
PASSWORD = "lamp kettle orchard seven"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(tmp_path: Path, clock: Clock) -> Accounts:
    return Accounts(connect(tmp_path / "node.db", SCHEMA), lambda: clock().timestamp(), CHEAP)
