"""The one place that touches Flower's private modules, pinned to 1.41. Everything else of ours sees what is defined here.

Three sides of Flower are wrapped:

* `Fleet`: the SuperLink's control API: register SuperNode keys, see who is connected, start a run;
* `TaskDesk`: the SuperNode's runtime API, from which the node's own runner takes tasks (`--isolation process`);
* `ask`: a round of questions from the ServerApp, with a pull loop that looks often where Flower's own waits 3 s.

A message holds weights as an ArrayRecord and one shape as canonical JSON: `order` on the way to a site, `notice` on the way back.
`tests/contract/test_flower.py` turns red when a new Flower no longer fits.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

import httpx
import numpy as np
from cryptography.hazmat.primitives import serialization
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import SubStatus
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.serverapp import Grid
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output
from numpy.typing import NDArray
from pydantic import ValidationError

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, UnavailableError
from protocol.plan import RoundOrder, UpdateNotice
from protocol.shape import Shape, canonical_json
from strategies.arrays import Arrays

T = TypeVar("T")
S = TypeVar("S", bound=Shape)

REFUSED_BY_SITE = 1400
"""Flower error code of a refusal; the reason is a code of `protocol/codes.py` and nothing else."""

FAULT_AT_SITE = 1401
"""Flower error code of a fault inside a node; the reason is `node-fault` and nothing else."""

LOOK_SECONDS = 0.2
"""How often the centre looks for replies."""

ARRAYS, ORDER, NOTICE, JSON = "arrays", "order", "notice", "json"

log = logging.getLogger(__name__)


# Messages.


def pack_order(order: RoundOrder, base: Arrays) -> RecordDict:
    """Return the content of a message that asks a site to train from `base`."""
    return _pack(ORDER, order, base)


def pack_notice(notice: UpdateNotice, update: Arrays) -> RecordDict:
    """Return the content of a site's reply: its update and what it says of it."""
    return _pack(NOTICE, notice, update)


def unpack_order(content: RecordDict) -> tuple[RoundOrder, dict[str, NDArray[np.float32]]]:
    """Return the order and the base weights of a message.

    Raises:
        InvalidInputError: `bad-shape` if the content is of another form; the message quotes nothing of it.
    """
    return _unpack(ORDER, RoundOrder, content)


def unpack_notice(content: RecordDict) -> tuple[UpdateNotice, dict[str, NDArray[np.float32]]]:
    """Return the notice and the update of a site's reply; neither is compared with the order yet.

    Raises:
        InvalidInputError: `bad-shape` if the content is of another form; the message quotes nothing of it.
    """
    return _unpack(NOTICE, UpdateNotice, content)


def _pack(name: str, shape: Shape, arrays: Arrays) -> RecordDict:
    weights = ArrayRecord({key: Array(np.ascontiguousarray(array)) for key, array in sorted(arrays.items())})
    return RecordDict({ARRAYS: weights, name: ConfigRecord({JSON: canonical_json(shape).decode()})})


def _unpack(name: str, kind: type[S], content: RecordDict) -> tuple[S, dict[str, NDArray[np.float32]]]:
    try:
        shape = kind.model_validate_json(str(content.config_records[name][JSON]))
        return shape, {key: _decoded(array) for key, array in content.array_records[ARRAYS].items()}
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise InvalidInputError(Code.BAD_SHAPE, f"The message holds no {kind.__name__} with its weights.") from error


def _decoded(array: Array) -> NDArray[np.float32]:
    """Return the float32 values of one array in npy format (NumPy enhancement proposal 1), without copying them.

    `numpy.load` makes room for whatever size the header claims before it looks at the bytes; here the two are compared first.

    Raises:
        ValueError: If it is not little-endian float32 in C order, or header and bytes disagree.
    """
    stream = BytesIO(array.data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("not npy 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    start = stream.tell()
    if fortran or dtype != np.dtype("<f4") or 4 * math.prod(shape) != len(array.data) - start:
        raise ValueError("not float32, or not as long as its header says")
    return np.frombuffer(array.data, dtype="<f4", offset=start).reshape(shape)


# The centre's side of a round.


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one question: a notice with its update, or a code."""

    node_id: int
    said: tuple[UpdateNotice, Arrays] | Code


def ask(
    grid: Grid,
    nodes: list[int],
    content: RecordDict,
    *,
    group: str,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Answer]:
    """Send `content` to exactly these SuperNodes and yield one answer for each, in the order in which they come.

    What has not come after `seconds` is answered with `round-late`, and the SuperLink hands it out no more.

    Args:
        grid: Flower's way to the SuperNodes.
        nodes: Their numbers.
        content: The same for all of them.
        group: The round's number as text, for Flower's own logs.
        seconds: Deadline for all of them together.
        clock: Seconds that never run backwards.
    """
    messages = [
        Message(content, dst_node_id=node, message_type="train", group_id=group, ttl=float(seconds)) for node in nodes
    ]
    deadline = clock() + seconds
    waiting: dict[str, int] = {}
    for node, message_id in zip(nodes, grid.push_messages(messages), strict=True):
        if message_id is None:  # what Flower says of a node that it does not know
            yield Answer(node, Code.NODE_ABSENT)
        else:
            waiting[message_id] = node
    while waiting and clock() < deadline:
        for reply in grid.pull_messages(list(waiting)):
            node_id = waiting.pop(reply.metadata.reply_to_message_id, None)
            if node_id is not None:  # a second reply to the same message counts for nothing
                yield Answer(node_id, _said(reply))
        if waiting:
            time.sleep(LOOK_SECONDS)
    for node in waiting.values():
        yield Answer(node, Code.ROUND_LATE)


def _said(reply: Message) -> tuple[UpdateNotice, Arrays] | Code:
    """Return what a reply holds. An error that is not of our own runner (the SuperNode has gone, say) is `node-absent`."""
    if not reply.has_error():
        try:
            return unpack_notice(reply.content)
        except InvalidInputError:
            return Code.BAD_UPDATE
    if reply.error.code in {REFUSED_BY_SITE, FAULT_AT_SITE} and reply.error.reason in set(Code):
        return Code(reply.error.reason)
    return Code.NODE_ABSENT


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
    """Return an OpenSSH public key in the form in which Flower compares keys."""
    key = serialization.load_ssh_public_key(ssh_public_key.encode())
    return public_key_to_bytes(key)  # type: ignore[arg-type] # P-384 by the pattern of protocol.enrolment.SshPublicKey


def build_bundle(files: Mapping[str, bytes]) -> bytes:
    """Return the app bundle (FAB) of these files; the same files always give the same bytes.

    Raises:
        ValueError: If the files are no Flower app.
    """
    return build_fab_from_files(dict(files))[0]


# The node's side.


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
        """Send `reply` and close the task.

        Raises:
            UnavailableError: `peer-unreachable` if the SuperNode has gone away.
        """
        try:
            _asked(lambda: push_message(self._client, reply, self.context))
            push_task_output(self._client, self.context, SubStatus.COMPLETED, "")
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
        self._address = address
        guard = SuperExecAuthHttpInterceptor(
            master_secret=secret, protected_methods=frozenset({"/flwr.proto.Runtime/AcquireTask"})
        )
        self._client = self._connect("flower-superexec", guard)

    def next_task(self) -> Task | None:
        """Return a task if one is waiting.

        Raises:
            UnavailableError: `peer-unreachable` if the SuperNode does not answer.
        """
        request = AcquireTaskRequest(supported_task_types=["flwr-clientapp"])
        answer = _asked(lambda: self._client.AcquireTask(request))
        if not answer.HasField("task") or not answer.token:
            return None
        return _asked(lambda: Task(self._connect("flwr-clientapp", RuntimeTokenHttpInterceptor(answer.token))))

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
