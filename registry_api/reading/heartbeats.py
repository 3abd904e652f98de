"""A reader's program says that the reader is still there, every minute or more often, for each read in hand: few statements, and most of them one row."""

from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel import Session

from protocol.reading import Priority
from protocol.shape import OpaqueId
from registry_api.database import among, ask, lines, row_table, unasked
from registry_api.reading.claims import Claim, anything_due, held_claim, held_slot
from registry_api.reading.lifecycle import HELD, State, lease_until
from registry_api.reading.tables import ClaimRow, ReadRequestRow, SlotRow


def heartbeat(session: Session, claim_id: OpaqueId, reader_id: OpaqueId, *, now: datetime) -> Claim:
    """Say that the reader is still there. It prolongs *reading*; looking for the first time and signing have their own clocks.

    Nearly always the claim is live and nothing is due anywhere: then one statement says all of that. Otherwise it is looked at as for any step.

    Raises:
        ConflictError: `stale-fence` if the claim has ended.
    """
    live = next(iter(lines(session, _live(), claim_id=claim_id, reader_id=reader_id, now=now)), None)
    if live is None or live.due:
        claim = _looked_at(session, claim_id, reader_id, now)
    else:
        claim = Claim(
            claim_id, live.request_id, live.number, live.fence, State(live.state), _until(live, live.priority, now)
        )
        if claim.lease_until != live.lease_until:
            ask(session, _prolong(), the_claim=claim_id, until=claim.lease_until)
    return claim


def _looked_at(session: Session, claim_id: OpaqueId, reader_id: OpaqueId, now: datetime) -> Claim:
    slot, request = held_slot(session, claim_id, reader_id, now=now)
    slot.lease_until = _until(slot, request.priority, now)
    return held_claim(slot, now=now)


def _until(slot: Any, priority: str, now: datetime) -> datetime | None:
    """Return until when a slot that was heard of is leased; a clock that was put back takes nothing away."""
    longer = lease_until(State(slot.state), Priority(priority), now) if slot.state == State.READING else None
    return slot.lease_until if longer is None else max(longer, slot.lease_until or longer)


@cache
def _live() -> Any:
    """Return the statement that locks the slot of a live claim and returns it, with whether anything is due."""
    slots, requests, claims = (row_table(row) for row in (SlotRow, ReadRequestRow, ClaimRow))
    slot = slots.c
    return (
        sa.select(
            slot.request_id,
            slot.number,
            slot.fence,
            slot.state,
            slot.lease_until,
            requests.c.priority,
            anything_due().label("due"),
        )
        .select_from(slots)
        .join(requests, requests.c.request_id == slot.request_id)
        .join(claims, claims.c.claim_id == slot.claim_id)
        .where(
            slot.claim_id == bindparam("claim_id"),
            claims.c.reader_id == bindparam("reader_id"),
            among(slot.state, HELD),
        )
        .with_for_update(of=slots)
    )


@cache
def _prolong() -> Any:
    """Return the statement that gives a slot a longer lease."""
    slots = row_table(SlotRow)
    the_claim = slots.c.claim_id == bindparam("the_claim")
    return unasked(sa.update(slots).where(the_claim).values(lease_until=bindparam("until")))
