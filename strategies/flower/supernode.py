"""`python -m strategies.flower.supernode`: the stock SuperNode under its own options, with waits no longer than they have to be."""

import time
from collections.abc import Callable

from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.supernode import start_client_internal as supernode_loop
from flwr.supernode.cli import flower_supernode

from strategies.cadence import Cadence
from strategies.flower.pace import IDLE_SECONDS, LONGEST_IDLE_SECONDS, STEP_SECONDS, ask_sooner

_HELD_SECONDS = 5.0
"""A question for work that took longer was held by the centre."""

_FLOWERS_IDLE_SECONDS = 3
"""How long the stock SuperNode waits when nothing has come; its other waits are shorter."""


def run_supernode() -> None:
    """Be the stock SuperNode, with the options on this process's command line; return when it has ended.

    Its loop asks for work every 3 s, looks for the runner's reply every 0.5 s, and asks again after 1 s for a piece of a message that the
    centre is still writing. None of it can be set, and together it is more than all else in a round.
    """
    ask_sooner(supernode_loop, pull_objects)
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


if __name__ == "__main__":
    run_supernode()
