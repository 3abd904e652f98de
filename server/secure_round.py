"""A round of a plan with secure summation: five questions within the round's time, one sum, one step."""

from collections.abc import Callable, Iterator, Mapping

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import RoundOrder
from protocol.secure_sum import Agreement, Boxes, Circle, SecureQuestion, View
from protocol.shape import Shape
from server.secure_sum import Reply, Summation
from server.tally import Tally, Weights
from strategies.arrays import Arrays
from strategies.securesum.step import step_of, values_of
from strategies.strategy import Step

SHARE_OF_TIME: Mapping[type[Shape], float] = {RoundOrder: 0.3, Circle: 0.1, Boxes: 0.4, View: 0.1, Agreement: 0.1}
"""How much of the round's time each question has. Before the first, a site may have to prepare new patients; after the boxes it trains."""

SecureAsk = Callable[[Mapping[str, SecureQuestion], Arrays, float], Iterator[tuple[str, Reply | Code]]]
"""Puts each named site its question, with these weights (or none), and yields each site's answer once, within so many seconds."""


def play_secure_round(
    order: RoundOrder, base: Weights, ask: SecureAsk, *, lasting: Mapping[str, Code]
) -> tuple[Tally, Step | None]:
    """Let the sites of the plan that have not refused for good add their summands up in secret.

    Returns:
        What the sites said, and the step that their updates make together: none if there is no sum, or one of fewer sites than the quorum.
    """
    sites = tuple(site for site in order.plan.sites if site not in lasting)
    tally = Tally(order, base, sites)
    summation = Summation(order, values_of(base), _exchange(order, base, ask))
    try:
        total = summation.summed(sites)
    except RefusedError as error:
        tally.refused = {site: summation.refused.get(site, error.code) for site in sites}
        return tally, None
    tally.sites = sorted(summation.notices)
    tally.epsilon = {site: notice.epsilon for site, notice in summation.notices.items()}
    tally.refused = {site: summation.refused.get(site, Code.ROUND_LATE) for site in sites if site not in tally.sites}
    enough = len(tally.sites) >= order.plan.quorum
    return tally, step_of(total, order, base, sites=len(tally.sites)) if enough else None


def _exchange(
    order: RoundOrder, base: Arrays, ask: SecureAsk
) -> Callable[[Mapping[str, Shape]], Iterator[tuple[str, Reply | Code]]]:
    """Return what puts one step's questions; the weights go with the boxes."""

    def exchange(questions: Mapping[str, Shape]) -> Iterator[tuple[str, Reply | Code]]:
        kind = type(next(iter(questions.values()), order))
        asked = {site: _question(order, question) for site, question in questions.items()}
        weights = base if kind is Boxes else {}
        yield from ask(asked, weights, SHARE_OF_TIME[kind] * order.plan.round_seconds)

    return exchange


def _question(order: RoundOrder, asked: Shape) -> SecureQuestion:
    if isinstance(asked, Circle | Boxes | View | Agreement):
        return SecureQuestion(order=order, asked=asked)
    return SecureQuestion(order=order)
