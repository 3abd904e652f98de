"""`python -m strategies.flower.supernode`: the stock SuperNode under its own options, with waits no longer than they have to be."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Message
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_utils import pull_objects, push_object_contents_from_iterable
from flwr.supercore.object_store import ObjectStore
from flwr.supernode import main as supernode_app
from flwr.supernode import start_client_internal as supernode_loop
from flwr.supernode.cli import flower_supernode
from flwr.supernode.nodestate import NodeState

from strategies.cadence import Cadence
from strategies.flower.layers import chained
from strategies.flower.objects import STIRRED, SharedObjectStoreFactory
from strategies.flower.pace import IDLE_SECONDS, LONGEST_IDLE_SECONDS, LONGEST_STEP_SECONDS, STEP_SECONDS, ask_sooner
from strategies.flower.pieces import Pieces, shared_pieces

Received = tuple[Message, ObjectTree]

_HELD_SECONDS = 5.0
"""A question for work that took longer was held by the centre."""

_FLOWERS_IDLE_SECONDS = 3
"""How long the stock SuperNode waits when nothing has come; its other waits are shorter."""


def run_supernode() -> None:
    """Be the stock SuperNode, with the options on this process's command line; return when it has ended.

    Its loop asks for work every 3 s, looks for the runner's reply every 0.5 s, and asks again after 1 s for a piece of a message that the
    centre is still writing. None of it can be set, and together it is more than all else in a round. And it does not let go of a message that
    the SuperLink could not send to its end (`let_go`). With a folder to share, it hands weights to its runner and takes them back by ticket.
    """
    ask_sooner(supernode_loop, pull_objects)
    supernode_loop.register_signal_handlers = end_once(supernode_loop.register_signal_handlers)  # type: ignore[attr-defined]
    supernode_loop._pull_and_store_message = let_go(supernode_loop._pull_and_store_message)  # noqa: SLF001 - the adapter's business
    pieces = shared_pieces()
    supernode_loop.time = _Waits(stirred=STIRRED if pieces else None)  # type: ignore[assignment, attr-defined] # of `time`, it calls `sleep` alone
    supernode_app.create_app = chained(supernode_app.create_app)
    if pieces:
        flower_supernode.__globals__["ObjectStoreFactory"] = SharedObjectStoreFactory
        supernode_loop.push_object_contents_from_iterable = redeemed(push_object_contents_from_iterable, pieces)  # type: ignore[attr-defined]
    ending_at_a_fault(flower_supernode)()


def ending_at_a_fault(program: Callable[[], None]) -> Callable[[], None]:
    """Return Flower's program, so that the process ends with it when it fails, with exit code 1.

    Its runtime API is served by a thread that Python waits for: a SuperNode that was refused, because the fleet gateway did not know
    its certificate yet, would stay for ever, and nobody would start it again.
    """

    def run() -> None:
        try:
            program()
        except Exception:  # noqa: BLE001 - whatever it is, it is printed, and the process ends with it
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    return run


def end_once(register: Callable[..., None]) -> Callable[..., None]:
    """Return Flower's function that registers its handlers of signals, so that a second signal does not cut its farewell off.

    At the first one a SuperNode tells the SuperLink that it goes. Without that the SuperLink refuses it under its old key until its
    heartbeat has lapsed, most of a minute later. At a terminal, and where a whole process group is asked to end, two signals are usual,
    and Flower gives the second one to whoever handled signals before it.
    """

    def registered(**options: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        register(**options)

    return registered


def let_go(pull: Callable[..., int | None]) -> Callable[..., int | None]:
    """Return Flower's function that fetches a message, so that one which never became whole does not stay.

    A SuperLink that is killed while it hands a message out ends the message's run. The SuperNode then takes the next message, but keeps the
    first with its task: the runner would wait two hours for the missing pieces; and once the task's time is over, an answer of its own making
    would stand in the place of the next message's, which in turn would go out with the one after it, a round too late, for good.
    """

    def pulled(
        *, state: NodeState, object_store: ObjectStore, receive: Callable[[], Received | None], **others: Any
    ) -> int | None:
        taken: list[str] = []

        def noted() -> Received | None:
            received = receive()
            if received is not None:
                taken.append(received[0].metadata.message_id)
            return received

        run_id = pull(state=state, object_store=object_store, receive=noted, **others)
        if run_id is None and taken:
            state.delete_messages(message_ids=taken)
            object_store.delete(taken[0])
        return run_id

    return pulled


def redeemed(push: Callable[..., None], pieces: Pieces) -> Callable[..., None]:
    """Return Flower's function that sends objects to the centre, which is given what their tickets stand for."""

    def pushed(contents: Iterable[tuple[str, bytes]], **others: Any) -> None:
        push(((object_id, pieces.resolved(content)) for object_id, content in contents), **others)

    return pushed


class _Waits:
    """What the SuperNode's loop takes for the module `time`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, stirred: threading.Event | None = None) -> None:
        self._clock = clock
        self._stirred = stirred
        self._idle = Cadence(IDLE_SECONDS, LONGEST_IDLE_SECONDS, clock)
        self._left = clock()

    def sleep(self, seconds: float) -> None:
        """Wait for work where Flower would wait 3 s, and for a step of the work where it would wait less.

        A centre that held the question has waited for the work itself, and is asked again at once.
        """
        if seconds < _FLOWERS_IDLE_SECONDS:
            self._idle.restart()
            self._step()
        elif self._clock() - self._left > _HELD_SECONDS:
            time.sleep(STEP_SECONDS)
        else:
            time.sleep(self._idle.pause())
        self._left = self._clock()

    def _step(self) -> None:
        """Wait until something of the runner's has come, where the store says so."""
        if self._stirred is None:
            time.sleep(STEP_SECONDS)
        else:
            self._stirred.wait(LONGEST_STEP_SECONDS)
            self._stirred.clear()


if __name__ == "__main__":
    run_supernode()
