"""The ServerApp: started by the SuperLink for each run, it carries the run in `run-dir` on from its newest checkpoint.

It runs from the bundle, without torch: it adds arrays, and the program that started it measures the checkpoints.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from protocol.codes import Code
from protocol.evaluation import EvaluationNotice, EvaluationOrder
from protocol.plan import RoundOrder
from protocol.secure_sum import SecureQuestion
from server.bell import ORDERS
from server.evaluation import AskEvaluation
from server.family import end_with_parent
from server.rounds import Ask, run_rounds
from server.run import RunFolder
from server.secure_round import SecureAsk
from server.secure_sum import Reply
from server.tally import Said
from strategies.arrays import Arrays
from strategies.bell import Bell
from strategies.flower.pieces import Pieces, share, shared_pieces
from strategies.flower.questions import (
    EVALUATIONS,
    POLLING,
    SECURE,
    Waiting,
    ask,
    ask_each,
    run_setting,
)
from strategies.message import pack_evaluation, pack_order, pack_questions

_PATIENCE_SECONDS = 3.0
"""How often it looks for replies although nobody rang: what Flower itself says of a node that has gone comes without a ring."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry the run on to its end. Every round is on the disk, so this process may end at any moment, and does so with its parent."""
    end_with_parent()
    folder = RunFolder(Path(run_setting(context, "run-dir")))
    pieces = shared_pieces()
    share(grid._runtime_client, pieces)  # type: ignore[attr-defined] # noqa: SLF001 - HttpGrid's
    with folder.held(context.run_id):
        waiting, nodes = by_bells(folder.path.parent, pieces) if pieces else POLLING, folder.nodes()
        run_rounds(
            folder,
            way_to_sites(grid, nodes, waiting),
            clock=time.monotonic,
            secure=way_to_secrets(grid, nodes, waiting),
            compare=way_to_scores(grid, nodes, waiting),
        )


def by_bells(runs: Path, pieces: Pieces) -> Waiting:
    """Return how to wait for replies where the fleet gateway hears of orders, and the SuperLink rings for each message that is whole."""
    orders, whole = Bell(runs / ORDERS), pieces.whole()

    def asked() -> None:
        orders.ring()
        whole.is_silent()  # it rang for the questions

    return Waiting(asked, rest=whole.rest, patience=_PATIENCE_SECONDS)


def way_to_sites(grid: Grid, nodes: dict[str, int], waiting: Waiting = POLLING) -> Ask:
    """Return what carries a question to the sites by the numbers of their SuperNodes, and to nobody else."""
    names = {number: site for site, number in nodes.items()}

    def carry(order: RoundOrder, base: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
        yield from ((site, Code.NODE_ABSENT) for site in sites if site not in nodes)
        numbers = [nodes[site] for site in sites if site in nodes]
        seconds = order.plan.round_seconds
        answers = ask(grid, numbers, pack_order(order, base), group=str(order.round), seconds=seconds, waiting=waiting)
        yield from ((names[answer.node_id], answer.said) for answer in answers)

    return carry


def way_to_scores(grid: Grid, nodes: dict[str, int], waiting: Waiting = POLLING) -> AskEvaluation:
    """Return what asks the sites to compare a candidate with the present release."""
    names = {number: site for site, number in nodes.items()}

    def carry(
        order: EvaluationOrder, candidate: Arrays, sites: tuple[str, ...]
    ) -> Iterator[tuple[str, EvaluationNotice | Code]]:
        yield from ((site, Code.NODE_ABSENT) for site in sites if site not in nodes)
        questions = dict.fromkeys((nodes[site] for site in sites if site in nodes), pack_evaluation(order, candidate))
        seconds = order.plan.evaluation.seconds if order.plan.evaluation is not None else order.plan.round_seconds
        for answer in ask_each(grid, questions, EVALUATIONS, group="0", seconds=seconds, waiting=waiting):
            yield names[answer.node_id], answer.said

    return carry


def way_to_secrets(grid: Grid, nodes: dict[str, int], waiting: Waiting = POLLING) -> SecureAsk:
    """Return what puts the questions of a secure summation to the sites, each site its own."""
    names = {number: site for site, number in nodes.items()}

    def carry(
        questions: Mapping[str, SecureQuestion], base: Arrays, seconds: float
    ) -> Iterator[tuple[str, Reply | Code]]:
        yield from ((site, Code.NODE_ABSENT) for site in questions if site not in nodes)
        packed = pack_questions({nodes[site]: one for site, one in questions.items() if site in nodes}, base)
        group = next((str(one.order.round) for one in questions.values()), "")
        for answer in ask_each(grid, packed, SECURE, group=group, seconds=seconds, waiting=waiting):
            said = answer.said
            yield names[answer.node_id], said if isinstance(said, Code) else (said[0].said, said[1])

    return carry
