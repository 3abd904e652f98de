"""The promise: the ledger never exceeds its grant, forgets nothing, and notices when somebody helped it forget."""

import multiprocessing
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from client.gate import audit
from client.gate.audit import HEAD_FILE, AuditChain
from client.gate.charges import ChargeMarks
from client.ledger.account import Event, epsilon
from client.ledger.store import BudgetLedger, Charged, Kind, Limit, Price, Refused, Spend
from client.store.database import connect
from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError
from tests.fakes import ledgers
from tests.fakes.rough_price import rough_price

RUN, OTHER = "a" * 32, "b" * 32
EVENT = Event(noise_multiplier=1.5, sample_rate=0.5, steps=3, clipping_norm=0.5)
RACED = Limit(epsilon_total=1.5, epsilon_per_run=8.0, delta=1e-5)
LIMIT = Limit(epsilon_total=8.0, epsilon_per_run=8.0, delta=1e-5)


def spend(number: int, run_id: str = RUN, event: Event = EVENT, kind: Kind = Kind.UPDATE) -> Spend:
    return Spend(run_id=run_id, round=number, kind=kind, lineage="ggo", event=event)


NOW = datetime(2026, 3, 1, tzinfo=UTC)


def open_ledger(path: Path, price: Price = epsilon) -> BudgetLedger:
    return ledgers.open_ledger(path, lambda: NOW, price=price)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


@pytest.fixture
def ledger(path: Path) -> BudgetLedger:
    return open_ledger(path)


def test_it_charges_until_the_limit_and_then_refuses(ledger: BudgetLedger) -> None:
    outcomes = [ledger.charge(spend(number), limit=LIMIT) for number in range(1, 8)]
    charged = [outcome.epsilon for outcome in outcomes if isinstance(outcome, Charged)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert charged == sorted(charged)
    assert charged[-1] <= LIMIT.epsilon_total < min(outcome.epsilon for outcome in refused)
    assert {outcome.code for outcome in refused} == {Code.BUDGET_SPENT}
    assert len(charged) + len(refused) == 7
    assert len(ledger.history()) == len(charged)
    assert ledger.epsilon(LIMIT.delta) == charged[-1]


def test_what_was_charged_is_what_the_history_costs(ledger: BudgetLedger) -> None:
    ledger.charge(spend(1), limit=LIMIT)
    outcome = ledger.charge(spend(2, event=replace(EVENT, noise_multiplier=3.0)), limit=LIMIT)
    assert isinstance(outcome, Charged)
    assert outcome.epsilon == epsilon([EVENT, replace(EVENT, noise_multiplier=3.0)], LIMIT.delta)


def test_a_run_has_a_limit_of_its_own(ledger: BudgetLedger) -> None:
    tight = replace(LIMIT, epsilon_per_run=4.0)
    assert isinstance(ledger.charge(spend(1), limit=tight), Charged)
    assert isinstance(ledger.charge(spend(2), limit=tight), Refused)
    assert isinstance(ledger.charge(spend(1, OTHER), limit=tight), Charged)


@pytest.mark.parametrize("first", list(Kind))
@pytest.mark.parametrize("second", list(Kind))
def test_whatever_a_charge_pays_for_counts_against_every_limit(path: Path, first: Kind, second: Kind) -> None:
    ledger = open_ledger(path, rough_price)
    room_for_one = replace(LIMIT, epsilon_total=rough_price([EVENT], LIMIT.delta))
    assert isinstance(ledger.charge(spend(1, kind=first), limit=room_for_one), Charged)
    assert isinstance(ledger.charge(spend(1, OTHER, kind=second), limit=room_for_one), Refused)


def test_the_same_round_is_charged_once(ledger: BudgetLedger) -> None:
    first = ledger.charge(spend(1), limit=LIMIT)
    again = ledger.charge(spend(1), limit=LIMIT)
    assert isinstance(first, Charged)
    assert isinstance(again, Charged)
    assert (first.again, again.again) == (False, True)
    assert (again.number, again.epsilon) == (first.number, first.epsilon)
    assert len(ledger.history()) == 1


def test_the_same_round_again_is_given_what_stood_then_even_when_the_limit_was_lowered(ledger: BudgetLedger) -> None:
    first = ledger.charge(spend(1), limit=LIMIT)
    ledger.charge(spend(2), limit=LIMIT)
    again = ledger.charge(spend(1), limit=replace(LIMIT, epsilon_total=0.1))
    assert isinstance(first, Charged)
    assert isinstance(again, Charged)
    assert again.epsilon == first.epsilon


def test_the_same_round_with_other_numbers_is_refused(ledger: BudgetLedger) -> None:
    ledger.charge(spend(1), limit=LIMIT)
    with pytest.raises(ConflictError) as refused:
        ledger.charge(spend(1, event=replace(EVENT, noise_multiplier=9.0)), limit=LIMIT)
    assert refused.value.code is Code.ALREADY_EXISTS


def test_a_charge_without_noise_is_refused_and_costs_no_time(ledger: BudgetLedger) -> None:
    high = replace(LIMIT, epsilon_total=1000.0, epsilon_per_run=1000.0)
    for sigma in (1e-300, 1e-3, 0.1):
        outcome = ledger.charge(spend(1, event=replace(EVENT, noise_multiplier=sigma, steps=10_000)), limit=high)
        assert isinstance(outcome, Refused)
    assert ledger.history() == []


@pytest.mark.parametrize(("first", "second"), [(Kind.UPDATE, Kind.SUMMAND), (Kind.SUMMAND, Kind.UPDATE)])
def test_a_round_that_paid_for_one_release_does_not_pay_for_another(
    ledger: BudgetLedger, first: Kind, second: Kind
) -> None:
    ledger.charge(spend(1, kind=first), limit=LIMIT)
    with pytest.raises(ConflictError) as refused:
        ledger.charge(spend(1, kind=second), limit=LIMIT)
    assert refused.value.code is Code.ALREADY_EXISTS
    assert ledger.rounds_of(RUN) == {1}


# A ledger from before the kind of a release was kept.

OF_BEFORE = f"""
CREATE TABLE spend (
    number INTEGER PRIMARY KEY, run_id TEXT NOT NULL, round INTEGER NOT NULL, lineage TEXT NOT NULL, noise_multiplier REAL NOT NULL,
    sample_rate REAL NOT NULL, steps INTEGER NOT NULL, clipping_norm REAL NOT NULL, charged_at TEXT NOT NULL, previous TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE, UNIQUE (run_id, round)
) STRICT;
INSERT INTO spend VALUES (1, '{RUN}', 1, 'ggo', 1.5, 0.5, 3, 0.5, '2026-02-01T00:00:00Z', '{"0" * 64}', 'bd2929d35b8fa20414f760ec6ee67dd6c937af4df3b4f7cca0a4ae228c218e97');
INSERT INTO spend VALUES (2, '{RUN}', 2, 'ggo', 1.5, 0.5, 3, 0.5, '2026-02-02T00:00:00Z', 'bd2929d35b8fa20414f760ec6ee67dd6c937af4df3b4f7cca0a4ae228c218e97', '95e0e949b6d8cb6aef3bda241085ac1cf35fdbaa538e039f8adbb520ff472163');
"""


@pytest.fixture
def ledger_of_before(path: Path) -> BudgetLedger:
    sqlite3.connect(path).executescript(OF_BEFORE)
    return open_ledger(path)


def test_a_ledger_of_before_still_verifies_and_goes_on(ledger_of_before: BudgetLedger, path: Path) -> None:
    assert [entry.spend.kind for entry in ledger_of_before.history()] == [None, None]
    assert isinstance(ledger_of_before.charge(spend(3), limit=LIMIT), Charged)
    kinds = [entry.spend.kind for entry in open_ledger(path).history()]
    assert kinds == [None, None, Kind.UPDATE]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_charge_of_before_pays_for_nothing_that_is_asked_again(ledger_of_before: BudgetLedger, kind: Kind) -> None:
    with pytest.raises(ConflictError):
        ledger_of_before.charge(spend(2, kind=kind), limit=LIMIT)


@pytest.mark.parametrize("kind", ["'update'", "'gift'"])
def test_a_charge_of_before_is_given_no_kind_afterwards(ledger_of_before: BudgetLedger, path: Path, kind: str) -> None:
    hand = sqlite3.connect(path)
    hand.executescript(f"DROP TRIGGER spend_is_fixed; UPDATE spend SET kind = {kind} WHERE number = 2;")
    with pytest.raises(RefusedError) as broken:
        ledger_of_before.history()
    assert broken.value.code is Code.AUDIT_BROKEN


def test_a_forecast_charges_nothing_and_says_what_charging_would(ledger: BudgetLedger) -> None:
    ledger.charge(spend(1, OTHER), limit=LIMIT)
    said = ledger.forecast([spend(number) for number in range(1, 8)], limit=LIMIT)
    assert len(ledger.history()) == 1
    outcomes = [ledger.charge(spend(number), limit=LIMIT) for number in range(1, said.passing + 2)]
    passed = [outcome for outcome in outcomes if isinstance(outcome, Charged)]
    assert len(passed) == said.passing
    assert (passed[-1].epsilon, passed[-1].epsilon_run) == (said.epsilon, said.epsilon_run)
    assert isinstance(outcomes[-1], Refused)


def test_a_period_has_a_limit_of_its_own_and_comes_to_an_end(path: Path) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    ledger = ledgers.open_ledger(path, lambda: now)
    tight = replace(LIMIT, epsilon_total=100.0, epsilon_per_run=100.0, epsilon_per_period=5.5, period_days=30)
    assert isinstance(ledger.charge(spend(1), limit=tight), Charged)
    now += timedelta(days=20)
    assert isinstance(ledger.charge(spend(2), limit=tight), Charged)
    assert isinstance(ledger.charge(spend(3), limit=tight), Refused)
    now += timedelta(days=10)
    outcome = ledger.charge(spend(3), limit=tight)
    assert isinstance(outcome, Charged)
    assert outcome.epsilon_period == epsilon([EVENT, EVENT], LIMIT.delta)
    assert outcome.epsilon == epsilon([EVENT, EVENT, EVENT], LIMIT.delta)


@pytest.mark.parametrize("sql", ["DELETE FROM spend", "UPDATE spend SET steps = 1"])
def test_the_database_itself_keeps_its_rows(path: Path, sql: str) -> None:
    ledger = open_ledger(path, rough_price)
    ledger.charge(spend(1), limit=LIMIT)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite3.connect(path).execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE spend SET noise_multiplier = 50 WHERE number = 1",
        "UPDATE spend SET charged_at = '2020-01-01T00:00:00Z' WHERE number = 2",
        "DELETE FROM spend WHERE number = 1",
        "DELETE FROM spend WHERE number = 3",
        "DELETE FROM spend WHERE number > 1",
        "DELETE FROM spend",
        "UPDATE spend SET number = 9 WHERE number = 3",
        "UPDATE spend SET kind = 'summand' WHERE number = 2",
        "UPDATE spend SET kind = NULL WHERE number = 3",
        "UPDATE spend SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE number = 3",
    ],
)
def test_whoever_removes_the_triggers_is_noticed(path: Path, sql: str) -> None:
    ledger = open_ledger(path, rough_price)
    for number in (1, 2, 3):
        ledger.charge(spend(number, event=replace(EVENT, noise_multiplier=9.0)), limit=LIMIT)
    hand = sqlite3.connect(path)
    hand.executescript(f"DROP TRIGGER spend_is_kept; DROP TRIGGER spend_is_fixed; {sql};")
    with pytest.raises(RefusedError) as broken:
        ledger.charge(spend(4), limit=LIMIT)
    assert broken.value.code is Code.AUDIT_BROKEN


def test_a_ledger_that_lost_its_end_is_broken_whoever_reads_it(path: Path) -> None:
    ledger = open_ledger(path, rough_price)
    for number in (1, 2):
        ledger.charge(spend(number), limit=LIMIT)
    sqlite3.connect(path).executescript("DROP TRIGGER spend_is_kept; DELETE FROM spend WHERE number = 2;")
    fresh = open_ledger(path, rough_price)
    readers: list[Callable[[], object]] = [
        fresh.history, lambda: fresh.epsilon(1e-5), lambda: fresh.forecast([spend(3)], limit=LIMIT), lambda: fresh.rounds_of(RUN),
        lambda: fresh.charge(spend(2), limit=LIMIT),
    ]  # fmt: skip
    for read in readers:
        with pytest.raises(RefusedError) as broken:
            read()
        assert broken.value.code is Code.AUDIT_BROKEN
        assert "charge 2" in str(broken.value)


def test_a_charge_whose_mark_was_lost_to_a_death_is_marked_when_it_is_asked_for_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    ledger = open_ledger(path, rough_price)
    with monkeypatch.context() as patch:
        patch.setattr(ChargeMarks, "note", die)
        with pytest.raises(Killed):
            ledger.charge(spend(1), limit=LIMIT)
    (entry,) = ledger.history()
    marks = ChargeMarks(AuditChain(connect(path, audit.SCHEMA), path.with_name(HEAD_FILE), lambda: NOW))
    assert marks.noted() == []
    for _ in range(2):
        ledger.charge(spend(1), limit=LIMIT)
    assert marks.noted() == [(1, entry.hash)]


def _charge_in_turn(path: Path, run_id: str, gate: "multiprocessing.synchronize.Barrier") -> None:
    ledger = open_ledger(path, rough_price)
    gate.wait(60)
    for number in range(1, 5):
        ledger.charge(spend(number, run_id), limit=RACED)


def test_processes_that_race_never_exceed_the_limit_together(path: Path) -> None:
    open_ledger(path)
    context = multiprocessing.get_context("forkserver")
    gate = context.Barrier(3)
    children = [context.Process(target=_charge_in_turn, args=(path, digit * 32, gate)) for digit in ("a", "b", "c")]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
        assert child.exitcode == 0
    entries = open_ledger(path).history()
    spent = [entry.spend.event for entry in entries]
    assert rough_price(spent, LIMIT.delta) <= RACED.epsilon_total < rough_price([*spent, EVENT], LIMIT.delta)


events = st.builds(
    Event, noise_multiplier=st.floats(0.5, 8.0), sample_rate=st.floats(0.05, 1.0), steps=st.integers(1, 20),
    clipping_norm=st.just(1.0),
)  # fmt: skip


# Two ledgers over one database, each charging while the other adds up. One thread, so that each case can be played again.

PERIOD_DAYS = 30

asks = st.tuples(st.sampled_from([RUN, OTHER]), st.integers(1, 4), events, st.integers(0, 20))
"""A run, a round, what it costs, and how many days pass before it is asked for."""


class TwoLedgers:
    """While one computes a price, the other takes the next of what is asked, as often as `turns` says so."""

    def __init__(self, path: Path, asked: list[tuple[str, int, Event, int]], turns: list[bool], limit: Limit) -> None:
        self.asked, self.turns, self.limit, self.now = asked, turns, limit, NOW
        self.ledgers = [ledgers.open_ledger(path, lambda: self.now, price=self._price) for _ in range(2)]
        self.interrupted = 0

    def play(self) -> None:
        while self.asked:
            self._charge_next()

    def _charge_next(self) -> None:
        run_id, number, event, days = self.asked.pop(0)
        self.now += timedelta(days=days)
        self.ledgers.reverse()
        with suppress(ConflictError):  # a round that was charged with other numbers
            self.ledgers[0].charge(spend(number, run_id, event), limit=self.limit)

    def _price(self, spent: Sequence[Event], delta: float) -> float:
        if self.asked and self.turns and self.turns.pop():
            self.interrupted += 1
            self._charge_next()
        return rough_price(spent, delta)


@settings(max_examples=80, deadline=None)
@given(
    asked=st.lists(asks, max_size=8), turns=st.lists(st.booleans(), max_size=24), total=st.floats(0.0, 3.0),
    per_run=st.floats(0.0, 3.0), per_period=st.floats(0.0, 3.0),
)  # fmt: skip
def test_no_interleaving_of_charges_passes_a_cap(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, int, Event, int]], turns: list[bool],
    total: float, per_run: float, per_period: float,
) -> None:  # fmt: skip
    limit = Limit(
        epsilon_total=total, epsilon_per_run=per_run, delta=1e-5, epsilon_per_period=per_period, period_days=PERIOD_DAYS
    )
    two = TwoLedgers(tmp_path_factory.mktemp("ledger") / "node.db", list(asked), list(turns), limit)
    two.play()
    event(f"interrupted {min(two.interrupted, 3)} times")
    entries = two.ledgers[0].history()
    assert len({(entry.spend.run_id, entry.spend.round) for entry in entries}) == len(entries)
    assert rough_price([entry.spend.event for entry in entries], limit.delta) <= total
    for run_id in (RUN, OTHER):
        assert (
            rough_price([each.spend.event for each in entries if each.spend.run_id == run_id], limit.delta) <= per_run
        )
    for last in entries:
        since = datetime.fromisoformat(last.charged_at) - timedelta(days=PERIOD_DAYS)
        period = [each for each in entries[: last.number] if datetime.fromisoformat(each.charged_at) > since]
        assert rough_price([each.spend.event for each in period], limit.delta) <= per_period


def test_whoever_adds_up_a_history_that_has_grown_adds_up_anew(path: Path) -> None:
    """Room for one of two: the one that computed first comes second, and is refused."""
    limit = replace(RACED, epsilon_total=rough_price([EVENT], 1e-5), epsilon_per_period=1.0)
    two = TwoLedgers(path, [(RUN, 1, EVENT, 0), (OTHER, 1, EVENT, 0)], [True], limit)
    two.play()
    assert two.interrupted == 1
    assert [entry.spend.run_id for entry in two.ledgers[0].history()] == [OTHER]
