"""The one place that touches Flower's private modules, pinned to 1.41. Everything else of ours sees what is defined here.

Three sides of Flower are wrapped:

* `Fleet`: the SuperLink's control API: register SuperNode keys, see who is connected, start a run;
* `TaskDesk`: the SuperNode's runtime API, from which the node's own runner takes tasks (`--isolation process`);
* `collect`: a pull loop for the ServerApp that looks often, where Flower's own waits 3 s between looks.

Messages are packed as weights in an ArrayRecord and one shape as JSON in a ConfigRecord (`pack`, `unpack`).
`tests/contract/test_flower.py` turns red when a new Flower no longer fits.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
from cryptography.hazmat.primitives import serialization
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.cli.build import build_fab_from_disk
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
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.serverapp import Grid
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from protocol.codes import Code
from protocol.errors import UnavailableError
from protocol.shape import Shape, canonical_json
from strategies.arrays import Arrays

T = TypeVar("T")

REFUSED_BY_SITE = 1400
"""Flower error code of a refusal; the reason is a code of `protocol/codes.py` and nothing else."""

FAULT_AT_SITE = 1401
"""Flower error code of a fault inside a node; the reason is `node-fault` and nothing else."""

LOOK_SECONDS = 0.2
"""How often the centre looks for replies."""

_WEIGHTS, _SHAPE, _JSON = "arrays", "shape", "json"


def pack(shape: Shape, arrays: Arrays) -> RecordDict:
    """Return a message content that holds `arrays` and, as canonical JSON, `shape`."""
    weights = ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in sorted(arrays.items())})
    return RecordDict({_WEIGHTS: weights, _SHAPE: ConfigRecord({_JSON: canonical_json(shape).decode()})})


def unpack(content: RecordDict) -> tuple[bytes, dict[str, np.ndarray]]:
    """Return the JSON of the shape and the arrays that `pack` put into `content`; neither is checked yet.

    Raises:
        KeyError: If the content is of another form.
    """
    arrays = content.array_records[_WEIGHTS]
    body = content.config_records[_SHAPE][_JSON]
    return str(body).encode(), {name: array.numpy() for name, array in arrays.items()}


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

    status: str
    ended: str
    details: str


class Fleet:
    """The SuperLink's control API on loopback.

    Every method raises `UnavailableError` (`peer-unreachable`) when the SuperLink does not answer.
    """

    def __init__(self, address: str, root_certificates: bytes) -> None:
        self._client = ControlHttpClient.from_server_address(address, False, root_certificates, [])  # noqa: FBT003 - Flower's signature: insecure

    def nodes(self) -> list[ConnectedNode]:
        """Return every registered SuperNode that has not been unregistered."""
        answer = _asked(lambda: self._client.ListNodes(ListNodesRequest()))
        return [
            ConnectedNode(node.node_id, node.name, node.status == "online", node.public_key)
            for node in answer.nodes_info
            if node.status != "unregistered"
        ]

    def register(self, site: str, ssh_public_key: str) -> None:
        """Let the SuperNode that holds the private half of `ssh_public_key` connect, under the name of its site."""
        request = RegisterNodeRequest(public_key=key_bytes(ssh_public_key), name=site)
        _asked(lambda: self._client.RegisterNode(request))

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
        return RunState(status.status, status.sub_status, status.details)

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


def build_bundle(project: Path) -> bytes:
    """Return the app bundle (FAB) of the Flower project in `project`; the same files always give the same bytes."""
    return build_fab_from_disk(project)


def collect(
    grid: Grid, messages: Sequence[Message], *, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Message]:
    """Send `messages` and yield the replies as they arrive, until all are there or `seconds` have passed."""
    waiting = set(grid.push_messages(messages))
    deadline = clock() + seconds
    while waiting and clock() < deadline:
        for reply in grid.pull_messages(waiting):
            waiting.discard(reply.metadata.reply_to_message_id)
            yield reply
        if waiting:
            time.sleep(LOOK_SECONDS)


class Task:
    """One message that the SuperNode wants answered, with the bundle that came with it (bytes, never executed)."""

    def __init__(self, client: RuntimeHttpClient) -> None:
        self._client = client
        self._heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
        self._heartbeat.start()
        self.message, self.context, run, fab = pull_task_input(client)
        self.run: int = run.run_id
        self.bundle: bytes = fab.content

    def answer(self, reply: Message) -> None:
        """Send `reply` and close the task.

        Raises:
            UnavailableError: `peer-unreachable` if the SuperNode has gone away.
        """
        _asked(lambda: push_message(self._client, reply, self.context))
        push_task_output(self._client, self.context, SubStatus.COMPLETED, "")
        self.close()

    def refuse(self, error_code: int, code: Code) -> None:
        """Answer with an error that carries `code` and no other word."""
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


def refusal_code(reply: Message) -> Code | None:
    """Return the code that an error reply carries, or None if the reply is no error.

    An error that is not of our own runner (the SuperNode is gone, say) counts as `node-absent`.
    """
    if not reply.has_error():
        return None
    if reply.error.code in {REFUSED_BY_SITE, FAULT_AT_SITE} and reply.error.reason in set(Code):
        return Code(reply.error.reason)
    return Code.NODE_ABSENT


def order_for(node_id: int, content: RecordDict, *, group: str) -> Message:
    """Return the train message for one SuperNode; `group` is the round's number as text."""
    return Message(content=content, message_type="train", dst_node_id=node_id, group_id=group)


def answer_to(message: Message, content: RecordDict) -> Message:
    """Return the reply to `message`."""
    return Message(content=content, reply_to=message)


def run_setting(context: Context, name: str) -> str:
    """Return one entry of the run config as text."""
    return str(context.run_config[name])


def _asked(call: Callable[[], T]) -> T:
    """Run `call`; translate what Flower's HTTP clients raise."""
    try:
        return call()
    except (httpx.HTTPError, ConnectionError) as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, f"Flower does not answer ({type(error).__name__}). Is the other process running?"
        ) from error
