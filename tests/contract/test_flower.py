"""What `strategies/flower/` takes for granted of Flower 1.41. A newer Flower that no longer keeps it turns this file red.

The SuperLink's side of a round is tested against Flower's own state and handlers, and the double that the unit tests use against the same
suite, so that it cannot drift from the original.
"""

import ast
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode, SubStatus
from flwr.common.serde import message_from_proto
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.server.superlink.linkstate import linkstate_factory
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import ApiErrorCode
from flwr.supercore.error.catalog import API_ERROR_MAP
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree, pull_objects
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid
from flwr.supernode import start_client_internal
from flwr.supernode.cli import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState
from flwr.supernode.runtime import run_clientapp
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from protocol.codes import Code
from server.authority import certificate_pem, make_authority
from server.fleet import _PATH, HOLD_SECONDS, PULL, PULL_OBJECT, PUSH_OBJECT
from strategies.arrays import arrays_sha256
from strategies.flower import FOLDER_VARIABLE, QUIET, faults, questions, supernode
from strategies.flower.desk import TaskDesk
from strategies.flower.faults import REFUSED_BY_SITE
from strategies.flower.fleet import Fleet, build_bundle
from strategies.flower.objects import FileObjectStore, SharedObjectStoreFactory
from strategies.flower.pieces import share, shared_pieces
from strategies.flower.questions import Answer, Waiting, ask
from strategies.flower.state import LinkState
from strategies.message import pack_notice, pack_order
from tests.fakes import linkstate
from tests.fakes.centre_home import supernode_key
from tests.fakes.linkstate import RealSuperLink
from tests.fakes.outcomes import code_of
from tests.fakes.ports import free_port
from tests.fakes.rounds import a_notice, an_order, weights
from tests.fakes.superlink import RUN_NUMBER, MemorySuperLink, within_a_task

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("client", "server", "registry_api", "strategies", "models", "identity", "protocol", "deploy", "bench")
PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.serverapp"}

GOOD = pack_notice(a_notice(weights(1)), weights(1))
OTHER = pack_notice(a_notice(weights(2)), weights(2))

SuperLink = RealSuperLink | MemorySuperLink

pytestmark = pytest.mark.filterwarnings("ignore:No path_separator:DeprecationWarning")  # Flower's alembic


# One folder touches what is private (`tests/unit/test_architecture.py`).


def test_nobody_reaches_for_it_by_another_way() -> None:
    words = ("import_module(", "__import__(")
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not any(word in text and "flwr" in text for word in words), path


def test_the_minor_version_is_pinned() -> None:
    assert version("flwr").startswith("1.41.")
    assert "flwr>=1.41,<1.42" in (ROOT / "pyproject.toml").read_text()


# Names and signatures.


@pytest.mark.parametrize("name", ["ListNodes", "ListRuns", "RegisterNode", "StartRun", "StopRun", "UnregisterNode"])
def test_the_control_api_has_what_the_fleet_calls(name: str) -> None:
    assert callable(getattr(ControlHttpClient, name))


@pytest.mark.parametrize(
    "name",
    ["AcquireTask", "PullTaskInput", "PullMessages", "PullObject", "ConfirmMessageReceived", "SendTaskHeartbeat"],
)
def test_the_runtime_api_has_what_rounds_and_runners_call(name: str) -> None:
    assert callable(getattr(RuntimeHttpClient, name))


def test_the_grid_has_what_a_round_reads_of_it() -> None:
    for name in ("_runtime_client", "run", "get_node_ids", "push_messages"):
        assert hasattr(HttpGrid, name)
    assert SUPERLINK_NODE_ID == 1


def test_the_waits_that_the_adapter_replaces_are_still_there() -> None:
    """When Flower itself no longer waits 3 s, the adapter's own pull loop may go."""
    assert "time.sleep(3)" in inspect.getsource(HttpGrid.send_and_receive)


def uses_of(module: ModuleType, name: str) -> list[str]:
    """Every expression in a module that begins with the global `name`, as it is written."""
    tree = ast.parse(inspect.getsource(module))
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name:
            whole = parents[node]
            while isinstance(parents[whole], ast.Attribute | ast.Call) and not isinstance(whole, ast.Call):
                whole = parents[whole]
            found.append(ast.unparse(whole))
    return sorted(found)


def test_the_supernodes_loop_waits_as_the_adapter_takes_for_granted() -> None:
    """Of `time` it calls `sleep` alone: 3 s for work, half a second for the runner's reply and for each of its pieces."""
    assert uses_of(start_client_internal, "time") == ["time.sleep(0.5)", "time.sleep(0.5)", "time.sleep(3)"]
    assert supernode._FLOWERS_IDLE_SECONDS == 3
    assert flower_supernode.__globals__["start_client_internal"] is start_client_internal.start_client_internal


@pytest.mark.parametrize(
    ("module", "function"),
    [(start_client_internal, pull_objects), (run_clientapp, pull_and_inflate_object_from_tree)],
)
def test_a_piece_that_is_not_there_yet_is_asked_for_by_functions_that_can_be_told_how_soon(
    module: ModuleType, function: Callable[..., object]
) -> None:
    (call,) = uses_of(module, function.__name__)
    assert "backoff" not in call
    assert "max_tries" not in call
    parameters = inspect.signature(function).parameters
    assert parameters["initial_backoff"].default >= 1, "it waits for seconds no more: the adapter's own may go"
    assert {"initial_backoff", "backoff_cap", "max_tries_per_object"} <= set(parameters)


@pytest.fixture
def broken_off(monkeypatch: pytest.MonkeyPatch) -> tuple[InMemoryNodeState, dict[str, Any]]:
    """A SuperNode's state, and a message whose run ends while its pieces are fetched, as when the SuperLink was killed."""
    within_a_task(monkeypatch)
    objects = ObjectStoreFactory().store()
    state = InMemoryNodeState(objects)
    run = SimpleNamespace(run_id=RUN_NUMBER, fab_hash="f", primary_task_type="flwr-serverapp")
    state.store_run(run)  # type: ignore[arg-type]
    message = Message(RecordDict({"words": ConfigRecord({"n": 1})}), dst_node_id=3, message_type="train", ttl=60.0)
    message.metadata.__dict__["_message_id"] = message.object_id
    tree = get_object_tree(message)

    def ended(*_: object) -> bytes:
        raise RunNotRunningException

    asked = {
        "state": state, "object_store": objects, "node_config": {}, "trusted_entities": None,
        "receive": lambda: (remove_content_from_message(message), tree), "get_run": ended, "get_fab": ended,
        "pull_object": ended, "confirm_message_received": ended,
    }  # fmt: skip
    return state, asked


def test_a_supernode_by_itself_keeps_a_message_that_will_never_be_whole(
    broken_off: tuple[InMemoryNodeState, dict[str, Any]],
) -> None:
    """When this fails, Flower lets go of it by itself, and `let_go` may go."""
    state, asked = broken_off
    assert start_client_internal._pull_and_store_message(**asked) is None
    assert len(state.get_messages_legacy(is_reply=False)) == 1


def test_our_supernode_lets_go_of_a_message_that_will_never_be_whole(
    broken_off: tuple[InMemoryNodeState, dict[str, Any]],
) -> None:
    """Neither does the runner wait for its pieces, nor does an answer of Flower's own making stand before the next message's."""
    state, asked = broken_off
    assert supernode.let_go(start_client_internal._pull_and_store_message)(**asked) is None
    assert state.get_messages_legacy() == []
    assert asked["object_store"].get(asked["receive"]()[1].object_id) is None


@pytest.mark.parametrize("received", [True, False])
def test_our_supernode_lets_go_of_nothing_else(received: bool) -> None:
    """A message that came whole, and a question for work to which there was none."""
    message = SimpleNamespace(metadata=SimpleNamespace(message_id="m"))

    def pull(*, receive: Callable[[], object], **_: object) -> int | None:
        return RUN_NUMBER if receive() else None

    found = supernode.let_go(pull)(state=None, object_store=None, receive=lambda: (message, None) if received else None)
    assert found == (RUN_NUMBER if received else None)


def test_our_supernode_is_the_stock_one() -> None:
    command = [sys.executable, "-m", "strategies.flower.supernode", "--version"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said == f"Flower version: {version('flwr')}\n"


LEAVES_TWICE = """
import time
from flwr.supernode import start_client_internal as loop
from flwr.supercore.telemetry import EventType
from strategies.flower.supernode import end_once

end_once(loop.register_signal_handlers)(event_type=EventType.RUN_SUPERNODE_LEAVE)
try:
    print("at work", flush=True)
    time.sleep(60)
finally:
    time.sleep(1)
    print("farewell", flush=True)
"""


def test_our_supernode_takes_its_leave_however_often_it_is_asked_to_end() -> None:
    """Flower's own handler gives the second signal to the default one, which ends the process in the midst of its farewell."""
    command = [sys.executable, "-c", LEAVES_TWICE]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **QUIET}, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "at work\n"
        for _ in range(2):
            child.terminate()
            time.sleep(0.3)
        assert child.stdout.read() == "farewell\n"
    assert child.returncode == 0


def test_a_runners_three_calls_are_as_they_were() -> None:
    assert list(inspect.signature(pull_task_input).parameters) == ["client"]
    assert list(inspect.signature(push_message).parameters) == ["client", "message", "context"]
    assert list(inspect.signature(push_task_output).parameters) == ["client", "context", "sub_status", "details"]
    assert SubStatus.COMPLETED == "completed"


def test_errors_have_the_numbers_that_rounds_read() -> None:
    assert (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE) == (3, 4, 5)
    own = {value for name, value in vars(ErrorCode).items() if name.isupper()}
    assert not {faults.REFUSED_BY_SITE, faults.FAULT_AT_SITE} & own


def test_a_heartbeat_can_be_stopped_at_once() -> None:
    beats: list[int] = []
    sender = HeartbeatSender(lambda: bool(beats.append(1)) or True)
    sender.start()
    assert sender.is_running
    sender.stop()
    assert not sender.is_running


def test_the_paths_that_the_door_holds_and_changes_are_a_supernodes() -> None:
    source = inspect.getsource(FleetHttpClient)
    for path in (PULL, PULL_OBJECT, PUSH_OBJECT):
        assert f'path="{path}"' in source


def test_a_superlink_without_work_writes_nothing_and_a_supernode_waits_longer_than_it_is_held() -> None:
    assert PullMessagesResponse(messages_list=[], message_object_trees=[]).SerializeToString() == b""
    assert inspect.signature(FleetHttpClient).parameters["timeout"].default > HOLD_SECONDS + 5


def test_every_path_of_a_supernode_fits_the_doors_pattern() -> None:
    calls = [name for name, value in vars(FleetHttpClient).items() if callable(value) and name[0].isupper()]
    assert len(calls) >= 10
    for line in inspect.getsource(FleetHttpClient).splitlines():
        if "path=" in line:
            path = line.partition('path="')[2].partition('"')[0]
            assert _PATH.fullmatch(path), path


# Bundles.


FILES = {
    "pyproject.toml": b"""[project]
name = "acinus"
version = "0.1.0"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41,<1.42"]
[tool.flwr.app]
publisher = "acinus"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["server/**/*.py", "client/app.py", "LICENSE"]
[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"
[tool.flwr.app.config]
run-dir = ""
""",
    "LICENSE": b"SPDX-License-Identifier: Apache-2.0\n",
    "server/app.py": b"app = 1\n",
    "client/app.py": b"app = 1\n",
}


def test_the_same_files_give_the_same_bundle_in_whatever_order() -> None:
    assert build_bundle(FILES) == build_bundle(dict(reversed(FILES.items())))


@pytest.mark.parametrize("missing", ["pyproject.toml", "LICENSE"])
def test_what_is_no_app_is_refused(missing: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        build_bundle({name: content for name, content in FILES.items() if name != missing})


# The SuperLink's side of a round.


class Ticks:
    """A clock on which each look at it takes a second."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture(params=["memory-double", ":flwr-in-memory:", "sqlite", "ours"])
def superlink(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SuperLink:
    """Flower's own, its double, and Flower's with our state and our store of files."""
    within_a_task(monkeypatch)
    monkeypatch.setattr(questions, "LOOK_SECONDS", 0)
    if request.param == "memory-double":
        return MemorySuperLink()
    monkeypatch.setattr(TaskIdentity, "_node_id", SUPERLINK_NODE_ID)
    if request.param != "ours":
        return RealSuperLink(str(tmp_path / "state.db") if request.param == "sqlite" else request.param)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "pieces"))
    monkeypatch.setattr(linkstate, "ObjectStoreFactory", SharedObjectStoreFactory)
    monkeypatch.setattr(linkstate_factory, "SqlLinkState", LinkState)
    made: Any = RealSuperLink(str(tmp_path / "state.db"))
    assert isinstance(made.state, LinkState)
    assert isinstance(made.state.object_store, FileObjectStore)
    made.PushObject = None  # a round's messages come into this one without a request
    return share(made, shared_pieces())  # type: ignore[return-value]


def pushed(superlink: SuperLink, *nodes: int) -> list[str]:
    content = pack_order(an_order(), weights())
    return superlink.push_messages(
        [Message(content, dst_node_id=node, message_type="train", ttl=600.0) for node in nodes]
    )


def envelopes(superlink: SuperLink, *message_ids: str) -> list[tuple[str, Error | None]]:
    """What the SuperLink hands out for these messages: which is answered, and by which error if by one."""
    answer = superlink.PullMessages(PullAppMessagesRequest(message_ids=message_ids))
    assert len(answer.messages_list) == len(answer.message_object_trees)
    messages = [message_from_proto(one) for one in answer.messages_list]
    return [(one.metadata.reply_to_message_id, one.error if one.has_error() else None) for one in messages]


def pull(superlink: SuperLink, name: str) -> tuple[bool, bool, bytes]:
    node, run = Node(node_id=SUPERLINK_NODE_ID), superlink.run.run_id
    answer = superlink.PullObject(PullObjectRequest(node=node, run_id=run, object_id=name))
    return answer.object_found, answer.object_available, answer.object_content


def test_messages_have_ids_and_those_to_nobody_have_none(superlink: SuperLink) -> None:
    if isinstance(superlink, MemorySuperLink):
        superlink.unknown = {424242}
    first, second, none = pushed(superlink, superlink.node("a"), superlink.node("b"), 424242)
    assert len({first, second}) == 2
    assert not none


def test_an_envelope_is_handed_out_once(superlink: SuperLink) -> None:
    node = superlink.node("a")
    (asked,) = pushed(superlink, node)
    assert envelopes(superlink, asked) == []
    superlink.reply(node, GOOD)
    assert envelopes(superlink, asked) == [(asked, None)]


def test_objects_are_there_when_the_site_has_sent_them_and_gone_when_we_say_so(superlink: SuperLink) -> None:
    node = superlink.node("a")
    (asked,) = pushed(superlink, node)
    upload = superlink.reply(node, GOOD, arrived=0)
    answer = superlink.PullMessages(PullAppMessagesRequest(message_ids=[asked]))
    names = questions._names_in(answer.message_object_trees[0])
    assert set(names) <= set(upload.objects)
    assert [pull(superlink, name)[:2] for name in names] == [(True, False)] * len(names)
    upload.finish()
    for name in names:
        assert pull(superlink, name) == (True, True, upload.objects[name])
    message_id = answer.messages_list[0].metadata.message_id
    confirm = ConfirmMessageReceivedRequest(
        node=Node(node_id=SUPERLINK_NODE_ID), run_id=superlink.run.run_id, message_object_id=message_id
    )
    superlink.ConfirmMessageReceived(confirm)
    assert pull(superlink, message_id)[0] is False


def test_who_asks_for_the_reply_of_a_node_that_is_away_gets_an_error_and_never_the_reply(superlink: SuperLink) -> None:
    """So the adapter does not ask while a node may only be late with its heartbeat."""
    node = superlink.node("a")
    (asked,) = pushed(superlink, node)
    superlink.go(node)
    assert node not in superlink.get_node_ids()
    ((answered, error),) = envelopes(superlink, asked)
    assert answered == asked
    assert error is not None
    assert error.code == ErrorCode.NODE_UNAVAILABLE


def test_nodes_that_are_online_are_listed(superlink: SuperLink) -> None:
    first, second = superlink.node("a"), superlink.node("b")
    pushed(superlink, first, second)
    assert set(superlink.get_node_ids()) == {first, second}
    superlink.go(second)
    assert set(superlink.get_node_ids()) == {first}
    superlink.come(second)
    assert set(superlink.get_node_ids()) == {first, second}


def asking(superlink: SuperLink, *nodes: int, seconds: float = 400) -> Iterator[Answer]:
    return ask(
        superlink,
        list(nodes),
        pack_order(an_order(), weights()),
        group="1",
        seconds=seconds,
        waiting=Waiting(clock=Ticks()),
    )


def begun(superlink: SuperLink, *nodes: int) -> Iterator[Answer]:
    """A round whose questions are out: the answer of a node that nobody knows is its first."""
    if isinstance(superlink, MemorySuperLink):
        superlink.unknown = {424242}
    answers = asking(superlink, *nodes, 424242)
    assert next(answers) == Answer(424242, Code.NODE_ABSENT)
    return answers


def test_a_round_takes_each_answer_as_it_comes(superlink: SuperLink) -> None:
    nodes = [superlink.node(name) for name in "abc"]
    answers = begun(superlink, *nodes)
    slow = superlink.reply(nodes[0], GOOD, arrived=2)
    superlink.reply(nodes[1], OTHER)
    assert next(answers).node_id == nodes[1]
    superlink.reply(nodes[2], Error(code=REFUSED_BY_SITE, reason="budget-spent"))
    assert next(answers) == Answer(nodes[2], Code.BUDGET_SPENT)
    slow.finish()
    last = next(answers)
    assert not isinstance(last.said, Code)
    assert arrays_sha256(last.said[1]) == arrays_sha256(weights(1))
    assert next(answers, None) is None


def test_a_node_whose_heartbeat_is_late_keeps_its_answer(superlink: SuperLink) -> None:
    node, other = superlink.node("a"), superlink.node("b")
    answers = begun(superlink, node, other)
    superlink.go(node)
    superlink.reply(other, OTHER)
    assert next(answers).node_id == other
    superlink.come(node)
    superlink.reply(node, GOOD)
    assert not isinstance(next(answers).said, Code)


def test_a_node_that_stays_away_is_absent(superlink: SuperLink) -> None:
    node = superlink.node("a")
    answers = begun(superlink, node)
    superlink.go(node)
    assert list(answers) == [Answer(node, Code.NODE_ABSENT)]


# A Flower that is not there.


CALLS: dict[str, Callable[[Fleet], object]] = {
    "nodes": Fleet.nodes,
    "register": lambda fleet: fleet.register("north", supernode_key()),
    "unregister": lambda fleet: fleet.unregister(1),
    "start_run": lambda fleet: fleet.start_run(b"", "", {}),
    "run_state": lambda fleet: fleet.run_state(1),
    "stop_run": lambda fleet: fleet.stop_run(1),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_superlink_that_is_away_is_one_error(made_ca: bytes, name: str) -> None:
    fleet = Fleet(f"127.0.0.1:{free_port()}", made_ca)
    assert code_of(lambda: CALLS[name](fleet)) is Code.PEER_UNREACHABLE
    fleet.close()


def test_a_run_of_which_a_superlink_knows_nothing_has_failed(made_ca: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state may be lost while ours is not: a run is taken up all the same. Flower says so with the status in its own list."""
    fleet = Fleet(f"127.0.0.1:{free_port()}", made_ca)
    status = API_ERROR_MAP[ApiErrorCode.RUN_ID_NOT_FOUND].http_status_code

    def unknown(request: object) -> None:
        answer = httpx.Response(status, request=httpx.Request("POST", "https://127.0.0.1"))
        raise httpx.HTTPStatusError("no such run", request=answer.request, response=answer)

    monkeypatch.setattr(fleet._client, "ListRuns", unknown)
    assert fleet.run_state(1).ended == "failed"
    fleet.close()


def test_a_supernode_that_is_away_is_one_error() -> None:
    desk = TaskDesk(f"127.0.0.1:{free_port()}", b"s" * 32)
    assert code_of(desk.next_task) is Code.PEER_UNREACHABLE
    desk.close()


@pytest.fixture
def made_ca() -> bytes:
    return certificate_pem(make_authority(datetime.now(UTC)).certificate)


def test_flowers_clients_raise_what_the_adapter_translates() -> None:
    assert issubclass(httpx.HTTPStatusError, httpx.HTTPError)
    assert issubclass(httpx.ConnectError, httpx.HTTPError)
