"""The life of one read as a table (state, event) -> state, with its timers as numbers. Pure.

    draft ──posted──> open ──claimed──> claimed ──opened──> reading ──submitted──> preliminary ──signed──> signed
                       │ ▲                │                 │    ▲                     │                    │
                       │ └─released/lapsed┴─────────────────┤  answered                │                delivered
                    expired                                 └─asked─> needs-info       │                    │
                                            (withdrawn from every state before signed) ┘          delivered ──acknowledged──> closed

A request that needs two reads has two slots, and each slot lives this life on its own; two reads that disagree open a third.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from protocol.codes import Code
from protocol.errors import ConflictError
from protocol.reading import Priority


class State(StrEnum):
    """Where a slot of a read request stands, from the least far to the furthest."""

    DRAFT = "draft"
    OPEN = "open"
    CLAIMED = "claimed"
    READING = "reading"
    NEEDS_INFO = "needs-info"
    PRELIMINARY = "preliminary"
    SIGNED = "signed"
    DELIVERY_FAILED = "delivery-failed"
    DELIVERED = "delivered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    CLOSED = "closed"


class Purpose(StrEnum):
    """What a slot is for."""

    READ = "read"
    ADJUDICATION = "adjudication"
    REVIEW = "review"


COUNTED = frozenset({Purpose.READ, Purpose.ADJUDICATION})
"""The slots from which a request's state and its result come."""


class Event(StrEnum):
    """What may happen to a slot."""

    POSTED = "posted"
    CLAIMED = "claimed"
    OPENED = "opened"
    RELEASED = "released"
    LAPSED = "lapsed"
    ASKED = "asked"
    ANSWERED = "answered"
    SUBMITTED = "submitted"
    SIGNED = "signed"
    DELIVERY_FAILED = "delivery-failed"
    DELIVERED = "delivered"
    NOTED = "noted"
    ACKNOWLEDGED = "acknowledged"
    AMENDED = "amended"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    REASSIGNED = "reassigned"
    WIDENED = "widened"
    WARNED = "warned"
    BREACHED = "breached"
    ALARMED = "alarmed"
    REOPENED = "reopened"
    REVIEWED = "reviewed"


HELD = frozenset({State.CLAIMED, State.READING, State.NEEDS_INFO, State.PRELIMINARY})
"""States in which a reader holds the slot under a lease."""

UNSIGNED = HELD | {State.OPEN}
"""States in which somebody still waits for a signature; here the clock escalates."""

UNACKNOWLEDGED = frozenset({State.SIGNED, State.DELIVERY_FAILED, State.DELIVERED})
"""States in which the hospital has not taken note of a signed report."""

AMENDABLE = frozenset({State.DELIVERED, State.CLOSED})
"""States in which the reader may open a signed report again; the hospital has it then."""

SIGNED_AND_AFTER = frozenset({State.SIGNED, State.DELIVERY_FAILED, State.DELIVERED, State.CLOSED})
"""States in which the slot's report bears a signature."""

FINAL = frozenset({State.CLOSED, State.WITHDRAWN, State.EXPIRED})
"""States that nothing but an amendment leaves."""

GIVEN_UP = frozenset({State.EXPIRED, State.WITHDRAWN})
"""States of which no report comes; beside other slots they count for nothing."""

TABLE: dict[tuple[State, Event], State] = {
    (State.DRAFT, Event.POSTED): State.OPEN,
    (State.DRAFT, Event.WITHDRAWN): State.WITHDRAWN,
    (State.OPEN, Event.CLAIMED): State.CLAIMED,
    (State.OPEN, Event.WITHDRAWN): State.WITHDRAWN,
    (State.OPEN, Event.EXPIRED): State.EXPIRED,
    (State.CLAIMED, Event.OPENED): State.READING,
    (State.READING, Event.ASKED): State.NEEDS_INFO,
    (State.READING, Event.SUBMITTED): State.PRELIMINARY,
    (State.NEEDS_INFO, Event.ANSWERED): State.READING,
    (State.READING, Event.REVIEWED): State.CLOSED,
    (State.PRELIMINARY, Event.SUBMITTED): State.PRELIMINARY,
    (State.PRELIMINARY, Event.ASKED): State.NEEDS_INFO,
    (State.PRELIMINARY, Event.SIGNED): State.SIGNED,
    (State.SIGNED, Event.DELIVERED): State.DELIVERED,
    (State.SIGNED, Event.DELIVERY_FAILED): State.DELIVERY_FAILED,
    (State.DELIVERY_FAILED, Event.DELIVERED): State.DELIVERED,
    (State.DELIVERED, Event.ACKNOWLEDGED): State.CLOSED,
    **{(state, Event.AMENDED): State.SIGNED for state in AMENDABLE},
    **{(held, Event.RELEASED): State.OPEN for held in HELD},
    **{(held, Event.LAPSED): State.OPEN for held in HELD},
    **{(held, Event.WITHDRAWN): State.WITHDRAWN for held in HELD},
    **{(held, Event.REASSIGNED): State.OPEN for held in HELD},
    **{(state, event): state for state in UNSIGNED for event in (Event.WIDENED, Event.WARNED, Event.BREACHED)},
    **{(state, Event.ALARMED): state for state in UNACKNOWLEDGED},
    (State.DELIVERED, Event.NOTED): State.DELIVERED,
    **{(state, event): state for state in AMENDABLE for event in (Event.REOPENED, Event.ASKED, Event.ANSWERED)},
}
"""Every step that is allowed; every other pair is refused."""

FHIR_TASK: dict[State, str] = {
    State.DRAFT: "draft",
    State.OPEN: "requested",
    State.CLAIMED: "accepted",
    State.READING: "in-progress",
    State.NEEDS_INFO: "on-hold",
    State.PRELIMINARY: "in-progress",
    State.SIGNED: "completed",
    State.DELIVERY_FAILED: "completed",
    State.DELIVERED: "completed",
    State.CLOSED: "completed",
    State.WITHDRAWN: "cancelled",
    State.EXPIRED: "failed",
}
"""FHIR R5 `Task.status` (valueset task-status); our own state goes into `Task.businessStatus`."""

UPS: dict[State, str] = {
    State.DRAFT: "SCHEDULED",
    State.OPEN: "SCHEDULED",
    State.CLAIMED: "IN PROGRESS",
    State.READING: "IN PROGRESS",
    State.NEEDS_INFO: "IN PROGRESS",
    State.PRELIMINARY: "IN PROGRESS",
    State.SIGNED: "COMPLETED",
    State.DELIVERY_FAILED: "COMPLETED",
    State.DELIVERED: "COMPLETED",
    State.CLOSED: "COMPLETED",
    State.WITHDRAWN: "CANCELED",
    State.EXPIRED: "CANCELED",
}
"""DICOM Procedure Step State (0074,1000) of a Unified Procedure Step."""


@dataclass(frozen=True, slots=True)
class Timers:
    """How long each part of a read may take.

    `due` runs from the post to the signature. `open_within` runs from the claim to the first look, `silence` from the last
    heartbeat while reading, `answer_within` while the hospital is asked, `sign_within` from the last report to the signature.
    """

    due: timedelta
    open_within: timedelta
    silence: timedelta
    answer_within: timedelta
    sign_within: timedelta = timedelta(hours=1)
    grace: timedelta = timedelta(hours=24)


TIMERS: dict[Priority, Timers] = {
    Priority.STAT: Timers(
        due=timedelta(minutes=60),
        open_within=timedelta(minutes=10),
        silence=timedelta(minutes=20),
        answer_within=timedelta(hours=2),
    ),
    Priority.URGENT: Timers(
        due=timedelta(hours=4),
        open_within=timedelta(minutes=30),
        silence=timedelta(minutes=45),
        answer_within=timedelta(hours=8),
    ),
    Priority.ROUTINE: Timers(
        due=timedelta(hours=24),
        open_within=timedelta(minutes=120),
        silence=timedelta(minutes=120),
        answer_within=timedelta(hours=24),
    ),
}
"""The network's own; of an agreement, `due` may be another (`agreements.signed_within`)."""

HEARTBEAT = timedelta(seconds=60)
"""How often a reader's program should say that the reader is still there."""

ESCALATE_AT = (0.5, 0.8, 1.0)
"""Shares of the time to `due` at which the wait is made known more widely."""

ESCALATIONS = (Event.WIDENED, Event.WARNED, Event.BREACHED)
"""What happens at each of them: offered to the pool; group lead and hospital are told; the hospital is alarmed."""

REVIEW_WITHIN = timedelta(days=14)
"""How long a peer review waits for somebody; nobody waits for it."""

AMEND_WITHIN = timedelta(hours=2)
"""So long after opening a signed report again the reader may look at the study, hand in a version and sign it; after an answer of the
hospital so long again."""

DELIVER_WITHIN = timedelta(minutes=10)
"""A signed report that the node has not confirmed by then counts as not delivered; the notice to it is repeated all the same."""

ACKNOWLEDGE_WITHIN = timedelta(minutes=60)
"""A critical result that the hospital has not taken note of by then raises an alarm. Runs from the signature."""

ABANDONED_AFTER = 2
"""So many lapses within `ABANDONED_SPAN` reduce the reader's capacity to `ABANDONED_CAPACITY` for as long again."""

ABANDONED_SPAN = timedelta(hours=24)
ABANDONED_CAPACITY = 1


def advance(state: State, event: Event) -> State:
    """Return the state after `event`.

    Raises:
        ConflictError: `illegal-transition` if the table does not allow the step.
    """
    try:
        return TABLE[state, event]
    except KeyError as error:
        allowed = ", ".join(sorted(one.value for (before, one) in TABLE if before is state)) or "nothing"
        raise ConflictError(
            Code.ILLEGAL_TRANSITION, f"A read that is {state} cannot be {event}. What may happen to it now: {allowed}."
        ) from error


def expires_at(priority: Priority, due_at: datetime) -> datetime:
    """Return when a request that nobody claimed is given up, if its signature was due at `due_at`."""
    return due_at + TIMERS[priority].grace


def lease_until(state: State, priority: Priority, now: datetime) -> datetime | None:
    """Return when a slot that enters `state` now falls back to open, or None where nobody holds it."""
    timers = TIMERS[priority]
    spans = {
        State.CLAIMED: timers.open_within,
        State.READING: timers.silence,
        State.NEEDS_INFO: timers.answer_within,
        State.PRELIMINARY: timers.sign_within,
    }
    return now + spans[state] if state in spans else None


def amend_until(event: Event, priority: Priority, now: datetime) -> datetime:
    """Return when a signed report that was opened again is closed as it was, if nothing comes after `event`.

    Raises:
        KeyError: Of an event that no amendment takes (a programming error).
    """
    spans = {
        Event.REOPENED: AMEND_WITHIN,
        Event.ASKED: TIMERS[priority].answer_within,
        Event.ANSWERED: AMEND_WITHIN,
    }
    return now + spans[event]


def request_state(slots: Iterable[State]) -> State:
    """Return where the whole request stands: as far as the slot that is least far, of those that were not given up if there are any.

    Raises:
        ValueError: If there is no slot (a programming error).
    """
    order, every = list(State), list(slots)
    return min([one for one in every if one not in GIVEN_UP] or every, key=order.index)
