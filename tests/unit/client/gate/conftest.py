"""A gate with a database of its own and a clock that the test moves."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.gate import contact, gate, inbox
from client.gate.audit import AuditChain
from client.gate.gate import Gate
from client.gate.policy import ReadingPolicy, SharingPolicy, SitePolicy
from client.store.database import connect


class Border:
    """Everything of the gate on one connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.policy = SitePolicy(sharing=SharingPolicy(cases=True), reading=ReadingPolicy(posts=True))
        self.head = folder / "audit.head"
        self.connection = connect(folder / "node.db", gate.SCHEMA, inbox.SCHEMA, contact.SCHEMA)
        self.gate = Gate(self.connection, lambda: self.policy, self.clock, self.head)
        self.inbox = inbox.Inbox(self.connection, self.clock)
        self.contact = contact.ContactBook(self.connection, self.clock)

    @property
    def chain(self) -> AuditChain:
        return self.gate.audit

    def clock(self) -> datetime:
        return self.now

    def wait(self, **span: float) -> None:
        self.now += timedelta(**span)

    def tamper(self, sql: str, *values: object) -> None:
        """Change the audit as somebody with the file in hand can: the triggers stop nobody who drops them."""
        self.connection.executescript("DROP TRIGGER IF EXISTS audit_is_kept; DROP TRIGGER IF EXISTS audit_is_fixed;")
        self.connection.execute(sql, values)


@pytest.fixture
def border(tmp_path: Path) -> Border:
    return Border(tmp_path)
