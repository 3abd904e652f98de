"""Sends findings back to the PACS: every measured study's SEG and SR, and the picture if the hospital wants it.

An object counts as sent only when the PACS has said so, and a sender that is killed before it could note that sends the same object again
under the same UID, which changes nothing there.
"""

import hashlib
import logging
import random
import threading
from collections.abc import Callable
from contextlib import ExitStack

from client.gate.backoff import Backoff
from client.logs import fault_of
from client.pacs.lines import Line
from client.pacs.outgoing import Outbound, Outgoing
from client.report.capture import make_capture
from client.store.files import adopt, write_durably
from client.store.part10 import as_part10, coded, read_part10
from client.store.results import PICTURE, SEG, SR
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError

_IDLE_SECONDS = 2.0
_FILES = {"seg": SEG, "sr": SR}

log = logging.getLogger(__name__)


class Sender:
    """Empties one node's queue."""

    def __init__(
        self, store: StudyStore, outgoing: Outgoing, line: Callable[[], Line], objects: tuple[str, ...]
    ) -> None:
        """Prepare the sender.

        Args:
            store: The studies.
            outgoing: The queue.
            line: Opens a way to the PACS.
            objects: What is sent of a study: `seg`, `sr`, `picture`.
        """
        self._store, self._outgoing, self._line = store, outgoing, line
        self._objects = tuple(name for name in ("seg", "sr", "picture") if name in objects)  # a report names its SEG

    def run(self, stop: threading.Event) -> None:
        """Queue and send until `stop` is set; while the PACS does not answer, it is asked ever less often."""
        since, backoff, failures = self._outgoing.since(), Backoff(first=5.0, ceiling=300.0), 0
        while not stop.is_set():
            failures = 0 if self._step_safely(since) else failures + 1
            wait = backoff.delay(failures, random.random()) if failures else _IDLE_SECONDS  # noqa: S311 - jitter
            stop.wait(wait)

    def queue_new(self, since: float) -> int:
        """Queue the findings made since `since` (seconds since 1970) that were not looked at yet; return how many have something to send."""
        seen = self._outgoing.looked_at()
        fresh = [key for key, version in self._store.history.measured_since(since).items() if version != seen.get(key)]
        return sum(self.queue(key) for key in fresh)

    def queue(self, study_key: str) -> bool:
        """Queue the present finding of a study.

        Returns:
            False if there is none to be sent: the study is not measured at present, or has no report. What was queued before is not
            queued again.

        Raises:
            InvalidInputError: `not-found`.
            UnavailableError: `disk-full`.
        """
        self._store.study(study_key)
        with self._store.measuring():
            finding = self._store.finding(study_key)
            if finding is None:
                return False
            report = self._store.folder(study_key) / SR
            digest = hashlib.sha256(report.read_bytes()).hexdigest() if report.is_file() else ""
            fresh = not self._outgoing.holds(study_key, digest)
            self._outgoing.sweep(study_key)
            names = [name for name in self._objects if fresh and self._place(study_key, finding.version, name)]
        self._outgoing.put(study_key, finding.version, digest, names)
        return bool(names) or bool(digest and not fresh)

    def step(self) -> int:
        """Send what is due; return how many objects are settled: sent, or refused for good.

        Raises:
            FederationError: If the PACS does not answer, or not us; what was tried waits for its next try.
        """
        due, settled, held = self._outgoing.due(), 0, set[str]()
        if not due:
            return 0
        with ExitStack() as stack:
            try:
                line = stack.enter_context(self._line())
            except FederationError as error:
                self._postpone(due[0], error.code)
                raise
            for one in due:
                if one.study_key in held:
                    continue
                if not self._send(line, one):
                    held.add(one.study_key)  # what comes next may name it; `due` knows what does
                settled += 1
        return settled

    def _step_safely(self, since: float) -> bool:
        """Take one step; the loop outlives any fault. Return whether the PACS is well."""
        try:
            self.queue_new(since)
            self.step()
        except FederationError as error:
            log.error("findings.wait", extra={"code": error.code.value})  # noqa: TRY400 - the code says it
            return False
        except Exception as error:  # noqa: BLE001 - the rim of the thread: a traceback could quote a header
            log.error("findings.fault", extra=fault_of(error))  # noqa: TRY400
            return False
        return True

    def _send(self, line: Line, one: Outbound) -> bool:
        """Send one object; return False if it is parked."""
        path = self._outgoing.path(one.study_key, one.version, one.object)
        if not path.is_file():
            self._outgoing.park(one, Code.NOT_FOUND)
            return False
        try:
            refusal = line.send(path)
        except FederationError as error:
            self._postpone(one, error.code)
            raise
        if refusal is None:
            self._outgoing.settle_sent(one)
            log.info("findings.sent", extra={"study": one.study_key, "version": one.version, "object": one.object})
            return True
        self._outgoing.park(one, refusal)
        log.warning("findings.parked", extra={"study": one.study_key, "object": one.object, "code": refusal.value})
        return False

    def _postpone(self, one: Outbound, code: Code) -> None:
        self._outgoing.postpone(one, code, random.random())  # noqa: S311 - jitter, no secret

    def _place(self, study_key: str, version: int, name: str) -> bool:
        """Give an object its place in the queue's folder; return whether there is one."""
        place = self._outgoing.path(study_key, version, name)
        if name == "picture":
            return place.is_file() or self._place_picture(study_key, version)
        source = self._store.folder(study_key) / _FILES[name]
        if not source.is_file():
            return False
        adopt(source, place)
        return True

    def _place_picture(self, study_key: str, version: int) -> bool:
        """Make the Secondary Capture once, so that every try sends the same one."""
        picture = self._store.folder(study_key) / PICTURE
        instances = self._store.instances(study_key)
        if not picture.is_file() or not instances:
            return False
        try:
            with coded("The header of the series"):
                header = read_part10(instances[0], pixels=False)
                content = as_part10(make_capture(header, picture.read_bytes(), instance_number=version))
        except InvalidInputError as error:
            log.warning("findings.no-picture", extra={"study": study_key, "code": error.code.value})
            return False
        write_durably(self._outgoing.path(study_key, version, "picture"), content)
        return True
