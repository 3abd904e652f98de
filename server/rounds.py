"""The round loop: whom to ask, which updates count, when a round is skipped and when a run is over.

Written ourselves because Flower's own loop asks whoever is connected, waits for a missing node without end and cannot be taken up again
after a death. It knows nothing of Flower: `Ask` carries a round's question to the sites.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import RoundOrder, RunPlan, UpdateNotice
from server.combine import combined, moved
from server.run import COMPLETED, RoundRecord, RunFolder
from strategies.arrays import Arrays, added, arrays_sha256, check_update
from strategies.norms import sent_part
from strategies.strategy import Step

log = logging.getLogger(__name__)

LASTING = frozenset({Code.BUDGET_SPENT, Code.POLICY_PURPOSE, Code.POLICY_BUNDLE, Code.POLICY_LINEAGE})
"""Refusals that will not change during a run; who gave one is not asked again."""

SKIPS_BEFORE_THE_END = 3
"""So many rounds in a row without a quorum end a run."""

Weights = dict[str, NDArray[np.float32]]

Said = tuple[UpdateNotice, Arrays] | Code
"""A site's update with its notice, or why there is none."""

Ask = Callable[[RoundOrder, Arrays, tuple[str, ...]], Iterator[tuple[str, Said]]]
"""Carries an order with its base weights to the named sites and yields each site's answer once, by the deadline of the plan."""


@dataclass(slots=True)
class Tally:
    """What the sites said in one round."""

    order: RoundOrder
    base: Arrays
    asked: tuple[str, ...]
    sites: list[str] = field(default_factory=list)
    refused: dict[str, Code] = field(default_factory=dict)
    epsilon: dict[str, float] = field(default_factory=dict)

    def counted(self, answers: Iterator[tuple[str, Said]]) -> Iterator[tuple[str, Arrays]]:
        """Yield site and update of those that count, one by one, and note what became of every other answer. A site has one answer."""
        for site, said in answers:
            if site not in self.asked or site in self.sites or site in self.refused:
                continue
            if isinstance(said, Code):
                self.refused[site] = said
                continue
            notice, update = said
            try:
                check_answer(self.order, site, self.base, notice=notice, update=update)
            except RefusedError as error:
                self.refused[site] = error.code
                continue
            self.sites.append(site)
            self.epsilon[site] = notice.epsilon
            yield site, update
        self.refused |= {site: Code.ROUND_LATE for site in self.asked if site not in {*self.sites, *self.refused}}

    def screen(self, sites: tuple[str, ...]) -> None:
        """Note whose updates were left out by the plan's screening. They were charged like the others, and go on being asked."""
        self.sites = [site for site in self.sites if site not in sites]
        self.refused |= dict.fromkeys(sites, Code.SCREENED_UPDATE)


def check_answer(order: RoundOrder, site: str, base: Arrays, *, notice: UpdateNotice, update: Arrays) -> None:
    """Accept an update that is well formed and bound to this run, round, site, base and content.

    Raises:
        RefusedError: `bad-update`.
    """
    asked = (order.run_id, order.round, site, order.base_sha256)
    if (notice.run_id, notice.round, notice.site, notice.base_sha256) != asked:
        raise RefusedError(Code.BAD_UPDATE, f"The update from {site} is bound to another run, round, site or base.")
    check_update(update, sent_part(order.plan, base))
    if arrays_sha256(update) != notice.update_sha256:
        raise RefusedError(Code.BAD_UPDATE, f"The update from {site} is not the one that its notice names.")


def run_rounds(folder: RunFolder, ask: Ask, *, clock: Callable[[], float]) -> None:
    """Carry a run on from its newest checkpoint to its end, and record how it ended: `completed` or `quorum-missed`.

    A skipped round is used up like any other: who answered in it has been charged. A run without any round that counts is not completed.

    Args:
        folder: Holds the plan and the checkpoints.
        ask: The way to the sites.
        clock: Seconds that never run backwards.

    Raises:
        FederationError: If a checkpoint cannot be read or written. The run can be taken up again.
    """
    plan = folder.plan()
    done, weights = folder.latest()
    lasting: dict[str, Code] = {}
    skips = 0
    for number in range(done + 1, plan.rounds + 1):
        if len(plan.sites) - len(lasting) < plan.quorum or skips == SKIPS_BEFORE_THE_END:
            folder.end(Code.QUORUM_MISSED)
            return
        started = clock()
        order = RoundOrder(run_id=folder.run_id, round=number, base_sha256=arrays_sha256(weights), plan=plan)
        tally, step = play_round(order, weights, ask, folder.spool, lasting=lasting)
        weights, optimizer = (weights, None) if step is None else _stepped(plan, weights, step, folder)
        record = recorded(tally, weights, optimizer, lasting=lasting, seconds=clock() - started)
        folder.checkpoint(record, weights, optimizer)
        lasting |= {site: code for site, code in tally.refused.items() if code in LASTING}
        skips = skips + 1 if record.skipped else 0
        log.info("round.ended round=%d sites=%d refused=%d", number, len(record.sites), len(record.refused))
    counted = any(not record.skipped for record in folder.records())
    folder.end(COMPLETED if counted and skips < SKIPS_BEFORE_THE_END else Code.QUORUM_MISSED)


def play_round(
    order: RoundOrder, base: Weights, ask: Ask, spool: Path, *, lasting: Mapping[str, Code]
) -> tuple[Tally, Step | None]:
    """Ask every site of the plan that has not refused for good, and combine the updates as they come.

    Returns:
        What the sites said, and the step that their updates make together: none if fewer of them than the quorum count.
    """
    sites = tuple(site for site in order.plan.sites if site not in lasting)
    tally = Tally(order, base, sites)
    step, screened = combined(order.plan, tally.counted(ask(order, base, sites)), spool)
    tally.screen(screened)
    return tally, step if len(tally.sites) >= order.plan.quorum else None


def _stepped(plan: RunPlan, base: Weights, step: Step, folder: RunFolder) -> tuple[Weights, Weights | None]:
    """Return the new weights, and the state of the centre's optimizer. What sites keep to themselves stays as it was in `base`."""
    way, optimizer = moved(plan, step, folder)
    return {**base, **added(sent_part(plan, base), way)}, optimizer


def recorded(
    tally: Tally, weights: Arrays, optimizer: Arrays | None, *, lasting: Mapping[str, Code], seconds: float
) -> RoundRecord:
    """Return the round as it is kept; sites that refused for good earlier stand there with their code."""
    plan: RunPlan = tally.order.plan
    return RoundRecord(
        round=tally.order.round,
        weights_sha256=arrays_sha256(weights),
        sites=tuple(sorted(tally.sites)),
        refused={**lasting, **tally.refused},
        epsilon=tally.epsilon,
        skipped=len(tally.sites) < plan.quorum,
        seconds=round(seconds, 3),
        optimizer_sha256="" if optimizer is None else arrays_sha256(optimizer),
    )
