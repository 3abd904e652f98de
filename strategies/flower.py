"""The one place that touches Flower's private modules, pinned to 1.41. Everything else of ours sees what is defined here.

Four sides of Flower are wrapped:

* `Fleet`: the SuperLink's control API: register SuperNode keys, see who is connected, start a run;
* `TaskDesk`: the SuperNode's runtime API, from which the node's own runner takes tasks (`--isolation process`);
* `ask` and `ask_each`: a round of questions from the ServerApp, with a pull loop that looks often where Flower's own waits 3 s;
* `run_supernode`: the stock SuperNode, whose own fixed waits are replaced in the same way.

What the messages hold is in `message.py`. `tests/contract/test_flower.py` turns red when a new Flower no longer fits.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, Generic, TypeVar

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, Error, Message, RecordDict
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode, SubStatus
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullAppMessagesRequest, SendTaskHeartbeatRequest
from flwr.serverapp import Grid
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPushError,
    inflate_object_from_contents,
    pull_and_inflate_object_from_tree,
    pull_objects,
)
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode import start_client_internal as supernode_loop
from flwr.supernode.cli import flower_supernode
from flwr.supernode.runtime import run_clientapp
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, UnavailableError
from protocol.plan import UpdateNotice
from protocol.secure_sum import SecureReply
from strategies.arrays import Arrays
from strategies.cadence import Cadence
from strategies.message import SECURE_ACTION, unpack_notice, unpack_reply, weight_bytes
from strategies.securesum.pads import Words

T = TypeVar("T")

REFUSED_BY_SITE = 1400
"""Flower error code of a refusal; the reason is a code of `protocol/codes.py` and nothing else."""

FAULT_AT_SITE = 1401
"""Flower error code of a fault inside a node; the reason is `node-fault` and nothing else."""

LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.1, 1.0
"""How often the centre looks for replies, at first and in the end."""

IDLE_SECONDS, LONGEST_IDLE_SECONDS = 0.2, 3.0
"""How often a SuperNode asks the centre for work: soon after the last, and when none has come for long (as often as Flower's own)."""

STEP_SECONDS, LONGEST_STEP_SECONDS = 0.02, 0.2
"""How often a SuperNode and its runner look on loopback for what the other has ready, and for pieces that are on their way."""

AWAY_SECONDS = 25.0
"""How long a node may be away before it counts as absent; Flower's heartbeats are at most 20 s late after an outage."""

_HELD_SECONDS = 5.0
"""A question for work that took longer was held by the centre."""

_LIST_SECONDS = 1.0
"""How often the centre asks which nodes are there."""

_FLOWERS_IDLE_SECONDS = 3
"""How long the stock SuperNode waits when nothing has come; its other waits are shorter."""

_SPARE_BYTES = 1024 * 1024
"""What a reply may hold beyond as many weights as were sent."""

log = logging.getLogger(__name__)


# The centre's side of a round.


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


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a round waits: `asked` is called when its questions are out, `rest` waits for so many seconds, or until something came."""

    asked: Callable[[], None] = lambda: None
    rest: Callable[[float], None] = time.sleep
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
            waiting.rest(cadence.pause())
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
        """See which of `nodes` are away, once a second at most: the SuperLink reads its whole list for the answer."""
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
        return self._done(reply, _said(_inflated(reply), self._read))

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
        message = inflate_object_from_contents(reply.message_id, reply.pulled)
    except Exception as error:  # noqa: BLE001 - KeyError, TypeError, RecursionError, DecodeError, ...
        log.warning("reply.unreadable", extra={"fault": type(error).__name__})
        return None
    return message if isinstance(message, Message) else None


def _said(reply: Message | None, read: Callable[[RecordDict], T]) -> T | Code:
    """Return what a reply holds: what was asked for, or the code that stands for its error. The reply is empty afterwards.

    Flower's records refer to themselves. They would keep their weights until the garbage collector comes by, which counts objects and no
    bytes: the updates of dozens of sites would lie there.
    """
    if reply is None:
        return Code.BAD_UPDATE
    if reply.has_error():
        return _code_of(reply.error)
    try:
        return read(reply.content)
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


# The centre's side of the SuperLink.


@dataclass(frozen=True, slots=True)
class ConnectedNode:
    """A SuperNode as the SuperLink knows it. `name` is the site."""

    node_id: int
    name: str
    online: bool
    public_key: bytes


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a Flower run stands; `ended` is empty until it has, then `completed`, `failed` or `stopped`."""

    ended: str
    details: str


class Fleet:
    """The SuperLink's control API on loopback.

    Every method raises `UnavailableError` (`peer-unreachable`) when the SuperLink does not answer.
    """

    def __init__(self, address: str, root_certificates: bytes) -> None:
        self._client = ControlHttpClient.from_server_address(
            address, insecure=False, root_certificates=root_certificates, interceptors=[]
        )

    def nodes(self) -> list[ConnectedNode]:
        """Return every registered SuperNode that has not been unregistered."""
        answer = _asked(lambda: self._client.ListNodes(ListNodesRequest()))
        return [
            ConnectedNode(node.node_id, node.name, node.status == "online", node.public_key)
            for node in answer.nodes_info
            if node.status != "unregistered"
        ]

    def register(self, site: str, ssh_public_key: str) -> None:
        """Let the SuperNode that holds the private half of `ssh_public_key` connect, under the name of its site.

        Raises:
            ConflictError: `already-exists` if the key is or was registered; Flower takes back no key that was shut out.
        """
        request = RegisterNodeRequest(public_key=key_bytes(ssh_public_key), name=site)
        try:
            _asked(lambda: self._client.RegisterNode(request))
        except UnavailableError as error:
            if _status_of(error) == httpx.codes.PRECONDITION_FAILED:
                raise ConflictError(
                    Code.ALREADY_EXISTS, f"The SuperNode key of {site} was used before. The site needs a new one."
                ) from error
            raise

    def unregister(self, node_id: int) -> None:
        """Shut a SuperNode out."""
        _asked(lambda: self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id)))

    def start_run(self, bundle: bytes, bundle_sha256: str, run_config: Mapping[str, str]) -> int:
        """Start the ServerApp of `bundle` and return Flower's number of the run."""
        fab = fab_to_proto(Fab(bundle_sha256, bundle, {}))
        request = StartRunRequest(fab=fab, override_config=user_config_to_proto(dict(run_config)))
        return int(_asked(lambda: self._client.StartRun(request)).run_id)

    def run_state(self, run: int) -> RunState:
        """Return where `run` stands."""
        answer = _asked(lambda: self._client.ListRuns(ListRunsRequest(run_id=run)))
        status = answer.run_dict[run].status
        return RunState(status.sub_status, status.details)

    def stop_run(self, run: int) -> None:
        """End `run` at once."""
        _asked(lambda: self._client.StopRun(StopRunRequest(run_id=run)))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def key_bytes(ssh_public_key: str) -> bytes:
    """Return an OpenSSH public key in the form in which Flower compares keys.

    Raises:
        ValueError: If it is no key on a NIST curve.
    """
    try:
        key = serialization.load_ssh_public_key(ssh_public_key.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError("an unknown kind of key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not a key on a NIST curve")  # noqa: TRY004 - the value is wrong, whatever its class
    return public_key_to_bytes(key)


def build_bundle(files: Mapping[str, bytes]) -> bytes:
    """Return the app bundle (FAB) of these files; the same files always give the same bytes.

    Raises:
        ValueError: If the files are no Flower app.
    """
    return build_fab_from_files(dict(files))[0]


# The node's side.


def run_supernode() -> None:
    """Be the stock SuperNode, with the options on this process's command line; return when it has ended.

    Its loop asks for work every 3 s, looks for the runner's reply every 0.5 s, and asks again after 1 s for a piece of a message that the
    centre is still writing. None of it can be set, and together it is more than all else in a round.
    """
    _ask_sooner(supernode_loop, pull_objects)
    supernode_loop.time = _Waits()  # type: ignore[assignment, attr-defined] # of `time`, the module calls `sleep` alone
    flower_supernode()


class _Waits:
    """What the SuperNode's loop takes for the module `time`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._idle = Cadence(IDLE_SECONDS, LONGEST_IDLE_SECONDS, clock)
        self._left = clock()

    def sleep(self, seconds: float) -> None:
        """Wait for work where Flower would wait 3 s, and for a step of the work where it would wait less.

        A centre that held the question has waited for the work itself, and is asked again at once.
        """
        if seconds < _FLOWERS_IDLE_SECONDS:
            self._idle.restart()
            time.sleep(STEP_SECONDS)
        elif self._clock() - self._left > _HELD_SECONDS:
            time.sleep(STEP_SECONDS)
        else:
            time.sleep(self._idle.pause())
        self._left = self._clock()


def _ask_sooner(module: ModuleType, pull: Callable[..., Any]) -> None:
    """Let a module of Flower's ask soon again for a piece that is not there yet; by itself it waits 1, 2, 4 and up to 10 s."""
    sooner = partial(pull, initial_backoff=STEP_SECONDS, backoff_cap=LONGEST_STEP_SECONDS, max_tries_per_object=None)
    setattr(module, pull.__name__, sooner)


class Task:
    """One message that the SuperNode wants answered, with the bundle that came with it (bytes, never executed)."""

    def __init__(self, client: RuntimeHttpClient) -> None:
        self._client = client
        self._heartbeat = HeartbeatSender(lambda: _beat(client))
        self._heartbeat.start()
        try:
            self.message, self.context, run, fab = pull_task_input(client)
        except BaseException:
            self.close()
            raise
        self.run: int = run.run_id
        self.bundle: bytes = fab.content

    def answer(self, reply: Message) -> None:
        """Send `reply` and close the task. Of a run that was stopped meanwhile the SuperNode takes no reply; then there is none.

        Raises:
            UnavailableError: `peer-unreachable` if the SuperNode has gone away.
        """
        try:
            _asked(lambda: push_message(self._client, reply, self.context))
            _asked(lambda: push_task_output(self._client, self.context, SubStatus.COMPLETED, ""))
        except ObjectPushError:
            log.info("task.unwanted")
        finally:
            self.close()

    def refuse(self, error_code: int, code: Code) -> None:
        """Answer with an error that carries `code` and no other word.

        Raises:
            UnavailableError: `peer-unreachable` if the SuperNode has gone away.
        """
        self.answer(Message(Error(code=error_code, reason=str(code)), reply_to=self.message))

    def close(self) -> None:
        """Stop the heartbeat and the connection."""
        if self._heartbeat.is_running:
            self._heartbeat.stop()
        self._client.close()


class TaskDesk:
    """Where the runner takes tasks: the SuperNode's runtime API on loopback, entered with a shared secret."""

    def __init__(self, address: str, secret: bytes) -> None:
        _ask_sooner(run_clientapp, pull_and_inflate_object_from_tree)
        self._address = address
        guard = SuperExecAuthHttpInterceptor(
            master_secret=secret, protected_methods=frozenset({"/flwr.proto.Runtime/AcquireTask"})
        )
        self._client = self._connect("flower-superexec", guard)

    def next_task(self) -> Task | None:
        """Return a task if one is waiting. What cannot be read of what the centre sent is left; Flower answers it in time.

        Raises:
            UnavailableError: `peer-unreachable` if the SuperNode does not answer.
        """
        request = AcquireTaskRequest(supported_task_types=["flwr-clientapp"])
        answer = _asked(lambda: self._client.AcquireTask(request))
        if not answer.HasField("task") or not answer.token:
            return None
        try:
            return _asked(lambda: Task(self._connect("flwr-clientapp", RuntimeTokenHttpInterceptor(answer.token))))
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - the bytes are another side's: KeyError, ObjectPullError, DecodeError, ...
            log.warning("task.unreadable", extra={"fault": type(error).__name__})
            return None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _connect(
        self, component: str, guard: SuperExecAuthHttpInterceptor | RuntimeTokenHttpInterceptor
    ) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            server_address=self._address,
            insecure=True,  # loopback: the SuperNode offers nothing else there
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name=component), guard],
        )


def _beat(client: RuntimeHttpClient) -> bool:
    """Tell the SuperNode that the task is being worked on. Flower's own version interrupts the process when the run was stopped."""
    try:
        alive = client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success
    except (httpx.HTTPError, RuntimeError):  # RuntimeError: the task was closed meanwhile
        return False
    if not alive:
        log.info("task.unwanted")
    return True


def _asked(call: Callable[[], T]) -> T:
    """Run `call`; translate what Flower's HTTP clients raise."""
    try:
        return call()
    except (httpx.HTTPError, ConnectionError) as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, f"Flower does not answer ({type(error).__name__}). Is the other process running?"
        ) from error


def _status_of(error: UnavailableError) -> int | None:
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None
