"""Hands stored notices to their receivers, in order, until each has answered. Runs in a thread of its own beside the link."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from client.gate.inbox import DONE, LONGEST_WAIT_SECONDS, Arrived, Inbox
from client.logs import fault_of
from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError
from protocol.parcel import parse_notice

Receiver = Callable[[Any], None]
"""Takes one parsed notice. May get the same one twice. Another error of the families than `UnavailableError` is final."""

_IDLE_SECONDS = 0.5
_DOUBLINGS = 9
"""After so many the wait is the longest one."""

_PATIENCE = 12
"""Tries after which a notice that belongs to no read lets later ones of its kind pass: some 18 minutes."""

log = logging.getLogger(__name__)


class Dispatcher:
    """Works through the inbox. A notice is given out again if the process dies before its receiver's answer is stored."""

    def __init__(self, inbox: Inbox, receivers: Mapping[str, Receiver]) -> None:
        self._inbox = inbox
        self._receivers = receivers

    def run(self, stop: threading.Event, woken: threading.Event) -> None:
        """Dispatch until `stop` is set; `woken` says that something has arrived."""
        while not stop.is_set():
            woken.clear()
            try:
                self.step()
            except UnavailableError as error:
                log.error("dispatch.waits", extra={"code": error.code.value})  # noqa: TRY400 - the code says it
            woken.wait(_IDLE_SECONDS)

    def step(self) -> int:
        """Offer every due notice to its receiver and return how many were answered for good.

        Within a lane nothing overtakes: the end of a claim must not come before its beginning. Lanes do not wait for each other: the
        end of one claim, or of a grant, must be heard at once, whatever keeps another claim's report or a release waiting. What cannot
        be taken is tried for ever; a release that cannot be had keeps the next one waiting only so long.

        Raises:
            UnavailableError: `disk-full` if an outcome cannot be stored.
        """
        answered, held = 0, set()
        for notice in self._inbox.pending():
            lane = _lane(notice)
            if lane in held:
                continue
            if notice.due and self._offer(notice):
                answered += 1
            elif lane != notice.kind or notice.attempts < _PATIENCE:
                held.add(lane)
        return answered

    def _offer(self, notice: Arrived) -> bool:
        try:
            outcome = self._outcome(notice)
        except UnavailableError as error:
            self._inbox.postpone(notice.envelope_id, _wait(notice.attempts), code=error.code)
            return False
        self._inbox.settle(notice.envelope_id, outcome)
        log.info("notice.settled", extra={"notice": notice.kind, "outcome": outcome})
        return True

    def _outcome(self, notice: Arrived) -> str:
        """Return `done`, or the code of a refusal.

        Raises:
            UnavailableError: It is to be tried again; `node-fault` for a fault of ours.
        """
        try:
            parsed = parse_notice(notice.body)
            self._receivers[parsed.kind](parsed)
        except UnavailableError as error:
            log.warning("notice.postponed", extra={"notice": notice.kind, "code": error.code.value})
            raise
        except FederationError as error:
            return error.code.value
        except Exception as error:  # noqa: BLE001 - the rim of one notice: its fault must not keep others from their receivers
            log.error("notice.fault", extra={"notice": notice.kind, **fault_of(error)})  # noqa: TRY400
            raise UnavailableError(Code.NODE_FAULT) from None  # its text may quote what the notice is about
        return DONE


def _wait(attempts: int) -> timedelta:
    """Return how long a notice waits after its next failure: a second, twice as long each time, five minutes at most."""
    return timedelta(seconds=min(2 ** min(attempts, _DOUBLINGS), LONGEST_WAIT_SECONDS))


def _lane(notice: Arrived) -> str:
    """Return what a notice belongs to: its claim, else its request, else its kind."""
    try:
        content = json.loads(notice.body)
    except (ValueError, RecursionError):
        return notice.kind
    known = content if isinstance(content, dict) else {}
    return str(known.get("claim_id") or known.get("request_id") or notice.kind)
