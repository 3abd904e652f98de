"""A public moment before which nothing is answered: how long training took tells how many patients entered the steps.

A trainer in here answers, or refuses, no sooner than the plan's `answer_seconds` after the order came (ADR 0136). Who takes longer than that is
seen to; with 0, as in a plan that does not say, every answer leaves when it is ready.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.train.secure import SecureTrainer
from client.train.site import SiteTrainer, Update
from protocol.plan import RoundOrder, UpdateNotice
from protocol.secure_sum import Boxes, SecureQuestion, SecureReply
from strategies.arrays import Arrays


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that never run backwards, and how to let some pass."""

    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep

    @contextmanager
    def no_sooner_than(self, seconds: float) -> Iterator[None]:
        """End a block, whichever way it ends, no sooner than `seconds` after it began."""
        until = self.clock() + seconds
        try:
            yield
        finally:
            while (left := until - self.clock()) > 0:
                self.wait(left)


@dataclass(frozen=True, slots=True)
class PacedTrainer:
    """Answers orders to train at their public moment."""

    trainer: SiteTrainer
    pace: Pace = Pace()

    def answer(self, order: RoundOrder, base: Arrays) -> tuple[UpdateNotice, Update]:
        """Answer as `SiteTrainer.answer` does, and raise what it raises."""
        with self.pace.no_sooner_than(order.plan.answer_seconds):
            return self.trainer.answer(order, base)


@dataclass(frozen=True, slots=True)
class PacedSecureTrainer:
    """The same for the one question of a secure summation for which patients are looked at."""

    trainer: SecureTrainer
    pace: Pace = Pace()

    def answer(self, question: SecureQuestion, base: Arrays) -> tuple[SecureReply, NDArray[np.uint32] | None]:
        """Answer as `SecureTrainer.answer` does, and raise what it raises."""
        trains = isinstance(question.asked, Boxes)
        with self.pace.no_sooner_than(question.order.plan.answer_seconds if trains else 0):
            return self.trainer.answer(question, base)
