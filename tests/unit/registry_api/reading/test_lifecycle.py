"""Every pair of state and event is decided, and decided as the drawing says."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import Code
from protocol.errors import ConflictError
from protocol.reading import Priority
from registry_api.reading.lifecycle import (
    ESCALATE_AT,
    ESCALATIONS,
    FHIR_TASK,
    FINAL,
    HELD,
    TABLE,
    TIMERS,
    UNACKNOWLEDGED,
    UNSIGNED,
    UPS,
    Event,
    State,
    advance,
    amend_until,
    expires_at,
    lease_until,
    request_state,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

WHILE_AMENDING = {Event.REOPENED, Event.ASKED, Event.ANSWERED}
"""What may happen to a signed report that is open for an amendment and leaves its state as it is."""

ALLOWED = """
draft            posted           open
draft            withdrawn        withdrawn
open             claimed          claimed
open             withdrawn        withdrawn
open             expired          expired
claimed          opened           reading
claimed          released         open
claimed          lapsed           open
claimed          withdrawn        withdrawn
reading          asked            needs-info
reading          submitted        preliminary
reading          released         open
reading          lapsed           open
reading          withdrawn        withdrawn
needs-info       answered         reading
needs-info       released         open
needs-info       lapsed           open
needs-info       withdrawn        withdrawn
preliminary      submitted        preliminary
preliminary      asked            needs-info
preliminary      signed           signed
preliminary      released         open
preliminary      lapsed           open
preliminary      withdrawn        withdrawn
signed           delivered        delivered
signed           delivery-failed  delivery-failed
delivery-failed  delivered        delivered
delivered        noted            delivered
delivered        acknowledged     closed
delivered        amended          signed
closed           amended          signed
claimed          reassigned       open
reading          reassigned       open
needs-info       reassigned       open
preliminary      reassigned       open
open             widened          open
open             warned           open
open             breached         open
claimed          widened          claimed
claimed          warned           claimed
claimed          breached         claimed
reading          widened          reading
reading          warned           reading
reading          breached         reading
needs-info       widened          needs-info
needs-info       warned           needs-info
needs-info       breached         needs-info
preliminary      widened          preliminary
preliminary      warned           preliminary
preliminary      breached         preliminary
signed           alarmed          signed
delivery-failed  alarmed          delivery-failed
delivered        alarmed          delivered
delivered        reopened         delivered
closed           reopened         closed
delivered        asked            delivered
delivered        answered         delivered
closed           asked            closed
closed           answered         closed
reading          reviewed         closed
"""
"""Written down from exchange section 5.2, apart from the code."""

EXPECTED = {
    (State(before), Event(event)): State(after)
    for before, event, after in (line.split() for line in ALLOWED.strip().splitlines())
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair_is_allowed_or_refused(state: State, event: Event) -> None:
    if (state, event) in EXPECTED:
        assert advance(state, event) is EXPECTED[state, event]
        return
    with pytest.raises(ConflictError) as refused:
        advance(state, event)
    assert refused.value.code is Code.ILLEGAL_TRANSITION


def test_the_table_holds_nothing_else() -> None:
    assert TABLE == EXPECTED
    assert len(list(product(State, Event))) == 12 * 23


@pytest.mark.parametrize("event", [*ESCALATIONS, Event.ALARMED])
def test_what_only_makes_known_changes_no_state(event: Event) -> None:
    moved = [after for (before, one), after in TABLE.items() if one is event and before is not after]
    assert moved == []
    assert {before for before, one in TABLE if one is event} == set(
        UNACKNOWLEDGED if event is Event.ALARMED else UNSIGNED
    )


def test_only_an_amendment_leaves_a_final_state() -> None:
    assert {event for state, event in TABLE if state in FINAL} == {Event.AMENDED, *WHILE_AMENDING}
    assert {event for (state, event), after in TABLE.items() if state in FINAL and after is not state} == {
        Event.AMENDED
    }


def test_every_state_can_be_reached_from_draft() -> None:
    reached = {State.DRAFT}
    while more := {after for (before, _), after in TABLE.items() if before in reached} - reached:
        reached |= more
    assert reached == set(State)


def test_every_state_has_its_names_in_fhir_and_dicom() -> None:
    assert set(FHIR_TASK) == set(UPS) == set(State)
    fhir_r5 = "draft requested received accepted rejected ready cancelled in-progress on-hold failed completed"
    assert set(FHIR_TASK.values()) <= set(fhir_r5.split())
    assert set(UPS.values()) == {"SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"}


@given(st.lists(st.sampled_from(list(Event)), max_size=40))
def test_no_history_signs_without_a_report_or_closes_without_delivery(events: list[Event]) -> None:
    state, taken = State.DRAFT, []
    for event in events:
        if (state, event) in TABLE:
            state = advance(state, event)
            taken.append(event)
    if Event.SIGNED in taken:
        assert Event.SUBMITTED in taken[: taken.index(Event.SIGNED)]
    if state is State.CLOSED:
        closing = next(event for event in reversed(taken) if event not in WHILE_AMENDING)
        assert closing in {Event.ACKNOWLEDGED, Event.REVIEWED}
        assert closing is Event.REVIEWED or Event.DELIVERED in taken


@pytest.mark.parametrize(
    ("priority", "due", "opening", "silence"),
    [
        (Priority.STAT, 60, 10, 20),
        (Priority.URGENT, 240, 30, 45),
        (Priority.ROUTINE, 1440, 120, 120),
    ],
)
def test_the_timers_are_the_published_ones(priority: Priority, due: int, opening: int, silence: int) -> None:
    assert TIMERS[priority].due == timedelta(minutes=due)
    assert lease_until(State.CLAIMED, priority, NOW) == NOW + timedelta(minutes=opening)
    assert lease_until(State.READING, priority, NOW) == NOW + timedelta(minutes=silence)
    assert lease_until(State.PRELIMINARY, priority, NOW) == NOW + timedelta(hours=1)
    assert expires_at(priority, NOW) == NOW + timedelta(hours=24)


AMENDMENT_MINUTES = """
reopened  stat     120
reopened  urgent   120
reopened  routine  120
asked     stat     120
asked     urgent   480
asked     routine  1440
answered  stat     120
answered  urgent   120
answered  routine  120
"""


@pytest.mark.parametrize(("event", "priority"), list(product(Event, Priority)))
def test_each_step_of_an_amendment_has_its_time_and_no_other_event_has_one(event: Event, priority: Priority) -> None:
    minutes = {
        (one, two): int(three) for one, two, three in (line.split() for line in AMENDMENT_MINUTES.split("\n")[1:-1])
    }
    assert {Event(one) for one, _ in minutes} == WHILE_AMENDING
    if event in WHILE_AMENDING:
        assert amend_until(event, priority, NOW) == NOW + timedelta(minutes=minutes[event.value, priority.value])
        return
    with pytest.raises(KeyError):
        amend_until(event, priority, NOW)


@pytest.mark.parametrize("state", list(State))
def test_a_lease_runs_exactly_where_a_reader_holds_the_slot(state: State) -> None:
    assert (lease_until(state, Priority.STAT, NOW) is not None) == (state in HELD)


def test_a_stat_read_waits_at_most_two_hours_for_an_answer() -> None:
    assert TIMERS[Priority.STAT].answer_within == timedelta(hours=2)


def test_escalation_is_at_half_at_four_fifths_and_at_the_end() -> None:
    assert ESCALATE_AT == (0.5, 0.8, 1.0)
    assert len(ESCALATIONS) == len(ESCALATE_AT)


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ([State.OPEN], State.OPEN),
        ([State.CLOSED, State.READING], State.READING),
        ([State.DELIVERED, State.SIGNED], State.SIGNED),
        ([State.CLOSED, State.EXPIRED], State.CLOSED),
        ([State.WITHDRAWN, State.DELIVERED, State.EXPIRED], State.DELIVERED),
        ([State.WITHDRAWN, State.EXPIRED], State.EXPIRED),
        ([State.CLOSED, State.CLOSED], State.CLOSED),
    ],
)
def test_a_request_is_as_far_as_its_last_slot(slots: list[State], expected: State) -> None:
    assert request_state(slots) is expected
