"""The SuperLink's side of a round, in memory: hands out envelopes once and objects as they come, as 1.41 does."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    ObjectTree,
    PullObjectRequest,
    PullObjectResponse,
)
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity

RUN_NUMBER, SUPERLINK = 7, 1


@dataclass
class Sent:
    """A reply at the SuperLink."""

    envelope: Any
    tree: ObjectTree
    objects: dict[str, bytes]
    arrived: int | None = None
    """How many of its objects have come so far; None for all."""
    lost: bool = False

    def finish(self) -> None:
        self.arrived = None


@dataclass
class MemorySuperLink:
    """A grid and the runtime API behind it. `unknown` are nodes that the SuperLink does not know, `away` those it takes for gone."""

    unknown: set[int] = field(default_factory=set)
    away: set[int] = field(default_factory=set)
    online: list[int] = field(default_factory=list)
    asked: dict[int, Message] = field(default_factory=dict)
    replies: dict[str, Sent] = field(default_factory=dict)
    handed_out: set[str] = field(default_factory=set)
    confirmed: list[str] = field(default_factory=list)
    pulls: int = 0

    @property
    def run(self) -> SimpleNamespace:
        return SimpleNamespace(run_id=RUN_NUMBER)

    @property
    def _runtime_client(self) -> "MemorySuperLink":
        return self

    def node(self, name: str) -> int:
        """A SuperNode that is online."""
        self.online.append(100 + len(self.online))
        return self.online[-1]

    def go(self, node: int) -> None:
        """Let a node's heartbeat be late."""
        self.away.add(node)

    def come(self, node: int) -> None:
        self.away.discard(node)

    def get_node_ids(self) -> list[int]:
        return [node for node in [*self.asked, *self.online] if node not in self.away | self.unknown]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = message.object_id
            self.asked[node] = message
            ids.append("" if node in self.unknown else message.metadata.message_id)
        return ids

    def reply(self, node: int, content: RecordDict | Error, **delivery: Any) -> Sent:
        """What the SuperLink gets when a site answers."""
        message = Message(content, reply_to=self.asked[node])
        message.metadata.__dict__["_message_id"] = message.object_id
        objects = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
        envelope = message_to_proto(remove_content_from_message(message))
        sent = Sent(envelope, get_object_tree(message), objects, **delivery)
        self.replies[self.asked[node].metadata.message_id] = sent
        return sent

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:  # noqa: N802
        for node in self.away:  # whoever asks for the reply of such a node gets this one, and never another
            asked = self.asked[node].metadata.message_id
            if asked in request.message_ids and asked not in self.handed_out:
                self.reply(node, Error(code=5, reason="Node Unavailable"))
        ready = [one for one in request.message_ids if one in self.replies and one not in self.handed_out]
        self.handed_out |= set(ready)
        return PullAppMessagesResponse(
            messages_list=[self.replies[one].envelope for one in ready],
            message_object_trees=[self.replies[one].tree for one in ready],
        )

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:  # noqa: N802
        assert (request.run_id, request.node.node_id) == (RUN_NUMBER, SUPERLINK)
        self.pulls += 1
        held = [one for one in self.replies.values() if one.envelope.metadata.message_id not in self.confirmed]
        holders = [one for one in held if request.object_id in one.objects and not one.lost]
        there = [one for one in holders if request.object_id in list(one.objects)[: one.arrived]]
        return PullObjectResponse(
            object_found=bool(holders),
            object_available=bool(there),
            object_content=there[0].objects[request.object_id] if there else b"",
        )

    def ConfirmMessageReceived(  # noqa: N802
        self, request: ConfirmMessageReceivedRequest
    ) -> ConfirmMessageReceivedResponse:
        self.confirmed.append(request.message_object_id)
        return ConfirmMessageReceivedResponse()


def within_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower builds messages only inside a task; say that we are in the ServerApp's."""
    for name, value in {"_task_id": 3, "_run_id": RUN_NUMBER, "_node_id": 1}.items():
        monkeypatch.setattr(TaskIdentity, name, value)
