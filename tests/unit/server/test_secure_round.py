"""A round with secure summation in the loop: what counts, what is skipped, and that an interrupted one is never asked for again."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from protocol.codes import Code
from protocol.errors import UnavailableError
from protocol.plan import SecureSumPlan
from protocol.secure_sum import Boxes, Circle, SecureQuestion, View
from protocol.shape import Shape
from server.rounds import run_rounds
from server.run import COMPLETED, RunFolder
from server.secure_round import SHARE_OF_TIME
from server.secure_sum import Reply
from strategies.arrays import Arrays, arrays_sha256
from strategies.securesum.grid import grid_of
from strategies.securesum.step import values_of
from tests.fakes.circle import Hall, names
from tests.fakes.rounds import RUN, a_plan, weights

SITES = names(3)
PLAN = a_plan(
    sites=SITES, privacy=a_plan().privacy.model_copy(update={"steps_per_round": 1}),
    secure_sum=SecureSumPlan(dropouts=1, colluders=0),
)  # fmt: skip


@dataclass
class Sites:
    """The way to members in this process; `lost` says in which round and at which question a site is gone for the round."""

    lost: dict[int, dict[str, type[Shape]]] = field(default_factory=dict)
    halls: dict[int, Hall] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    with_weights: list[bool] = field(default_factory=list)
    dies_in: int | None = None

    def __call__(
        self, questions: Mapping[str, SecureQuestion], base: Arrays, seconds: float
    ) -> Iterator[tuple[str, Reply | Code]]:
        order = next(iter(questions.values())).order
        if order.round == self.dies_in:
            raise UnavailableError(Code.DISK_FULL)
        self.seconds.append(seconds)
        self.with_weights.append(bool(base))
        step = np.full(values_of(weights()), 1 << 20, np.uint32)
        hall = self.halls.setdefault(
            order.round, Hall(order, dict.fromkeys(SITES, step), self.lost.get(order.round, {}))
        )
        yield from hall.exchange({site: one.asked or one.order for site, one in questions.items()})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "runs" / RUN)
    run.start(PLAN, {site: number for number, site in enumerate(SITES, start=11)}, save(weights()))
    return run


def play(folder: RunFolder, sites: Sites) -> Sites:
    run_rounds(folder, never_asked, clock=itertools.count().__next__, secure=sites)
    return sites


def never_asked(*_: object) -> Iterator[object]:
    raise AssertionError("no site may be asked for an update of its own")


def step() -> float:
    """What a summand of 2^20 steps of the grid moves every weight by."""
    return -0.1 / 4 * grid_of(PLAN).step * 2**20


def test_the_mean_of_the_sum_is_added_round_by_round(folder: RunFolder) -> None:
    play(folder, Sites())
    assert folder.outcome() == COMPLETED
    assert [record.sites for record in folder.records()] == [SITES] * 3
    assert folder.records()[0].epsilon == dict.fromkeys(SITES, 0.5)
    assert np.allclose(folder.latest()[1]["kernel"], 3 * step(), rtol=1e-6)


def test_a_lost_site_is_named_and_the_mean_is_of_the_others(folder: RunFolder) -> None:
    play(folder, Sites(lost={1: {SITES[0]: Boxes}, 2: {SITES[0]: View}}))
    first, second, _ = folder.records()
    assert (first.sites, first.refused) == (SITES[1:], {SITES[0]: Code.NODE_ABSENT})
    assert (second.sites, second.refused) == (SITES, {})
    assert np.allclose(folder.latest()[1]["bias"], 3 * step(), rtol=1e-6)


def test_a_round_without_a_sum_is_skipped_and_every_site_has_a_code(folder: RunFolder) -> None:
    play(folder, Sites(lost={2: {SITES[0]: Circle, SITES[1]: Boxes}}))
    record = folder.records()[1]
    assert record.skipped
    assert record.sites == ()
    assert record.refused == {
        SITES[0]: Code.NODE_ABSENT, SITES[1]: Code.NODE_ABSENT, SITES[2]: Code.TOO_FEW_SITES,
    }  # fmt: skip
    assert record.weights_sha256 == folder.records()[0].weights_sha256


def test_a_sum_of_fewer_sites_than_the_quorum_does_not_count(folder: RunFolder) -> None:
    fresh = RunFolder(folder.path.with_name("b" * 32))
    fresh.start(PLAN.model_copy(update={"quorum": 3}), folder.nodes(), save(weights()))
    play(fresh, Sites(lost={1: {SITES[0]: Boxes}}))
    first, *_ = fresh.records()
    assert (first.skipped, first.sites) == (True, SITES[1:])
    assert first.weights_sha256 == arrays_sha256(weights())


def test_a_round_that_was_interrupted_is_counted_as_skipped_and_never_asked_for_again(folder: RunFolder) -> None:
    dying = Sites(dies_in=2)
    with pytest.raises(UnavailableError):
        play(folder, dying)
    assert len(folder.records()) == 1
    again = play(folder, Sites())
    assert sorted(again.halls) == [3]
    assert [record.skipped for record in folder.records()] == [False, True, False]
    assert folder.records()[1].refused == dict.fromkeys(SITES, Code.RUN_FAILED)
    assert folder.records()[1].weights_sha256 == folder.records()[0].weights_sha256
    assert folder.outcome() == COMPLETED


def test_a_run_that_went_well_has_nothing_to_count_when_it_is_taken_up(folder: RunFolder) -> None:
    play(folder, Sites())
    play(folder, Sites())
    assert [record.skipped for record in folder.records()] == [False] * 3


def test_the_questions_of_a_round_share_its_time_and_one_carries_the_weights(folder: RunFolder) -> None:
    sites = play(folder, Sites())
    assert sites.seconds[:5] == pytest.approx([18, 6, 24, 6, 6])
    assert sum(SHARE_OF_TIME.values()) == pytest.approx(1)
    assert sites.with_weights[:5] == [False, False, True, False, False]


def test_without_a_way_to_the_sites_no_round_counts(folder: RunFolder) -> None:
    run_rounds(folder, never_asked, clock=itertools.count().__next__)
    assert folder.outcome() == Code.QUORUM_MISSED
    assert all(record.skipped for record in folder.records())
