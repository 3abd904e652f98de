"""The SuperNode's runtime API, from which the node's own runner takes tasks (`--isolation process`)."""

import logging
import threading
import time

import httpx
from flwr.app import Error, Message
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime import run_clientapp
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from protocol.codes import Code
from protocol.errors import UnavailableError
from strategies.bell import TICK_SECONDS
from strategies.flower.faults import asked
from strategies.flower.pace import ask_sooner
from strategies.flower.pieces import Pieces, share

LONGEST_REST_SECONDS = 5.0
"""How often the runner looks for a task although nobody rang. Flower shows a task before its message is there: whoever takes it then has to
ask for each piece again and again, while both are busy with bringing it."""

log = logging.getLogger(__name__)


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
            asked(lambda: push_message(self._client, reply, self.context))
            asked(lambda: push_task_output(self._client, self.context, SubStatus.COMPLETED, ""))
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
    """Where the runner takes tasks: the SuperNode's runtime API on loopback, entered with a shared secret.

    Args:
        address: Of that API, host and port.
        secret: What the SuperNode was given too.
        pieces: The folder that the SuperNode was started with, if with one.
    """

    def __init__(self, address: str, secret: bytes, pieces: Pieces | None = None) -> None:
        ask_sooner(run_clientapp, pull_and_inflate_object_from_tree)
        self._address = address
        self._pieces = pieces
        self._bell = pieces.whole() if pieces else None
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
        answer = asked(lambda: self._client.AcquireTask(request))
        if not answer.HasField("task") or not answer.token:
            return None
        try:
            return asked(lambda: Task(self._connect("flwr-clientapp", RuntimeTokenHttpInterceptor(answer.token))))
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - the bytes are another side's: KeyError, ObjectPullError, DecodeError, ...
            log.warning("task.unreadable", extra={"fault": type(error).__name__})
            return None

    def rest(self, seconds: float, stop: threading.Event) -> None:
        """Wait until there may be a task: until the SuperNode rings, or for `seconds` where it cannot; no longer than until `stop` is set."""
        if self._bell is None:
            stop.wait(seconds)
            return
        deadline = time.monotonic() + LONGEST_REST_SECONDS
        while self._bell.is_silent() and time.monotonic() < deadline and not stop.wait(TICK_SECONDS):
            continue

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _connect(
        self, component: str, guard: SuperExecAuthHttpInterceptor | RuntimeTokenHttpInterceptor
    ) -> RuntimeHttpClient:
        client = RuntimeHttpClient.from_server_address(
            server_address=self._address,
            insecure=True,  # loopback: the SuperNode offers nothing else there
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name=component), guard],
        )
        return share(client, self._pieces)


def _beat(client: RuntimeHttpClient) -> bool:
    """Tell the SuperNode that the task is being worked on. Flower's own version interrupts the process when the run was stopped."""
    try:
        alive = client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success
    except (httpx.HTTPError, RuntimeError):  # RuntimeError: the task was closed meanwhile
        return False
    if not alive:
        log.info("task.unwanted")
    return True
