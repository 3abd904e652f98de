"""From the updates of a round to what is added to the weights: screened, combined, and moved by the centre's own optimizer."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from protocol.plan import RunPlan, StrategyName
from server.run import RunFolder
from server.spool import Spool, spooling
from strategies.arrays import Arrays, layout_of
from strategies.fedadam import Adam, adam_step
from strategies.screening import left_out, standing
from strategies.strategy import STRATEGIES, Averaging, Step


def combined(plan: RunPlan, updates: Iterator[tuple[str, Arrays]], spool: Path) -> tuple[Step | None, tuple[str, ...]]:
    """Combine the updates of a round by the plan's strategy.

    A strategy that averages takes them as they come. One that compares, and every screening, needs them all: then they lie in `spool`
    until the round is over.

    Returns:
        The step, or `None` if fewer updates than the quorum are left; and whose updates were screened out.

    Raises:
        UnavailableError: `disk-full`, `run-failed`; the round can be played again.
    """
    strategy = STRATEGIES[plan.strategy]
    first = next(updates, None)
    if first is None:
        return None, ()
    if isinstance(strategy, Averaging) and not plan.screening.wanted:
        return strategy.combine(_alone(chain([first], updates))), ()
    with spooling(spool, layout_of(first[1])) as kept:
        for site, update in chain([first], updates):
            kept.add(site, update)
        return _compared(plan, kept)


def _compared(plan: RunPlan, spool: Spool) -> tuple[Step | None, tuple[str, ...]]:
    stack, strategy = spool.stack(), STRATEGIES[plan.strategy]
    out = left_out(standing(stack), plan.screening) if plan.screening.wanted else []
    screened = tuple(spool.sites[at] for at in out)
    if len(stack) - len(out) < plan.quorum:
        return None, screened
    stack = stack.only([at for at in range(len(stack)) if at not in out])
    if isinstance(strategy, Averaging):
        return strategy.combine(stack.updates()), screened
    return strategy.combine(stack, plan), screened


def _alone(updates: Iterable[tuple[str, Arrays]]) -> Iterator[Arrays]:
    return (update for _, update in updates)


def moved(plan: RunPlan, step: Step, folder: RunFolder) -> tuple[Step, Step | None]:
    """Return what the centre's optimizer makes of a round's step, and its state to be kept, where it has one.

    Nothing is remembered but on the disk: Adam's moments lie beside the checkpoint; with momentum (Polyak 1964; Hsu et al. 2019) the last
    step *is* the velocity and is read from the last two checkpoints. So a run that is taken up again has lost none of it.
    """
    if plan.strategy is StrategyName.FEDADAM:
        adam = Adam(rate=plan.server_rate, beta1=plan.adam_beta1, beta2=plan.adam_beta2, tau=plan.adam_tau)
        return adam_step(step, folder.optimizer_state(), adam)
    scaled = {name: np.float32(plan.server_rate) * array for name, array in step.items()}
    last = folder.last_step() if plan.server_momentum else None
    if last is None:
        return scaled, None
    return {name: array + np.float32(plan.server_momentum) * last[name] for name, array in scaled.items()}, None
