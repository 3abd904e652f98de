"""A privacy ledger in a database of its own or of a site, with a real audit as its witness."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from client.gate import audit
from client.gate.audit import HEAD_FILE, AuditChain
from client.gate.charges import ChargeMarks
from client.ledger.account import epsilon
from client.ledger.store import SCHEMA, BudgetLedger, Price
from client.store.database import connect


def open_ledger(
    database: Path, clock: Callable[[], datetime], *, price: Price = epsilon, head: Path | None = None
) -> BudgetLedger:
    """Return the ledger in `database`; the audit's head lies beside it."""
    chain = AuditChain(connect(database, audit.SCHEMA), head or database.with_name(HEAD_FILE), clock)
    return BudgetLedger(connect(database, SCHEMA), clock, ChargeMarks(chain), price=price)
