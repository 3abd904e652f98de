"""Flower's own SuperLink without HTTP: its state and its handlers, called in this process. The same face as `MemorySuperLink`."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from flwr.app import Error, Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto import message_pb2, runtime_pb2
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.server.superlink.linkstate import LinkState, LinkStateFactory
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.inflatable.inflatable_object import InflatableObject, get_all_nested_objects, get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers

OFFLINE_SINCE = 1_000.0


@dataclass
class Upload:
    """A reply that a site is sending."""

    run: int
    session: str
    objects: dict[str, bytes]
    to_push: list[str]
    state: LinkState

    def finish(self) -> None:
        self.push(len(self.to_push))

    def push(self, count: int) -> None:
        for name in self.to_push[:count]:
            assert self.state.store_object(self.run, self.session, name, self.objects[name])
        self.to_push = self.to_push[count:]


@dataclass
class RealSuperLink:
    """A run that has begun, at Flower's state in `database` (`:flwr-in-memory:` or a path)."""

    database: str
    asked: dict[int, Message] = field(default_factory=dict)

    def __post_init__(self) -> None:
        federation, objects = NoOpFederationManager(), ObjectStoreFactory(self.database)
        factory = LinkStateFactory(self.database, federation, objects)
        self.state = factory.state()
        federation.linkstate = self.state
        number = self.state.create_run("f/f", "1", "", {}, NOOP_FEDERATION_ID, None, "", TaskType.SERVER_APP)
        self.task = self.state.get_tasks(run_ids=[number])[0]
        self.state.claim_task(self.task.task_id)
        assert self.state.activate_task(self.task.task_id)
        TaskIdentity._run_id, TaskIdentity._task_id = number, self.task.task_id

    # What `ask` uses.

    @property
    def run(self) -> SimpleNamespace:
        return SimpleNamespace(run_id=self.task.run_id)

    @property
    def _runtime_client(self) -> "RealSuperLink":
        return self

    def get_node_ids(self) -> list[int]:
        answer = runtime_handlers.get_nodes(runtime_pb2.GetNodesRequest(), self.state, self.task)
        return [node.node_id for node in answer.nodes]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        protos, trees = [], []
        objects: dict[str, InflatableObject] = {}
        for message in messages:
            message.metadata.__dict__["_message_id"] = message.object_id
            protos.append(message_to_proto(remove_content_from_message(message)))
            trees.append(get_object_tree(message))
            objects |= get_all_nested_objects(message)
            self.asked[message.metadata.dst_node_id] = message
        request = runtime_pb2.PushAppMessagesRequest(messages_list=protos, message_object_trees=trees)
        answer = runtime_handlers.push_messages(request, self.state, self.task)
        for name in answer.objects_to_push:
            self.state.store_object(self.task.run_id, answer.session_id, name, objects[name].deflate())
        return list(answer.message_ids)

    def PullMessages(self, request: Any) -> runtime_pb2.PullAppMessagesResponse:  # noqa: N802
        return runtime_handlers.pull_messages(request, self.state, self.task)

    def PullObject(self, request: Any) -> message_pb2.PullObjectResponse:  # noqa: N802
        return runtime_handlers.pull_object(request, self.state, self.task)

    def ConfirmMessageReceived(self, request: Any) -> message_pb2.ConfirmMessageReceivedResponse:  # noqa: N802
        return runtime_handlers.confirm_message_received(request, self.state, self.task)

    # What a test does to it.

    def node(self, name: str) -> int:
        """A SuperNode that is online."""
        number = self.state.create_node("", "", name.encode(), heartbeat_interval=30)
        assert self.state.activate_node(number, 30)
        return number

    def go(self, node: int) -> None:
        """Let a node's heartbeat be late."""
        self.state.acknowledge_node_heartbeat(node, OFFLINE_SINCE - time.time())

    def come(self, node: int) -> None:
        self.state.acknowledge_node_heartbeat(node, 30)

    def reply(self, node: int, content: RecordDict | Error, *, arrived: int | None = None) -> Upload:
        """A site takes its message and answers; of the answer's objects only the first `arrived` are sent yet."""
        self.state.get_message_ins(node_id=node, limit=1)
        TaskIdentity._node_id = node
        message = Message(content, reply_to=self.asked[node])
        TaskIdentity._node_id = 1
        message.metadata.__dict__["_message_id"] = message.object_id
        proto, tree = message_to_proto(remove_content_from_message(message)), get_object_tree(message)
        objects = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
        request = PushMessagesRequest(messages_list=[proto], message_object_trees=[tree])
        answer = fleet_handlers.push_messages(request, self.state)
        upload = Upload(self.task.run_id, answer.session_id, objects, list(answer.objects_to_push), self.state)
        upload.push(len(objects) if arrived is None else arrived)
        return upload
