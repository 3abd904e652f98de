"""How often the two processes of a node look for what the other, or the centre, has ready."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

IDLE_SECONDS, LONGEST_IDLE_SECONDS = 0.2, 3.0
"""How often a SuperNode asks the centre for work: soon after the last, and when none has come for long (as often as Flower's own)."""

STEP_SECONDS, LONGEST_STEP_SECONDS = 0.02, 0.2
"""How often a SuperNode and its runner look on loopback for what the other has ready, and for pieces that are on their way."""


def ask_sooner(module: ModuleType, pull: Callable[..., Any]) -> None:
    """Let a module of Flower's ask soon again for a piece that is not there yet; by itself it waits 1, 2, 4 and up to 10 s."""
    sooner = partial(pull, initial_backoff=STEP_SECONDS, backoff_cap=LONGEST_STEP_SECONDS, max_tries_per_object=None)
    setattr(module, pull.__name__, sooner)
