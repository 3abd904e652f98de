"""The training loop of the shipped networks: AdamW, one cycle of the learning rate, an average of the weights over the last steps."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.looks import Example, look_at
from models.loss import patient_loss
from models.net import GgoNet

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how: `looks` examples with `slices` each per step; `size` is the piece seen in the first three quarters, `full` after that.

    `full` is a whole crop as in use: the network's norms look at all of it, and one that knew pieces only saw disease in a healthy
    PET-CT with thick walls (8.3 % of the lungs).
    """

    steps: int
    looks: int = 2
    slices: int = 6
    size: tuple[int, int] = (112, 144)
    full: tuple[int, int] = (224, 288)
    rate: float = 2.5e-3
    decay: float = 0.01
    of_lungs: bool = False
    """Right and left change places in a mirror, and bodies are stretched and bent (`models.looks`)."""


def fit(net: GgoNet, examples: Sequence[Example], schedule: Schedule, *, seed: int) -> GgoNet:
    """Train `net` and return the running average of its weights, in evaluation mode.

    Args:
        net: Changed in place; the average is the better one.
        examples: At least one.
        schedule: Length and rate.
        seed: Decides what is looked at and how.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.rate, total_steps=schedule.steps, pct_start=0.15)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # a fifth faster; torch's stub lacks it for modules
    average = copy.deepcopy(net)
    running = 0.0
    net.train()
    for step in range(schedule.steps):
        loss = _step(net, optimizer, rng, examples, schedule, late=step > schedule.steps * 3 // 4)
        cycle.step()
        _follow(average, net, 0.0 if step < 20 else 0.99)  # noqa: PLR2004 - the first steps are not worth remembering
        running = loss if step == 0 else 0.98 * running + 0.02 * loss
        if step % 50 == 49:  # noqa: PLR2004
            log.info("fit.step %d of %d, loss %.4f", step + 1, schedule.steps, running)
    return average.eval()


def _step(
    net: GgoNet, optimizer: torch.optim.Optimizer, rng: np.random.Generator, examples: Sequence[Example], schedule: Schedule, *, late: bool
) -> float:  # fmt: skip
    optimizer.zero_grad()
    total = 0.0
    for _ in range(schedule.looks):
        example = examples[int(rng.integers(len(examples)))]
        size = schedule.full if late else schedule.size
        look = look_at(
            rng, example, slices=schedule.slices, size=size, mirror_sides=schedule.of_lungs, bodies=schedule.of_lungs
        )
        loss = (
            patient_loss(net(look.inputs.contiguous(memory_format=torch.channels_last)), look.target, look.weight)
            / schedule.looks
        )
        loss.backward()  # type: ignore[no-untyped-call] # torch
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer.step()
    return total


def _follow(average: GgoNet, net: GgoNet, keep: float) -> None:
    with torch.no_grad():
        for mean, now in zip(average.parameters(), net.parameters(), strict=True):
            mean.lerp_(now, 1.0 - keep)
