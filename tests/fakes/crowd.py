"""A SuperLink's side of a round with any number of simulated sites behind it, in this process: no Ray, no sockets.

A site's reply is made when it is asked for and forgotten when it was taken, so that a thousand sites cost the memory of one, and what a
round of theirs needs is what the centre needs. `MemorySuperLink` is the double for the protocol's corners; this one is for numbers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
)
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)

from protocol.plan import RoundOrder, UpdateNotice
from protocol.shape import canonical_json
from strategies.arrays import Arrays, arrays_sha256
from strategies.message import NOTICE, pack_notice, unpack_order
from tests.fakes.rounds import a_notice
from tests.fakes.superlink import RUN_NUMBER


class Update:
    """What a site answers, cut into records once, whichever and how many sites answer it."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays, self.sha256 = arrays, arrays_sha256(arrays)
        with no_object_id_recompute():
            packed = pack_notice(a_notice(arrays), arrays)
            self.words = dict(packed.config_records[NOTICE])
            self.more = {name: record for name, record in packed.config_records.items() if name != NOTICE}
            self.shared = {one.object_id for one in self.more.values()}

    def content(self, order: RoundOrder, site: str) -> RecordDict:
        """A reply of `site` that is bound to `order`."""
        notice = UpdateNotice(
            run_id=order.run_id, round=order.round, site=site, base_sha256=order.base_sha256, update_sha256=self.sha256,
            epsilon=0.5, delta=1e-5,
        )  # fmt: skip
        words = ConfigRecord({**self.words, "json": canonical_json(notice).decode()})
        return RecordDict({NOTICE: words, **self.more})


@dataclass
class Crowd:
    """A grid and the runtime API behind it. `said` holds what each site answers, by number; who is not in it stays silent."""

    names: Mapping[int, str]
    said: Mapping[int, Update]
    order: RoundOrder | None = None
    waiting: dict[str, tuple[int, Message]] = field(default_factory=dict)
    begun: dict[str, dict[str, InflatableObject]] = field(default_factory=dict)
    objects: dict[str, InflatableObject] = field(default_factory=dict)
    taken: int = 0

    @property
    def run(self) -> SimpleNamespace:
        return SimpleNamespace(run_id=RUN_NUMBER)

    @property
    def _runtime_client(self) -> "Crowd":
        return self

    def get_node_ids(self) -> list[int]:
        return list(self.names)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        asked = list(messages)
        self.order, _ = unpack_order(asked[0].content)
        with no_object_id_recompute():
            for message in asked:
                message.metadata.__dict__["_message_id"] = f"{message.metadata.dst_node_id:064x}"
        self.waiting = {one.metadata.message_id: (one.metadata.dst_node_id, one) for one in asked}
        return list(self.waiting)

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:  # noqa: N802
        assert self.order is not None, "nothing was asked yet"
        answer = PullAppMessagesResponse()
        for message_id in request.message_ids:
            node, asked = self.waiting.get(message_id, (0, None))
            if asked is None or node not in self.said:
                continue
            del self.waiting[message_id]
            with no_object_id_recompute():
                reply = Message(self.said[node].content(self.order, self.names[node]), reply_to=asked)
                reply.metadata.__dict__["_message_id"] = reply.object_id
                answer.message_object_trees.append(get_object_tree(reply))
                objects = get_all_nested_objects(reply)
                answer.messages_list.append(message_to_proto(remove_content_from_message(reply)))
            self.objects |= objects
            self.begun[reply.metadata.message_id] = {
                name: one for name, one in objects.items() if name not in self.said[node].shared
            }
        return answer

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:  # noqa: N802
        held = self.objects.get(request.object_id)
        with no_object_id_recompute():
            content = held.deflate() if held is not None else b""
        return PullObjectResponse(object_found=held is not None, object_available=bool(content), object_content=content)

    def ConfirmMessageReceived(  # noqa: N802
        self, request: ConfirmMessageReceivedRequest
    ) -> ConfirmMessageReceivedResponse:
        for name in self.begun.pop(request.message_object_id):
            del self.objects[name]
        self.taken += 1
        return ConfirmMessageReceivedResponse()
