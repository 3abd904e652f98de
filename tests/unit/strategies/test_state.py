"""A SuperLink's state on a real SQLite file: what it writes less often is still found in time, and all else is Flower's."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.common.constant import Status, SubStatus
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.corestate import sql_corestate
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager
from sqlalchemy import event, update

from strategies.flower import state as state_module
from strategies.flower.state import TIDY_SECONDS, LinkState

pytestmark = pytest.mark.filterwarnings("ignore:No path_separator:DeprecationWarning")  # Flower's alembic

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class State:
    """A state of one run whose task runs, with all statements that it sends to its database."""

    def __init__(self, kind: type[SqlLinkState], path: Path) -> None:
        federation = NoOpFederationManager()
        self.state = kind(str(path), federation, ObjectStoreFactory().store())
        self.state.initialize()
        federation.linkstate = self.state
        self.run = self.state.create_run("f/f", "1", "", {}, NOOP_FEDERATION_ID, None, "", TaskType.SERVER_APP)
        (task,) = self.state.get_tasks(run_ids=[self.run])
        self.task = task.task_id
        self.state.claim_task(self.task)
        assert self.state.activate_task(self.task)
        self.said: list[str] = []
        assert self.state._engine is not None
        event.listen(self.state._engine, "before_cursor_execute", self._hear)

    def _hear(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        self.said.append(statement)

    @property
    def writes(self) -> int:
        return len([one for one in self.said if not one.lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN"))])

    def lapse(self) -> None:
        """Let the heartbeat of the run's task have been due long ago."""
        model = sql_corestate.TaskModel
        with self.state.session() as session:
            session.execute(update(model).values(active_until=LONG_AGO))
        self.said.clear()

    def status(self) -> tuple[str, str]:
        found = self.state.get_run_status({self.run})[self.run]
        return found.status, found.sub_status

    def close(self) -> None:
        assert self.state._engine is not None
        self.state._engine.dispose()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of our own state, which stands still unless it is set."""
    clock = [1000.0]
    monkeypatch.setattr(state_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[type[SqlLinkState]], State]:
    def make(kind: type[SqlLinkState]) -> State:
        state = State(kind, tmp_path / f"{kind.__name__}.db")
        request.addfinalizer(state.close)
        return state

    return make


@pytest.fixture
def state(made: Callable[[type[SqlLinkState]], State], now: list[float]) -> State:
    state = made(LinkState)
    now[0] += TIDY_SECONDS
    return state


def test_flowers_own_state_writes_whenever_it_is_asked_how_a_run_is(
    made: Callable[[type[SqlLinkState]], State],
) -> None:
    """When this fails, Flower looks less often by itself, and ours may go."""
    stock = made(SqlLinkState)
    for _ in range(5):
        assert stock.status() == (Status.RUNNING, "")
    assert stock.writes >= 5


def test_ours_looks_for_tasks_that_died_once_and_not_again_before_its_time(state: State, now: list[float]) -> None:
    for _ in range(5):
        assert state.status() == (Status.RUNNING, "")
    once = state.writes
    assert 1 <= once < 5
    now[0] += TIDY_SECONDS - 0.01
    state.status()
    assert state.writes == once
    now[0] += 0.01
    state.status()
    assert state.writes == 2 * once


def test_a_state_that_was_just_opened_looks_at_once(
    made: Callable[[type[SqlLinkState]], State], now: list[float]
) -> None:
    now[0] = 0.0  # a machine that has just started
    looked: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlLinkState, "_cleanup_expired_task_tokens", lambda _: looked.append(now[0]))
        made(LinkState)
    assert looked == [0.0]


def test_a_task_that_died_is_found_by_the_next_look(state: State, now: list[float]) -> None:
    state.status()
    state.lapse()
    now[0] += TIDY_SECONDS / 2
    assert state.status() == (Status.RUNNING, "")
    now[0] += TIDY_SECONDS / 2
    assert state.status() == (Status.FINISHED, SubStatus.FAILED)


def test_a_task_that_died_is_not_let_in_even_before_that(state: State) -> None:
    state.status()
    token = state.state.get_tasks(task_ids=[state.task])[0]
    assert state.state.acknowledge_task_heartbeat(token.task_id)
    state.lapse()
    assert not state.state.acknowledge_task_heartbeat(state.task)


def test_no_bytes_are_counted(state: State, made: Callable[[type[SqlLinkState]], State]) -> None:
    state.state.store_traffic(state.run, bytes_sent=5, bytes_recv=7)
    state.state.store_traffic(424242, bytes_sent=0, bytes_recv=0)
    assert state.said == []
    (run,) = state.state.get_run_info(run_ids=[state.run])
    assert (run.bytes_sent, run.bytes_recv) == (0, 0)
    stock = made(SqlLinkState)
    stock.state.store_traffic(stock.run, bytes_sent=5, bytes_recv=7)
    assert stock.writes == 1, "as Flower's own does"


def test_all_else_is_flowers_own() -> None:
    own = {name for name, value in vars(LinkState).items() if inspect.isfunction(value)}
    assert own == {"__init__", "_cleanup_expired_task_tokens", "store_traffic"}
