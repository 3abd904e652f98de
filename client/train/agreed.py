"""The plan of each run as this site first agreed to it: an order of the same run with another plan is refused.

Every order carries the whole plan. The policy judges it by itself, and the budget was compared with all that is to come of a run once, before
its first charge; another number of rounds or other noise later on would be a run that nobody here agreed to.
"""

import logging
import sqlite3
from dataclasses import dataclass

from pydantic import ValidationError

from client.gate.policy import Clearance, Refusal, Verdict
from client.store.database import transaction
from protocol.codes import Code
from protocol.plan import RunPlan
from protocol.shape import OpaqueId, canonical_json

SCHEMA = """
CREATE TABLE IF NOT EXISTS agreed_plan (
    run_id TEXT PRIMARY KEY,
    plan TEXT NOT NULL
) STRICT;
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AgreedPlans:
    """The plans by run. They are kept whole, not as a hash: a key that a later version adds, at its default, is the same plan."""

    connection: sqlite3.Connection

    def judge(self, run_id: OpaqueId, plan: RunPlan) -> Verdict:
        """Compare a plan with the one that was agreed to; the first of a run is, and stands on the disk before this returns.

        Raises:
            UnavailableError: `disk-full`; nothing may be charged then.
        """
        with transaction(self.connection):
            row = self.connection.execute("SELECT plan FROM agreed_plan WHERE run_id = ?", (run_id,)).fetchone()
            if row is None:
                self.connection.execute(
                    "INSERT INTO agreed_plan VALUES (?, ?)", (run_id, canonical_json(plan).decode())
                )
                return Clearance()
        changed = _changed(row["plan"], plan)
        if not changed:
            return Clearance()
        log.warning("plan.changed run=%s keys=%s", run_id, ",".join(changed))
        return Refusal(code=Code.PLAN_CHANGED)


def _changed(agreed: str, plan: RunPlan) -> list[str]:
    """Return the keys of a plan that differ from what was agreed; all of them if that can be read no more."""
    keys = sorted(RunPlan.model_fields)
    try:
        known = RunPlan.model_validate_json(agreed)
    except ValidationError:
        return keys
    return [key for key in keys if getattr(known, key) != getattr(plan, key)]
