"""A round of questions from the ServerApp, with a pull loop that looks often where Flower's own waits 3 s."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_object_type_from_object_content, iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.runtime import RuntimeHttpClient

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.evaluation import EvaluationNotice
from protocol.plan import UpdateNotice
from protocol.secure_sum import SecureReply
from strategies.arrays import Arrays
from strategies.cadence import Cadence
from strategies.flower.faults import FAULT_AT_SITE, REFUSED_BY_SITE
from strategies.message import SECURE_ACTION, unpack_evaluated, unpack_notice, unpack_reply, weight_bytes
from strategies.securesum.pads import Words

T = TypeVar("T")

LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.1, 1.0
"""How often the centre looks for replies, at first and in the end."""

AWAY_SECONDS = 25.0
"""How long a node may be away before it counts as absent; Flower's heartbeats are at most 20 s late after an outage."""

_LIST_SECONDS = 3.0
"""How often the centre asks which nodes are there."""

_SPARE_BYTES = 1024 * 1024
"""What a reply may hold beyond as many weights as were sent."""

_CARRIED = frozenset({"Message", "RecordDict", "ConfigRecord"})
"""What a reply is made of. Flower knows arrays too: one of a few bytes may name its one piece a million times, and reading joins them all."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What became of one question: what was read out of the reply, or a code."""

    node_id: int
    said: T | Code


@dataclass(frozen=True, slots=True)
class Manner(Generic[T]):
    """How something is asked: the message's type, which picks the app's function, and what reads a reply's content or raises `bad-shape`."""

    message_type: str
    read: Callable[[RecordDict], T]


UPDATES: Manner[tuple[UpdateNotice, Arrays]] = Manner("train", unpack_notice)
SECURE: Manner[tuple[SecureReply, Words | None]] = Manner(f"train.{SECURE_ACTION}", unpack_reply)

EVALUATIONS: Manner[EvaluationNotice] = Manner("evaluate", unpack_evaluated)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a round waits: `asked` is called when its questions are out, `rest` waits for so many seconds, or until something came.

    Where somebody rings it waits for `patience` seconds at a time, elsewhere (None) it looks often at first, and then ever less.
    """

    asked: Callable[[], None] = lambda: None
    rest: Callable[[float], None] = time.sleep
    patience: float | None = None
    clock: Callable[[], float] = time.monotonic
    """Seconds that never run backwards."""


POLLING = Waiting()
"""Looking again and again, where nobody rings."""


def ask(
    grid: Grid,
    nodes: list[int],
    content: RecordDict,
    *,
    group: str,
    seconds: float,
    waiting: Waiting = POLLING,
) -> Iterator[Answer[tuple[UpdateNotice, Arrays]]]:
    """Send `content` to exactly these SuperNodes and yield one answer for each, in the order in which they come.

    What has not come after `seconds` is answered with `round-late`, and the SuperLink hands it out no more.

    Args:
        grid: Flower's way to the SuperNodes.
        nodes: Their numbers.
        content: The same for all of them.
        group: The round's number as text, for Flower's own logs.
        seconds: Deadline for all of them together.
        waiting: How to wait for the answers.
    """
    questions = dict.fromkeys(nodes, content)
    return ask_each(grid, questions, UPDATES, group=group, seconds=seconds, waiting=waiting)


def ask_each(
    grid: Grid,
    questions: Mapping[int, RecordDict],
    manner: Manner[T],
    *,
    group: str,
    seconds: float,
    waiting: Waiting = POLLING,
) -> Iterator[Answer[T]]:
    """Send each SuperNode its own content; otherwise as `ask`, with `manner` to say how it is asked and read."""
    clock = waiting.clock
    deadline = clock() + seconds
    messages = [
        Message(content, dst_node_id=node, message_type=manner.message_type, group_id=group, ttl=float(seconds))
        for node, content in questions.items()
    ]
    expected: dict[str, int] = {}
    pushed = grid.push_messages(messages)
    waiting.asked()
    for node, message_id in zip(questions, pushed, strict=True):
        if message_id:
            expected[message_id] = node
        else:  # what Flower says of a node that it does not know
            yield Answer(node, Code.NODE_ABSENT)
    most = max((weight_bytes(content) for content in questions.values()), default=0)
    replies, away = _Replies(grid, manner.read, limit_bytes=2 * most + _SPARE_BYTES), _Away(grid, clock)
    cadence = Cadence(LOOK_SECONDS, LONGEST_LOOK_SECONDS)
    while expected and clock() < deadline:
        away.look(expected.values())
        for message_id, said in replies.look([one for one, node in expected.items() if not away.briefly(node)]):
            yield Answer(expected.pop(message_id), said)
        if expected:
            pause = cadence.pause() if waiting.patience is None else waiting.patience
            waiting.rest(max(0.0, min(pause, deadline - clock())))
    for node in expected.values():
        yield Answer(node, Code.NODE_ABSENT if node in away.since else Code.ROUND_LATE)


class _Away:
    """Which nodes Flower takes for gone, and since when.

    It does so when a node's heartbeat is late, and then drops what the node was asked. After an outage of the centre that is wrong for as
    long as a node waits before its next heartbeat, while it trains; so nobody is asked for its reply in that time.
    """

    def __init__(self, grid: Grid, clock: Callable[[], float]) -> None:
        self._grid = grid
        self._clock = clock
        self._due = clock()
        self.since: dict[int, float] = {}

    def look(self, nodes: Iterable[int]) -> None:
        """See which of `nodes` are away, every few seconds at most: the SuperLink reads its whole list for the answer."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + _LIST_SECONDS
        here = set(self._grid.get_node_ids())
        self.since = {node: self.since.get(node, now) for node in nodes if node not in here}

    def briefly(self, node: int) -> bool:
        """Say whether a node is away, and not for longer than Flower waits between two heartbeats."""
        return node in self.since and self._clock() - self.since[node] < AWAY_SECONDS


@dataclass(slots=True)
class _Reply:
    """A reply on its way: the SuperLink has its envelope, and its objects come one by one as the site sends them."""

    message_id: str
    objects: list[str]
    pulled: dict[str, bytes] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """What has not been pulled yet."""
        return [name for name in self.objects if name not in self.pulled]

    @property
    def size(self) -> int:
        """How many bytes have been pulled."""
        return sum(len(content) for content in self.pulled.values())


class _Replies(Generic[T]):
    """Takes replies from the SuperLink, each as soon as all of it is there.

    Flower's own way waits for the objects of one reply before it looks at the next, up to three minutes for a site that died half-way
    through sending, waits a second and more between looks, and lets the run die of a reply that cannot be read.
    """

    def __init__(self, grid: Grid, read: Callable[[RecordDict], T], *, limit_bytes: int) -> None:
        self._read = read
        self._client: RuntimeHttpClient = grid._runtime_client  # type: ignore[attr-defined] # noqa: SLF001 - HttpGrid's
        self._run_id: int = grid.run.run_id
        self._node = Node(node_id=SUPERLINK_NODE_ID)
        self._limit = limit_bytes
        self._begun: dict[str, _Reply] = {}

    def look(self, waiting: Iterable[str]) -> Iterator[tuple[str, T | Code]]:
        """Yield the id of each message of `waiting` that has been answered, and the answer."""
        self._begin([message_id for message_id in waiting if message_id not in self._begun])
        for message_id, reply in list(self._begun.items()):
            said = self._pulled(reply)
            if said is not None:
                del self._begun[message_id]
                yield message_id, said

    def _begin(self, waiting: list[str]) -> None:
        """Ask for new envelopes. The SuperLink hands each out once."""
        if not waiting:
            return
        answer = self._client.PullMessages(PullAppMessagesRequest(message_ids=waiting))
        for envelope, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
            asked = envelope.metadata.reply_to_message_id
            if asked in waiting:
                self._begun[asked] = _Reply(envelope.metadata.message_id, _names_in(tree))

    def _pulled(self, reply: _Reply) -> T | Code | None:
        """Pull what there is of a reply; return what it says, or None if there is more to come.

        A site sends its objects from the first to the last, so they are pulled from the last to the first: of a reply on its way next to
        nothing is pulled, and of all of them together no more is kept than one may hold, however many sites send at the same time.
        """
        if len(reply.objects) > _most_objects(self._limit):
            return self._done(reply, Code.BAD_UPDATE)
        for name in reversed(reply.missing):
            request = PullObjectRequest(node=self._node, run_id=self._run_id, object_id=name)
            answer = self._client.PullObject(request)
            if not answer.object_found:  # the site did not finish sending in Flower's time
                return self._done(reply, Code.NODE_ABSENT)
            if not answer.object_available:
                if sum(one.size for one in self._begun.values()) > self._limit:
                    reply.pulled.clear()
                return None
            reply.pulled[name] = answer.object_content
            if reply.size > self._limit:
                return self._done(reply, Code.BAD_UPDATE)
        return self._done(reply, _said(_inflated(reply), self._read, limit_bytes=self._limit))

    def _done(self, reply: _Reply, said: T | Code) -> T | Code:
        """Let the SuperLink drop what it still has of a reply."""
        request = ConfirmMessageReceivedRequest(
            node=self._node, run_id=self._run_id, message_object_id=reply.message_id
        )
        self._client.ConfirmMessageReceived(request)
        return said


def _names_in(tree: ObjectTree) -> list[str]:
    return list(dict.fromkeys(one.object_id for one in iterate_object_tree(tree)))


def _most_objects(limit_bytes: int) -> int:
    """Return how many objects a reply may have: some records, and the pieces of its one array."""
    return 16 + limit_bytes // _SPARE_BYTES


def _inflated(reply: _Reply) -> Message | None:
    """Return the message that Flower reads out of a reply's objects. Broad on purpose: they are a site's bytes, whatever it wrote."""
    try:
        kinds = {get_object_type_from_object_content(content) for content in reply.pulled.values()}
        message = inflate_object_from_contents(reply.message_id, reply.pulled) if kinds <= _CARRIED else None
    except Exception as error:  # noqa: BLE001 - KeyError, TypeError, RecursionError, DecodeError, ...
        log.warning("reply.unreadable", extra={"fault": type(error).__name__})
        return None
    return message if isinstance(message, Message) else None


def _said(reply: Message | None, read: Callable[[RecordDict], T], *, limit_bytes: int) -> T | Code:
    """Return what a reply holds: what was asked for, or the code that stands for its error. The reply is empty afterwards.

    Its weights are counted before they are joined: many records of a reply may be one and the same, which was pulled, and counted, once.

    Flower's records refer to themselves. They would keep their weights until the garbage collector comes by, which counts objects and no
    bytes: the updates of dozens of sites would lie there.
    """
    if reply is None:
        return Code.BAD_UPDATE
    if reply.has_error():
        return _code_of(reply.error)
    try:
        return read(reply.content) if weight_bytes(reply.content) <= limit_bytes else Code.BAD_UPDATE
    except InvalidInputError:
        return Code.BAD_UPDATE
    finally:
        for record in reply.content.values():
            record.clear()


def _code_of(error: Error) -> Code:
    """Return a code for an error: our own runner's, or what Flower says of a node that has gone, is late or has lost its runner."""
    if error.code in {REFUSED_BY_SITE, FAULT_AT_SITE} and error.reason in set(Code):
        return Code(error.reason)
    known: dict[Any, Code] = {
        ErrorCode.NODE_UNAVAILABLE: Code.NODE_ABSENT,
        ErrorCode.MESSAGE_UNAVAILABLE: Code.ROUND_LATE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE: Code.ROUND_LATE,
    }
    return known.get(error.code, Code.NODE_FAULT)


def run_setting(context: Context, name: str) -> str:
    """Return one entry of the run config as text."""
    return str(context.run_config[name])
