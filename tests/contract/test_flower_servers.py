"""Flower's own servers with their layers called, as against passed: every answer is the same, byte for byte.

And what the adapter replaces in them by name: each name is there, and looked up when it is used.
"""

import ast
import base64
import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, get_type_hints

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from flwr.app import ConfigRecord, RecordDict
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, runtime_pb2
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.linkstate import linkstate_factory
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    TASK_TOKEN_HEADER,
    TaskType,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import push_object_contents_from_iterable
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.primitives import asymmetric
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink import config_loader
from flwr.superlink import main as superlink_app
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.supernode import main as supernode_app
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate import NodeStateFactory
from google.protobuf.message import Message
from starlette.middleware.base import BaseHTTPMiddleware

from strategies.flower.layers import Chain, _is_chained, chained
from strategies.flower.state import LinkState
from tests.fakes.raw_asgi import Heard, heard

RUN = 7
PROTOBUF = (b"content-type", PROTOBUF_MEDIA_TYPE.encode())
CONTENT = RecordDict({"large": ConfigRecord({"w": b"w" * 300_000}), "small": ConfigRecord({"n": 1})})
OBJECTS = {name: one.deflate() for name, one in get_all_nested_objects(CONTENT).items()}

pytestmark = pytest.mark.filterwarnings("ignore:No path_separator:DeprecationWarning")  # Flower's alembic


class Pair:
    """One of Flower's servers twice, on the same state: with its layers called, and as it is."""

    def __init__(self, create_app: Callable[..., FastAPI], **given: Any) -> None:
        self.stock, self.ours = create_app(**given), chained(create_app)(**given)
        for name, value in self.stock.state._state.items():
            setattr(self.ours.state, name, value)

    def ask(self, path: str, *parts: bytes, **request: Any) -> Heard:
        """Both, with the same request; what they say, which must be the same."""
        stock, ours = heard(self.stock, path, *parts, **request), heard(self.ours, path, *parts, **request)
        assert _in_any_order(ours.essence) == _in_any_order(stock.essence)
        return ours


def _in_any_order(essence: tuple[Any, ...]) -> tuple[Any, ...]:
    """Read a body in JSON, such as the documentation, which names paths in the order in which they are tried."""
    return tuple(json.loads(one) if isinstance(one, bytes) and one.startswith(b"{") else one for one in essence)


@pytest.fixture(scope="module")
def supernode() -> Pair:
    return Pair(supernode_app.create_app, state_factory=NodeStateFactory(ObjectStoreFactory()))


@pytest.fixture(scope="module")
def superlink() -> Pair:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FLWR_DATABASE", raising=False)
        return Pair(superlink_app.create_app)


@pytest.fixture(params=["supernode", "superlink"])
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.getfixturevalue(request.param)
    return found


# Answers.


REQUESTS: dict[str, tuple[str, tuple[bytes, ...], dict[str, Any]]] = {
    "an unknown path": ("/v1/runtime/nowhere", (b"body",), {"headers": [PROTOBUF]}),
    "an unknown path elsewhere": ("/nowhere", (), {}),
    "health": ("/health", (), {"method": "GET"}),
    "health by another method": ("/health", (), {}),
    "another method": ("/v1/runtime/push-object", (), {"method": "GET"}),
    "no token": ("/v1/runtime/push-object", (b"",), {"headers": [PROTOBUF]}),
    "a wrong token": ("/v1/runtime/pull-object", (b"",), {"headers": [PROTOBUF, (TASK_TOKEN_HEADER.encode(), b"t")]}),
    "no media type": ("/v1/runtime/push-object", (b"",), {}),
    "another media type": ("/v1/runtime/push-object", (b"{}",), {"headers": [(b"content-type", b"application/json")]}),
    "broken protobuf": ("/v1/runtime/push-object", (b"\xff\xff",), {"headers": [PROTOBUF]}),
    "broken protobuf in many parts": ("/v1/runtime/push-object", (b"\xff",) * 50, {"headers": [PROTOBUF]}),
    "an odd version": ("/v1/runtime/acquire-task", (b"",), {"headers": [PROTOBUF, (b"flwr-package-version", b"none")]}),
    "a question for a task": ("/v1/runtime/acquire-task", (b"",), {"headers": [PROTOBUF]}),
    "a node without a signature": ("/v1/fleet/pull-messages", (b"",), {"headers": [PROTOBUF]}),
    "a node of another form": ("/v1/fleet/push-object", (b"\xff",), {"headers": [PROTOBUF]}),
    "the control api": ("/v1/control/stop-run", (b"",), {"headers": [PROTOBUF]}),
    "the control api, broken": ("/v1/control/start-run", (b"\xff",), {"headers": [PROTOBUF]}),
    "the documentation": ("/openapi.json", (), {"method": "GET"}),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_every_answer_is_the_stock_servers(pair: Pair, what: str) -> None:
    path, parts, request = REQUESTS[what]
    assert pair.ask(path, *parts, **request).status is not None


@pytest.mark.parametrize(
    "path", ["/v1/runtime/push-object", "/v1/runtime/nowhere", "/v1/fleet/pull-messages", "/health"]
)
def test_a_caller_who_hangs_up_half_way_is_met_as_the_stock_server_does(pair: Pair, path: str) -> None:
    pair.ask(path, b"\x08", b"\x01", headers=[PROTOBUF], hangs_up=True)


# A whole way of objects.


@pytest.fixture
def task(supernode: Pair) -> tuple[bytes, str]:
    """Token of a task in a SuperNode, and a session in which the objects of a message are awaited."""
    state = supernode.stock.state.runtime_state_factory.state()
    state.object_store.clear()
    number = state.create_task(TaskType.CLIENT_APP, RUN)
    token = state.claim_task(number)
    assert state.activate_task(number)
    session = state.start_session(RUN)
    state.preregister_object_tree(get_object_tree(CONTENT), session)
    return token.encode(), session


@pytest.mark.parametrize("pushes", ["stock", "ours"])
@pytest.mark.parametrize("size", [999, 65_536, 10**9])
def test_a_supernode_takes_objects_and_gives_them(
    supernode: Pair, task: tuple[bytes, str], pushes: str, size: int
) -> None:
    token, session = task
    said = [PROTOBUF, (TASK_TOKEN_HEADER.encode(), token)]
    for name, content in OBJECTS.items():
        asked = message_pb2.PullObjectRequest(run_id=RUN, object_id=name).SerializeToString()
        before = supernode.ask("/v1/runtime/pull-object", asked, headers=said)
        assert message_pb2.PullObjectResponse.FromString(before.body) == message_pb2.PullObjectResponse(
            object_found=True
        )
        push = message_pb2.PushObjectRequest(run_id=RUN, session_id=session, object_id=name, object_content=content)
        body = push.SerializeToString()
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        answer = heard(getattr(supernode, pushes), "/v1/runtime/push-object", *parts, headers=said)
        assert message_pb2.PushObjectResponse.FromString(answer.body).stored
        assert not message_pb2.PushObjectResponse.FromString(
            supernode.ask("/v1/runtime/push-object", *parts, headers=said).body
        ).stored, "it is here already"
        after = supernode.ask("/v1/runtime/pull-object", asked, headers=said)
        assert message_pb2.PullObjectResponse.FromString(after.body).object_content == content
    beat = runtime_pb2.SendTaskHeartbeatRequest().SerializeToString()
    answer = supernode.ask("/v1/runtime/send-task-heartbeat", beat, headers=said)
    assert runtime_pb2.SendTaskHeartbeatResponse.FromString(answer.body).success


def signed(key: Any, public: bytes) -> list[tuple[bytes, bytes]]:
    when = datetime.now(UTC).isoformat()
    signature = asymmetric.sign_message(key, when.encode())
    return [
        (FLEET_HTTP_PUBLIC_KEY_HEADER.encode(), base64.b64encode(public)), (TIMESTAMP_HEADER.encode(), when.encode()),
        (FLEET_HTTP_SIGNATURE_HEADER.encode(), base64.b64encode(signature)), PROTOBUF,
    ]  # fmt: skip


def test_a_superlink_knows_its_nodes_by_their_signature_and_answers_them(superlink: Pair) -> None:
    key, public = asymmetric.generate_key_pairs()
    raw = asymmetric.public_key_to_bytes(public)
    state = superlink.stock.state.linkstate_factory.state()
    number = state.create_node("", "", raw, heartbeat_interval=30)
    assert state.activate_node(number, 30)
    node, headers = Node(node_id=number), signed(key, raw)
    beat = heartbeat_pb2.SendNodeHeartbeatRequest(node=node, heartbeat_interval=30).SerializeToString()
    answer = superlink.ask("/v1/fleet/send-node-heartbeat", beat, headers=headers)
    assert heartbeat_pb2.SendNodeHeartbeatResponse.FromString(answer.body).success
    work = fleet_pb2.PullMessagesRequest(node=node).SerializeToString()
    assert superlink.ask("/v1/fleet/pull-messages", work, headers=headers).essence[0] == 200
    assert superlink.ask("/v1/fleet/pull-messages", work, headers=[PROTOBUF]).status == 401
    assert superlink.ask("/v1/fleet/pull-messages", work, headers=signed(asymmetric.generate_key_pairs()[0], raw)).status == 401  # fmt: skip
    of_another = fleet_pb2.PullMessagesRequest(node=Node(node_id=number + 1)).SerializeToString()
    assert superlink.ask("/v1/fleet/pull-messages", of_another, headers=headers).status == 401
    push = message_pb2.PushObjectRequest(node=node, run_id=RUN, object_id="0" * 64).SerializeToString()
    assert superlink.ask("/v1/fleet/push-object", push, headers=headers).status is not None


# What the adapter takes for granted of them.


def test_all_layers_of_both_servers_can_be_called(pair: Pair) -> None:
    """If not, the server does not start, and says so."""
    assert len(pair.stock.user_middleware) >= 3
    (layer,) = pair.ours.user_middleware
    assert layer.cls is Chain
    assert [one.cls for one in layer.kwargs["layers"]] == [one.cls for one in pair.stock.user_middleware]
    assert all(issubclass(one.cls, BaseHTTPMiddleware) for one in pair.stock.user_middleware)


def test_no_layer_does_more_than_its_one_function(pair: Pair) -> None:
    """What is in `dispatch` is called; a layer with a `__call__` of its own would do something that is not."""
    for layer in pair.stock.user_middleware:
        assert layer.cls.__call__ is BaseHTTPMiddleware.__call__, layer


def test_no_answer_of_the_two_apis_is_a_stream(pair: Pair) -> None:
    answers = {}
    for context in iter_route_contexts(pair.stock.routes):
        path = str(context.path)
        if isinstance(context.route, APIRoute) and _is_chained(path):
            answers[path] = get_type_hints(inspect.unwrap(context.route.endpoint))["return"]
    assert len(answers) >= 15
    assert all(isinstance(kind, type) and issubclass(kind, Message) for kind in answers.values()), answers


def test_the_routes_asked_for_most_are_tried_first_and_no_path_has_two_routes(pair: Pair) -> None:
    """So it makes no difference in which order they are tried but to the time that it takes."""
    stock, ours = ([str(one.path) for one in iter_route_contexts(app.routes)] for app in (pair.stock, pair.ours))
    assert sorted(stock) == sorted(ours)
    assert _is_chained(ours[0])
    chained_paths = [path for path in stock if _is_chained(path)]
    assert len(set(chained_paths)) == len(chained_paths)


def looked_up(function: Callable[..., Any], name: str) -> bool:
    """Say whether a function reads `name` from its module when it runs, and calls it."""
    tree = ast.parse(inspect.getsource(function).lstrip())
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return name in called and name in function.__globals__ and name not in function.__code__.co_varnames


def imported_when_called(function: Callable[..., Any], module: str) -> bool:
    """Say whether a function imports `create_app` from a module when it runs."""
    tree = ast.parse(inspect.getsource(function).lstrip())
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == module
        and [one.name for one in node.names] == ["create_app"]
        for node in ast.walk(tree)
    )


def test_the_names_that_are_replaced_in_a_superlink_are_looked_up_when_they_are_used() -> None:
    program = import_module("flwr.superlink.cli.flower_superlink")
    assert config_loader.ObjectStoreFactory is ObjectStoreFactory
    assert looked_up(config_loader.get_objectstore_linkstate_factories, "ObjectStoreFactory")
    assert linkstate_factory.SqlLinkState is SqlLinkState
    assert looked_up(linkstate_factory.LinkStateFactory.state, "SqlLinkState")
    assert imported_when_called(program._run_superlink_http_api, "flwr.superlink.main")
    assert looked_up(superlink_app.create_app, "get_objectstore_linkstate_factories")


def test_the_state_that_is_written_less_often_has_the_two_methods_and_uses_them() -> None:
    assert list(inspect.signature(SqlLinkState._cleanup_expired_task_tokens).parameters) == ["self"]
    assert str(inspect.signature(SqlLinkState.store_traffic)) == str(inspect.signature(LinkState.store_traffic))
    assert "self._cleanup_expired_task_tokens()" in inspect.getsource(SqlLinkState.get_run_status)
    for handler in (fleet_handlers.push_object, fleet_handlers.pull_object):
        assert "state.store_traffic(" in inspect.getsource(handler)
    token = inspect.getsource(SqlLinkState.get_task_by_token)
    assert "active_until" in token, "a task that died is let in by nobody, looked for or not"


def test_the_names_that_are_replaced_in_a_supernode_are_looked_up_when_they_are_used() -> None:
    program = import_module("flwr.supernode.cli.flower_supernode")
    assert program.ObjectStoreFactory is ObjectStoreFactory
    assert looked_up(program.flower_supernode, "ObjectStoreFactory")
    assert imported_when_called(program._start_supernode_http_api, "flwr.supernode.main")
    assert start_client_internal.push_object_contents_from_iterable is push_object_contents_from_iterable
    assert looked_up(start_client_internal._push_messages, "push_object_contents_from_iterable")
    assert looked_up(start_client_internal.start_client_internal, "_pull_and_store_message")
    assert next(iter(inspect.signature(push_object_contents_from_iterable).parameters)) == "object_contents"
    call = "push_object_contents_from_iterable(yield_object_contents(object_tree, ids_obj_to_send), push_object_fn="
    assert call in ast.unparse(ast.parse(inspect.getsource(start_client_internal._push_messages)))
