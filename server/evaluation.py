"""The federated evaluation of a run: its newest weights beside the release in use, asked of every site of the plan, once."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from protocol.codes import Code
from protocol.evaluation import Evaluation, EvaluationNotice, EvaluationOrder, Group, Outcome
from protocol.plan import EvaluationPlan
from protocol.shape import ReleaseName, Sha256, Shape
from server.run import RunFolder
from server.verdict import concluded
from strategies.arrays import Arrays, arrays_sha256

log = logging.getLogger(__name__)

AskEvaluation = Callable[[EvaluationOrder, Arrays, tuple[str, ...]], Iterator[tuple[str, EvaluationNotice | Code]]]
"""Carries an order with the candidate's weights to the named sites and yields each site's answer once, by the plan's deadline."""


class Present(Shape):
    """The release that was promoted when the run began, and the hash of its weights."""

    name: ReleaseName
    sha256: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """What an evaluation came to: each site's answer, or why there is none, and what follows."""

    candidate_sha256: str
    notices: tuple[EvaluationNotice, ...] = ()
    refused: dict[str, Code] = field(default_factory=dict)
    verdict: Evaluation


_PRESENT: TypeAdapter[Present] = TypeAdapter(Present)
_RECORD: TypeAdapter[EvaluationRecord] = TypeAdapter(EvaluationRecord)


def note_of_present(name: str, weights: Arrays) -> dict[str, bytes]:
    """Return the file of a run that says with which release its result will be compared, by its name."""
    return {"present.json": _PRESENT.dump_json(Present(name=name, sha256=arrays_sha256(weights)))}


def evaluation_of(folder: RunFolder) -> EvaluationRecord | None:
    """Return what the run's evaluation came to; `None` before it.

    Raises:
        InvalidInputError: `bad-shape` if the file is damaged.
    """
    return folder.read_room("evaluation.json", _RECORD)


def nobody_evaluates(
    _order: EvaluationOrder, _candidate: Arrays, sites: tuple[str, ...]
) -> Iterator[tuple[str, EvaluationNotice | Code]]:
    """No way to the sites for evaluations: each is absent, so that nothing is promoted."""
    yield from ((site, Code.NODE_ABSENT) for site in sites)


def evaluate_run(folder: RunFolder, ask: AskEvaluation) -> None:
    """Compare the newest weights of a run with the present release, if its plan says so and it was not done before.

    Asked again after a death, sites give the answers that they gave before. Sites that refused to train are asked too: comparing is
    another matter, with a policy of its own.

    Raises:
        FederationError: If the run's files cannot be read or written.
    """
    plan = folder.plan()
    present = folder.read_room("present.json", _PRESENT)
    if plan.evaluation is None or present is None or evaluation_of(folder) is not None:
        return
    _, weights = folder.latest()
    order = EvaluationOrder(
        run_id=folder.run_id, candidate_sha256=arrays_sha256(weights), present=present.name, present_sha256=present.sha256, plan=plan,
    )  # fmt: skip
    record = _collected(order, plan.evaluation, ask(order, weights, plan.sites))
    folder.write_room("evaluation.json", _RECORD.dump_json(record))
    log.info(
        "evaluation.ended sites=%d refused=%d reason=%s",
        len(record.notices),
        len(record.refused),
        record.verdict.reason,
    )


def _collected(
    order: EvaluationOrder, plan: EvaluationPlan, answers: Iterator[tuple[str, EvaluationNotice | Code]]
) -> EvaluationRecord:
    """Take one answer of each site of the plan; what is bound to another question counts as none."""
    notices: dict[str, EvaluationNotice] = {}
    refused: dict[str, Code] = {}
    for site, said in answers:
        if site not in order.plan.sites or site in notices or site in refused:
            continue
        if isinstance(said, Code):
            refused[site] = said
        elif _is_bound(said, order, site):
            notices[site] = said
        else:
            refused[site] = Code.BAD_UPDATE
    late = {site: Code.ROUND_LATE for site in order.plan.sites if site not in {*notices, *refused}}
    kept = tuple(notices[site] for site in sorted(notices))
    return EvaluationRecord(
        candidate_sha256=order.candidate_sha256, notices=kept, refused=refused | late, verdict=concluded(plan, order.present, kept),
    )  # fmt: skip


def _is_bound(notice: EvaluationNotice, order: EvaluationOrder, site: str) -> bool:
    asked = (order.run_id, site, order.candidate_sha256, order.present_sha256)
    return (notice.run_id, notice.site, notice.candidate_sha256, notice.present_sha256) == asked


def evaluation_line(record: EvaluationRecord) -> str:
    """Return what a federated evaluation came to, in one line for a person."""
    verdict = record.verdict
    overall = next(one for one in verdict.groups if one.group is Group.ALL)
    worse = ", ".join(one.group.value for one in verdict.groups if one.outcome is Outcome.WORSE)
    refused = "".join(f", {site} did not ({code})" for site, code in sorted(record.refused.items()))
    how = f"{overall.change:+.3f} Dice ± {overall.error:.3f} against {verdict.present}"
    lost = f"; worse: {worse}" if worse else ""
    return f"evaluation: {verdict.sites} sites compared{refused}; {how}{lost}; {verdict.reason or 'may be promoted'}"


def evaluation_summary(folder: RunFolder) -> dict[str, Any] | None:
    """Return what `train --json` prints of a run's evaluation; `None` where there was none."""
    record = evaluation_of(folder)
    if record is None:
        return None
    return {**record.verdict.model_dump(mode="json"), "refused": dict(record.refused)}
