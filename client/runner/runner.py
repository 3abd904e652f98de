"""The node's own runner: where Flower would unpack and run the code it was sent, this looks at its hash and runs the site's own wheel.

The bundle of every task is hashed and compared with the site's allow-list, which is read anew each time. It is never written to disk,
unpacked or imported. What goes back is an update or a code; the text of an exception stays in the node's own log as class and places.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from flwr.app import Context, Message

from client.gate.gate import CLEAR
from client.gate.policy import Refusal, Verdict
from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError, error_for
from strategies.cadence import Cadence
from strategies.flower.desk import Task, TaskDesk
from strategies.flower.faults import FAULT_AT_SITE, REFUSED_BY_SITE

log = logging.getLogger(__name__)

LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.05, 0.5
"""How often the runner looks for a task where no SuperNode rings: soon after the last, and when none has come for long."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 10.0

BUNDLE_JUDGED = "bundle.judged"


class ClientApp(Protocol):
    """What Flower's ClientApp is to the runner."""

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer one message."""
        ...


class Runner:
    """Answers the tasks of one SuperNode, one after the other.

    Args:
        connect: Opens the SuperNode's runtime API; called again whenever it was lost.
        app: The ClientApp of the site's own wheel.
        approve: Says whether a bundle, by its full SHA-256, is on the site's allow-list.
        record: Writes a row of the audit: event, subject, verdict.
    """

    def __init__(
        self,
        connect: Callable[[], TaskDesk],
        *,
        app: ClientApp,
        approve: Callable[[str], Verdict],
        record: Callable[[str, str, str], None],
    ) -> None:
        self._connect = connect
        self._app = app
        self._approve = approve
        self._record = record

    def run(self, stop: threading.Event) -> None:
        """Answer tasks until `stop` is set; a SuperNode that is away is waited for, longer each time up to ten seconds."""
        wait = _FIRST_WAIT_SECONDS
        while not stop.is_set():
            desk, cadence = self._connect(), Cadence(LOOK_SECONDS, LONGEST_LOOK_SECONDS)
            try:
                while not stop.is_set():
                    worked = self.look(desk)
                    wait = _FIRST_WAIT_SECONDS
                    cadence.restart() if worked else desk.rest(cadence.pause(), stop)
            except UnavailableError as error:
                log.info("runner.waiting code=%s seconds=%.1f", error.code, wait)
                stop.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
            finally:
                desk.close()

    def look(self, desk: TaskDesk) -> bool:
        """Answer one task if there is one; return whether there was.

        Raises:
            UnavailableError: `peer-unreachable` if the SuperNode does not answer.
        """
        task = desk.next_task()
        if task is None:
            return False
        self._answer(task)
        return True

    def _answer(self, task: Task) -> None:
        """Answer a task with the app's reply or with a code. Broad on purpose: this is the rim, and nothing else may leave."""
        try:
            reply = self._reply_to(task)
        except FederationError as error:
            log.info("task.refused run=%d code=%s", task.run, error.code)
            task.refuse(REFUSED_BY_SITE, error.code)
        except Exception:
            log.exception("task.failed run=%d", task.run)
            task.refuse(FAULT_AT_SITE, Code.NODE_FAULT)
        else:
            log.info("task.answered run=%d", task.run)
            task.answer(reply)

    def _reply_to(self, task: Task) -> Message:
        """Return the answer of the site's own app, if the site allows the bundle.

        Raises:
            RefusedError: `policy-bundle`, or whatever the app says.
            TypeError: If the app answers with something else than a message.
        """
        refused = self._judge(task)
        if refused is not None:
            raise error_for(refused)
        reply = self._app(task.message, task.context)
        if not isinstance(reply, Message):
            raise TypeError("the app's answer is no message")
        return reply

    def _judge(self, task: Task) -> Code | None:
        """Return the code of a refusal, or None for a bundle that the site allows; either way it is recorded."""
        sha256 = hashlib.sha256(task.bundle).hexdigest()
        verdict = self._approve(sha256)
        refused = verdict.code if isinstance(verdict, Refusal) else None
        self._record(BUNDLE_JUDGED, sha256, refused.value if refused else CLEAR)
        log.info("task.taken run=%d bundle=%s refused=%s", task.run, sha256, refused)
        return refused
