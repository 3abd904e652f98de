"""Many readers claim at once; exactly one wins, every round."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from protocol.codes import Code
from protocol.errors import FederationError
from protocol.reading import ReadPost
from registry_api.reading.claims import Claim
from registry_api.reading.lifecycle import State
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import Story

READERS = 12
ROUNDS = 5


def test_of_many_claims_at_once_exactly_one_wins(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    readers = [add_reader(f"Reader {number}") for number in range(READERS)]
    with ThreadPoolExecutor(READERS) as pool:
        for number in range(ROUNDS):
            request = f"{number:032x}"
            story.arrives(post(request))
            start = Barrier(READERS)

            def race(reader: str, request: str = request, start: Barrier = start) -> Claim | Code:
                start.wait()
                try:
                    return story.claims(reader, request)
                except FederationError as error:
                    return error.code

            outcomes = list(pool.map(race, readers))
            winners = [(r, o) for r, o in zip(readers, outcomes, strict=True) if isinstance(o, Claim)]
            assert len(winners) == 1
            assert {o for o in outcomes if not isinstance(o, Claim)} == {Code.ILLEGAL_TRANSITION}
            slot = story.slot(request)
            assert (slot.reader_id, slot.claim_id) == (winners[0][0], winners[0][1].claim_id)
            assert (slot.fence, State(slot.state)) == (1, State.CLAIMED)
            story.releases(winners[0][1], winners[0][0])


@pytest.mark.slow
def test_of_a_thousand_racing_claims_exactly_one_wins(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    """Every reader tries again and again; who has won is told that the read is theirs already."""
    readers = [add_reader(f"Reader {number}") for number in range(10)]
    story.arrives(post())
    start = Barrier(len(readers))

    def race(reader: str) -> list[Claim | Code]:
        start.wait()
        outcomes: list[Claim | Code] = []
        for _ in range(1000 // len(readers)):
            try:
                outcomes.append(story.claims(reader, REQUEST))
            except FederationError as error:
                outcomes.append(error.code)
        return outcomes

    with ThreadPoolExecutor(len(readers)) as pool:
        found = dict(zip(readers, pool.map(race, readers), strict=True))
    outcomes = Counter(one if isinstance(one, Code) else "won" for of_one in found.values() for one in of_one)
    assert outcomes["won"] == 1
    assert outcomes.total() == 1000
    slot = story.slot(REQUEST)
    (won,) = (one for one in found[slot.reader_id or ""] if isinstance(one, Claim))
    assert (slot.fence, slot.claim_id, State(slot.state)) == (1, won.claim_id, State.CLAIMED)
    lost = Counter(one for reader in readers if reader != slot.reader_id for one in found[reader])
    assert lost == {Code.ILLEGAL_TRANSITION: 1000 - 1000 // len(readers)}


def test_one_reader_claiming_everything_at_once_stays_within_capacity(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    reader = add_reader()
    requests = [f"{number:032x}" for number in range(READERS)]
    for request in requests:
        story.arrives(post(request))

    def race(request: str) -> bool:
        try:
            story.claims(reader, request)
        except FederationError:
            return False
        return True

    with ThreadPoolExecutor(READERS) as pool:
        assert sum(pool.map(race, requests)) == 5
