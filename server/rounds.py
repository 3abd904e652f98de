"""The round loop: whom to ask, which updates count, when a round is skipped and when a run is over.

Written ourselves because Flower's own loop asks whoever is connected, waits for a missing node without end and cannot be taken up again
after a death. It knows nothing of Flower: `Ask` carries a round's question to the sites.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from protocol.codes import Code
from protocol.plan import RoundOrder, RunPlan
from protocol.secure_sum import SecureQuestion
from server.combine import combined, moved
from server.evaluation import AskEvaluation, evaluate_run, nobody_evaluates
from server.run import COMPLETED, RoundRecord, RunFolder
from server.secure_round import SecureAsk, play_secure_round
from server.secure_sum import Reply
from server.tally import Said, Tally, Weights
from strategies.arrays import Arrays, added, arrays_sha256, within_reach
from strategies.norms import sent_part
from strategies.strategy import Step

log = logging.getLogger(__name__)

LASTING = frozenset(
    {
        Code.BUDGET_SPENT, Code.BUDGET_TOO_SMALL, Code.POLICY_PURPOSE, Code.POLICY_BUNDLE, Code.POLICY_LINEAGE, Code.POLICY_STRATEGY, Code.POLICY_PEERS,
        Code.POLICY_SECURE_SUM, Code.PLAN_CHANGED,
    }
)  # fmt: skip
"""Refusals that will not change during a run; who gave one is not asked again."""

SKIPS_BEFORE_THE_END = 3
"""So many rounds in a row without a quorum end a run."""

Ask = Callable[[RoundOrder, Arrays, tuple[str, ...]], Iterator[tuple[str, Said]]]
"""Carries an order with its base weights to the named sites and yields each site's answer once, by the deadline of the plan."""


def nobody(
    questions: Mapping[str, SecureQuestion], _base: Arrays, _seconds: float
) -> Iterator[tuple[str, Reply | Code]]:
    """No way to the sites for secure summation: each is absent, so that no round of it counts."""
    yield from ((site, Code.NODE_ABSENT) for site in questions)


def run_rounds(
    folder: RunFolder,
    ask: Ask,
    *,
    clock: Callable[[], float],
    secure: SecureAsk = nobody,
    compare: AskEvaluation = nobody_evaluates,
) -> None:
    """Carry a run on from its newest checkpoint to its end, and record how it ended: `completed` or `quorum-missed`.

    A skipped round is used up like any other: who answered in it has been charged. A run without any round that counts is not completed.

    Args:
        folder: Holds the plan and the checkpoints.
        ask: The way to the sites, for updates of their own.
        clock: Seconds that never run backwards.
        secure: The way to the sites, for plans with secure summation.
        compare: The way to the sites, for plans with an evaluation; it comes before the run is called completed.

    Raises:
        FederationError: If a checkpoint cannot be read or written. The run can be taken up again.
    """
    plan = folder.plan()
    _count_interrupted(folder)
    done, weights = folder.latest()
    lasting: dict[str, Code] = {}
    skips = 0
    for number in range(done + 1, plan.rounds + 1):
        if len(plan.sites) - len(lasting) < plan.quorum or skips == SKIPS_BEFORE_THE_END:
            folder.end(Code.QUORUM_MISSED)
            return
        started = clock()
        order = RoundOrder(run_id=folder.run_id, round=number, base_sha256=arrays_sha256(weights), plan=plan)
        if plan.secure_sum is None:
            tally, step = play_round(order, weights, ask, folder.spool, lasting=lasting)
        else:
            folder.note_secure_round(number)
            tally, step = play_secure_round(order, weights, secure, lasting=lasting)
        stepped = None if step is None else _stepped(plan, weights, step, folder)
        if stepped is not None and not within_reach(stepped[0]):
            # A rate or a momentum carries further than any update does.
            log.warning("round.out-of-reach round=%d", number)
            tally.spoil()
            stepped = None
        weights, optimizer = stepped or (weights, None)
        record = recorded(tally, weights, optimizer, lasting=lasting, seconds=clock() - started)
        folder.checkpoint(record, weights, optimizer)
        lasting |= {site: code for site, code in tally.refused.items() if code in LASTING}
        skips = skips + 1 if record.skipped else 0
        log.info("round.ended round=%d sites=%d refused=%d", number, len(record.sites), len(record.refused))
    if _faded_out(folder.records()):
        folder.end(Code.QUORUM_MISSED)
        return
    evaluate_run(folder, compare)
    folder.end(COMPLETED)


def _faded_out(records: Sequence[RoundRecord]) -> bool:
    """Say whether no round counted, or none of the last ones; whoever takes up a run with no round left finds it as it ended."""
    skipped = [record.skipped for record in records]
    return all(skipped) or (len(skipped) >= SKIPS_BEFORE_THE_END and all(skipped[-SKIPS_BEFORE_THE_END:]))


def _count_interrupted(folder: RunFolder) -> None:
    """Count a round of secure summation that was begun and has no entry as skipped: sites play each round once (ADR 0091)."""
    done, weights = folder.latest()
    if folder.secure_round() <= done:
        return
    refused = dict.fromkeys(folder.plan().sites, Code.RUN_FAILED)
    record = RoundRecord(round=done + 1, weights_sha256=arrays_sha256(weights), refused=refused, skipped=True)
    folder.checkpoint(record, weights)


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
