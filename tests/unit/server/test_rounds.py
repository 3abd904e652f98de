"""The round loop: who is asked, what counts, when a round is skipped, how a run ends and how it goes on after a death."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError, UnavailableError
from protocol.plan import RoundOrder
from server import run as run_module
from server.files import write_durably
from server.rounds import LASTING, run_rounds
from server.run import COMPLETED, RoundRecord, RunFolder
from server.tally import Said, check_answer
from strategies.arrays import Arrays, arrays_sha256
from tests.fakes.outcomes import code_of
from tests.fakes.rounds import RUN, SITES, a_plan, answer_to, weights

NORTH, SOUTH, WEST = SITES


class Death(BaseException):
    """What a process feels of kill -9."""


Reply = Callable[[RoundOrder, str], Said]


def honest(order: RoundOrder, site: str) -> Said:
    return answer_to(order, site, step=float(SITES.index(site) + 1))


@dataclass
class Sites:
    """The way to the sites. `script` says what a site answers in a round; others are honest."""

    script: dict[tuple[int, str], Said | Reply | None] = field(default_factory=dict)
    asked: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    extra: list[tuple[str, Said]] = field(default_factory=list)

    def __call__(self, order: RoundOrder, base: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
        self.asked.append((order.round, sites))
        assert order.base_sha256 == arrays_sha256(base)
        for site in sites:
            reply = self.script.get((order.round, site), honest)
            if reply is not None:
                yield site, reply(order, site) if callable(reply) else reply
        yield from self.extra


def play(folder: RunFolder, sites: Sites | None = None) -> Sites:
    sites = sites or Sites()
    run_rounds(folder, sites, clock=itertools.count().__next__)
    return sites


def restart(folder: RunFolder, **changes: Any) -> RunFolder:
    """The same run under another plan."""
    fresh = RunFolder(folder.path.with_name("b" * 32))
    fresh.start(a_plan(**changes), folder.nodes(), save(weights()))
    return fresh


def every(code: Code, *sites: str, rounds: int = 9) -> dict[tuple[int, str], Said | Reply | None]:
    return {(number, site): code for number in range(1, rounds) for site in sites}


# What a round comes to.


def test_a_round_adds_the_mean_of_the_updates(folder: RunFolder) -> None:
    play(folder)
    _, after = folder.latest()
    assert {float(value) for array in after.values() for value in array.flat} == {
        3 * 2.0
    }  # three rounds, mean of 1, 2, 3
    assert folder.outcome() == COMPLETED
    assert [record.sites for record in folder.records()] == [SITES] * 3
    assert [record.seconds for record in folder.records()] == [1, 1, 1]


def test_momentum_carries_a_part_of_the_last_step_on(folder: RunFolder) -> None:
    folder = restart(folder, rounds=3, server_momentum=0.5)
    play(folder)  # every round's mean is 2: steps of 2, 2 + 1, 2 + 1.5
    assert [float(folder.weights(number)["bias"][0]) for number in (1, 2, 3)] == [2.0, 5.0, 8.5]


def test_momentum_survives_a_death_and_a_round_that_was_skipped(folder: RunFolder) -> None:
    folder = restart(folder, rounds=4, server_momentum=0.5)

    def die(order: RoundOrder, site: str) -> Said:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(folder, Sites({(2, site): Code.NODE_ABSENT for site in SITES} | {(3, NORTH): die}))
    play(folder)  # round 2 changed nothing; round 3 carries on from round 1
    assert [float(folder.weights(number)["bias"][0]) for number in (1, 3, 4)] == [2.0, 5.0, 8.5]


def test_every_checkpoint_can_be_read(folder: RunFolder) -> None:
    play(folder)
    assert [float(folder.weights(number)["bias"][0]) for number in range(4)] == [0, 2, 4, 6]
    assert [record.weights_sha256 for record in folder.records()] == [
        arrays_sha256(folder.weights(number)) for number in (1, 2, 3)
    ]


def test_a_round_with_its_quorum_counts_without_the_others(folder: RunFolder) -> None:
    play(folder, Sites({(1, WEST): Code.ROUND_LATE}))
    first = folder.records()[0]
    assert (first.sites, first.refused, first.skipped) == ((NORTH, SOUTH), {WEST: Code.ROUND_LATE}, False)
    assert float(folder.weights(1)["bias"][0]) == 1.5
    assert first.epsilon == {NORTH: 0.5, SOUTH: 0.5}


def test_a_round_without_its_quorum_changes_nothing(folder: RunFolder) -> None:
    play(folder, Sites({(2, SOUTH): Code.NODE_ABSENT, (2, WEST): Code.ROUND_LATE}))
    records = folder.records()
    assert [record.skipped for record in records] == [False, True, False]
    assert records[1].sites == (NORTH,)  # it was charged, so it is written down
    assert records[1].weights_sha256 == records[0].weights_sha256
    assert float(folder.latest()[1]["bias"][0]) == 4
    assert not (folder.path / "weights-0002.safetensors").exists()


def test_a_site_that_says_nothing_at_all_is_late(folder: RunFolder) -> None:
    play(folder, Sites({(1, WEST): None}))
    assert folder.records()[0].refused == {WEST: Code.ROUND_LATE}


def test_one_site_does_not_make_a_quorum_by_answering_twice(folder: RunFolder) -> None:
    sites = Sites({(1, SOUTH): Code.NODE_FAULT, (1, WEST): Code.NODE_FAULT})

    def twice(order: RoundOrder, base: Arrays, asked: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
        for site, said in sites(order, base, asked):
            yield from [(site, said)] * 2

    run_rounds(folder, twice, clock=itertools.count().__next__)
    assert (folder.records()[0].sites, folder.records()[0].skipped) == ((NORTH,), True)
    assert float(folder.weights(2)["bias"][0]) == 2, "the second update of a site is not in the mean"


def test_a_site_cannot_take_its_answer_back(folder: RunFolder) -> None:
    play(folder, Sites(extra=[(NORTH, Code.BUDGET_SPENT)]))
    assert [record.sites for record in folder.records()] == [SITES] * 3
    assert folder.records()[0].refused == {}


def test_a_site_that_was_not_asked_counts_for_nothing(folder: RunFolder) -> None:
    fresh = restart(folder, sites=(NORTH, SOUTH), rounds=1)
    order = RoundOrder(run_id=fresh.run_id, round=1, base_sha256=arrays_sha256(weights()), plan=fresh.plan())
    play(fresh, Sites(extra=[(WEST, answer_to(order, WEST, step=100))]))
    assert fresh.records()[0].sites == (NORTH, SOUTH)
    assert float(fresh.latest()[1]["bias"][0]) == 1.5


# What does not count.


def with_value(value: float) -> dict[str, np.ndarray]:
    update = weights(1)
    update["kernel"][1, 1] = value
    return update


BAD_UPDATES: dict[str, dict[str, np.ndarray]] = {
    "nan": with_value(np.nan),
    "inf": with_value(np.inf),
    "minus-inf": with_value(-np.inf),
    "a-parameter-less": {"bias": weights(1)["bias"]},
    "a-parameter-more": weights(1) | {"extra": np.ones(3, np.float32)},
    "larger": weights(1) | {"bias": np.ones(4, np.float32)},
    "much-larger": weights(1) | {"bias": np.ones(1_000_000, np.float32)},
    "another-shape": weights(1) | {"kernel": np.ones(4, np.float32)},
    "stretchable": weights(1) | {"kernel": np.ones((1, 1), np.float32)},
    "doubles": {name: array.astype(np.float64) for name, array in weights(1).items()},
    "empty": {},
}


@pytest.mark.parametrize("update", BAD_UPDATES.values(), ids=BAD_UPDATES.keys())
def test_a_malformed_update_is_left_out(folder: RunFolder, update: dict[str, np.ndarray]) -> None:
    play(folder, Sites({(1, WEST): lambda order, site: answer_to(order, site, update=update)}))
    first = folder.records()[0]
    assert (first.sites, first.refused) == ((NORTH, SOUTH), {WEST: Code.BAD_UPDATE})
    assert float(folder.weights(1)["bias"][0]) == 1.5


@pytest.mark.parametrize("value", [1001.0, -1e6, float(np.finfo(np.float32).max)])
def test_an_update_that_makes_weights_that_no_site_takes_is_left_out(folder: RunFolder, value: float) -> None:
    """Once in the mean they end the run: every site refuses them with `bad-weights`, in this round's wake and whenever it is taken up."""
    hostile = {(number, WEST): lambda order, site: answer_to(order, site, step=value) for number in (1, 2, 3)}
    play(folder, Sites(hostile))
    assert [record.refused for record in folder.records()] == [{WEST: Code.BAD_UPDATE}] * 3
    assert float(folder.latest()[1]["bias"][0]) == 4.5


def test_a_step_that_the_centres_rate_carries_too_far_is_not_taken_and_the_run_goes_on(folder: RunFolder) -> None:
    folder = restart(folder, rounds=3, server_learning_rate=10.0)
    play(folder, Sites({(1, WEST): lambda order, site: answer_to(order, site, step=999.0)}))
    first, *others = folder.records()
    assert (first.skipped, first.refused) == (True, dict.fromkeys(SITES, Code.BAD_UPDATE))
    assert [record.skipped for record in others] == [False, False]
    assert [float(folder.weights(number)["bias"][0]) for number in (2, 3)] == [20.0, 40.0]


FALSE_CLAIMS: dict[str, dict[str, Any]] = {
    "another-run": {"run_id": "b" * 32},
    "another-round": {"round": 2},
    "another-site": {"site": NORTH},
    "another-base": {"base_sha256": "0" * 64},
    "another-update": {"update_sha256": "0" * 64},
}


@pytest.mark.parametrize("claim", FALSE_CLAIMS.values(), ids=FALSE_CLAIMS.keys())
def test_an_update_bound_to_something_else_is_left_out(folder: RunFolder, claim: dict[str, Any]) -> None:
    play(folder, Sites({(1, WEST): lambda order, site: answer_to(order, site, **claim)}))
    assert folder.records()[0].refused == {WEST: Code.BAD_UPDATE}
    assert folder.records()[1].sites == SITES, "it may do better the next time"


def test_an_honest_answer_passes_and_each_false_claim_fails_alone() -> None:
    order = RoundOrder(run_id=RUN, round=1, base_sha256=arrays_sha256(weights()), plan=a_plan())
    notice, update = answer_to(order, WEST)
    check_answer(order, WEST, weights(), notice=notice, update=update)
    for claim in FALSE_CLAIMS.values():
        notice, update = answer_to(order, WEST, **claim)
        with pytest.raises(RefusedError, match=WEST):
            check_answer(order, WEST, weights(), notice=notice, update=update)


def test_an_update_played_again_in_the_next_round_is_left_out(folder: RunFolder) -> None:
    kept: list[Said] = []

    def first(order: RoundOrder, site: str) -> Said:
        kept.append(honest(order, site))
        return kept[0]

    play(folder, Sites({(1, WEST): first, (2, WEST): lambda *_: kept[0], (3, WEST): lambda *_: kept[0]}))
    assert [WEST in record.sites for record in folder.records()] == [True, False, False]


def test_an_update_of_another_site_handed_in_as_ones_own_is_left_out(folder: RunFolder) -> None:
    play(folder, Sites({(1, WEST): lambda order, _: honest(order, NORTH)}))
    assert folder.records()[0].refused == {WEST: Code.BAD_UPDATE}


# Strategies that look at the updates together.

SEVEN = tuple(f"site-{letter}" for letter in "abcdefg")


def seven(folder: RunFolder, **changes: Any) -> RunFolder:
    """A run of seven sites."""
    fresh = RunFolder(folder.path.with_name("c" * 32))
    fresh.start(a_plan(sites=SEVEN, quorum=5, **changes), dict.fromkeys(SEVEN, 1), save(weights()))
    return fresh


@dataclass
class Seven(Sites):
    """Honest sites all answer one."""

    def __call__(self, order: RoundOrder, base: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
        self.asked.append((order.round, sites))
        for site in sites:
            reply = self.script.get((order.round, site), lambda order, site: answer_to(order, site, step=1.0))
            assert reply is not None
            yield site, reply(order, site) if callable(reply) else reply


def loud(order: RoundOrder, site: str) -> Said:
    return answer_to(order, site, step=-900.0)


ROBUST: dict[str, dict[str, Any]] = {
    "trimmed-mean": {"strategy": "trimmed-mean", "trim": 2}, "median": {"strategy": "median"},
    "krum": {"strategy": "krum", "krum_byzantine": 1}, "multi-krum": {"strategy": "multi-krum", "krum_byzantine": 1},
    "screened": {"screening": {"norm_factor": 3, "min_cosine": 0}},
}  # fmt: skip


@pytest.mark.parametrize("rule", sorted(ROBUST))
def test_a_hostile_site_does_not_move_a_robust_run(folder: RunFolder, rule: str) -> None:
    run = seven(folder, rounds=2, **ROBUST[rule])
    play(run, Seven({(1, SEVEN[0]): loud, (2, SEVEN[3]): loud}))
    assert [float(run.weights(number)["bias"][0]) for number in (1, 2)] == [1.0, 2.0]
    assert not run.spool.exists()


def test_the_same_site_moves_the_plain_mean(folder: RunFolder) -> None:
    run = seven(folder, rounds=1)
    play(run, Seven({(1, SEVEN[0]): loud}))
    assert float(run.weights(1)["bias"][0]) < -100


def test_a_screened_site_is_named_charged_and_asked_again(folder: RunFolder) -> None:
    run = seven(folder, rounds=2, **ROBUST["screened"])
    sites = play(run, Seven({(1, SEVEN[2]): loud}))
    first, second = run.records()
    assert first.refused == {SEVEN[2]: Code.SCREENED_UPDATE}
    assert SEVEN[2] not in first.sites
    assert first.epsilon == dict.fromkeys(SEVEN, 0.5), "what was spent is spent, also where it counts for nothing"
    assert (second.refused, second.sites) == ({}, SEVEN)
    assert [asked for _, asked in sites.asked] == [SEVEN, SEVEN]


def test_a_round_with_too_few_unscreened_updates_is_skipped(folder: RunFolder) -> None:
    run = seven(folder, rounds=2, **ROBUST["screened"])
    script: dict[tuple[int, str], Said | Reply | None] = {(1, SEVEN[0]): loud, (1, SEVEN[1]): loud}
    play(run, Seven(script | {(1, SEVEN[2]): Code.ROUND_LATE}))
    assert [record.skipped for record in run.records()] == [True, False]
    assert run.records()[0].refused == {
        SEVEN[0]: Code.SCREENED_UPDATE, SEVEN[1]: Code.SCREENED_UPDATE, SEVEN[2]: Code.ROUND_LATE,
    }  # fmt: skip


@pytest.mark.parametrize("update", BAD_UPDATES.values(), ids=BAD_UPDATES.keys())
@pytest.mark.parametrize("rule", sorted(ROBUST))
def test_what_is_malformed_never_comes_before_a_robust_rule(
    folder: RunFolder, rule: str, update: dict[str, np.ndarray]
) -> None:
    run = seven(folder, rounds=1, **ROBUST[rule])
    play(run, Seven({(1, SEVEN[6]): lambda order, site: answer_to(order, site, update=update)}))
    assert run.records()[0].refused == {SEVEN[6]: Code.BAD_UPDATE}
    assert float(run.weights(1)["bias"][0]) == 1.0


# The centre's own optimizer.


def test_the_centres_rate_scales_what_a_round_adds(folder: RunFolder) -> None:
    run = restart(folder, rounds=2, server_learning_rate=0.5)
    play(run)
    assert [float(run.weights(number)["bias"][0]) for number in (1, 2)] == [1.0, 2.0]


ADAM: dict[str, Any] = {"strategy": "fedadam", "server_learning_rate": 0.1, "rounds": 4}


def test_adam_steps_by_the_rate_whatever_the_size_of_the_updates(folder: RunFolder) -> None:
    run = restart(folder, **ADAM | {"adam_beta1": 0.0, "adam_beta2": 0.0, "adam_tau": 1e-6})
    play(run)
    assert [float(run.weights(number)["bias"][0]) for number in (1, 2)] == pytest.approx([0.1, 0.2], rel=1e-4)


def test_adam_loses_nothing_by_a_death_and_a_skipped_round(folder: RunFolder) -> None:
    script: dict[tuple[int, str], Said | Reply | None] = {(2, site): Code.NODE_ABSENT for site in SITES}
    whole = restart(folder, **ADAM)
    play(whole, Sites(script))

    def die(order: RoundOrder, site: str) -> Said:
        raise KeyboardInterrupt

    broken = RunFolder(folder.path.with_name("d" * 32))
    broken.start(whole.plan(), folder.nodes(), save(weights()))
    with pytest.raises(KeyboardInterrupt):
        play(broken, Sites(script | {(3, NORTH): die}))
    play(broken, Sites(script))
    assert arrays_sha256(broken.latest()[1]) == arrays_sha256(whole.latest()[1])
    assert broken.records() == whole.records()
    assert [path.name for path in sorted(whole.path.glob("optimizer-*"))] == ["optimizer-0004.safetensors"]


def test_a_damaged_state_of_the_optimizer_stops_the_run(folder: RunFolder) -> None:
    run = restart(folder, **ADAM)
    with pytest.raises(Death):
        run_rounds(run, _until(run, 3), clock=itertools.count().__next__)
    path = run.path / "optimizer-0002.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert code_of(lambda: play(run)) is Code.BAD_SHAPE
    path.unlink()
    assert code_of(lambda: play(run)) is Code.BAD_SHAPE


def _until(run: RunFolder, number: int) -> Callable[[RoundOrder, Arrays, tuple[str, ...]], Iterator[tuple[str, Said]]]:
    def carry(order: RoundOrder, base: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
        if order.round == number:
            raise Death
        yield from Sites()(order, base, sites)

    return carry


# Norms that stay at the sites.


def with_a_norm(value: float) -> dict[str, np.ndarray]:
    return {**weights(value), "first_norm.weight": np.full(2, value, np.float32)}


def norm_run(folder: RunFolder) -> RunFolder:
    run = RunFolder(folder.path.with_name("e" * 32))
    run.start(a_plan(keep_norms=True, rounds=2, server_momentum=0.5), folder.nodes(), save(with_a_norm(3.0)))
    return run


def test_norms_that_sites_keep_stay_those_of_the_base(folder: RunFolder) -> None:
    run = norm_run(folder)
    play(run)
    _, after = run.latest()
    assert after["first_norm.weight"].tolist() == [3.0, 3.0]
    assert float(after["bias"][0]) == 3.0 + 2.0 + 3.0


def test_an_update_that_holds_norms_all_the_same_is_left_out(folder: RunFolder) -> None:
    run = norm_run(folder)
    play(run, Sites({(1, WEST): lambda order, site: answer_to(order, site, update=with_a_norm(1.0))}))
    assert run.records()[0].refused == {WEST: Code.BAD_UPDATE}


# Refusals that last, and the end of a run.


@pytest.mark.parametrize("code", sorted(LASTING))
def test_who_refuses_for_good_is_not_asked_again_and_stays_written_down(folder: RunFolder, code: Code) -> None:
    sites = play(folder, Sites({(1, WEST): code}))
    assert [asked for _, asked in sites.asked] == [SITES, (NORTH, SOUTH), (NORTH, SOUTH)]
    assert [record.refused for record in folder.records()] == [{WEST: code}] * 3
    assert folder.outcome() == COMPLETED


@pytest.mark.parametrize(
    "code",
    [Code.POLICY_HOURS, Code.ROUND_LATE, Code.NODE_ABSENT, Code.NODE_FAULT, Code.BAD_UPDATE, Code.SCREENED_UPDATE],
)
def test_who_could_not_this_time_is_asked_again(folder: RunFolder, code: Code) -> None:
    sites = play(folder, Sites({(1, WEST): code}))
    assert [asked for _, asked in sites.asked] == [SITES] * 3
    assert folder.records()[1].refused == {}


def test_a_run_ends_when_no_quorum_is_left(folder: RunFolder) -> None:
    sites = play(folder, Sites({(2, SOUTH): Code.BUDGET_SPENT, (2, WEST): Code.POLICY_BUNDLE}))
    assert [number for number, _ in sites.asked] == [1, 2]
    assert folder.outcome() == Code.QUORUM_MISSED


def test_three_rounds_in_a_row_without_quorum_end_a_run(folder: RunFolder) -> None:
    long = restart(folder, rounds=10)
    sites = play(long, Sites({**every(Code.NODE_ABSENT, SOUTH, WEST), (1, SOUTH): honest, (4, SOUTH): honest}))
    assert [number for number, _ in sites.asked] == [1, 2, 3, 4, 5, 6, 7]
    assert [record.skipped for record in long.records()] == [False, True, True, False, True, True, True]
    assert long.outcome() == Code.QUORUM_MISSED


def test_a_run_whose_last_round_was_skipped_is_completed_by_the_others(folder: RunFolder) -> None:
    play(folder, Sites({(3, SOUTH): Code.NODE_ABSENT, (3, WEST): Code.NODE_ABSENT}))
    assert folder.outcome() == COMPLETED


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_run_without_any_round_that_counts_is_not_completed(folder: RunFolder, rounds: int) -> None:
    short = restart(folder, rounds=rounds)
    play(short, Sites(every(Code.NODE_ABSENT, SOUTH, WEST)))
    assert short.outcome() == Code.QUORUM_MISSED
    assert arrays_sha256(short.latest()[1]) == arrays_sha256(weights())


# Deaths.


def undisturbed(folder: RunFolder, sites: Sites) -> tuple[list[RoundRecord], str, str | None]:
    play(folder, sites)
    return essence(folder)


def essence(folder: RunFolder) -> tuple[list[RoundRecord], str, str | None]:
    return folder.records(), arrays_sha256(folder.latest()[1]), folder.outcome()


SCRIPT: dict[tuple[int, str], Said | Reply | None] = {
    (1, WEST): Code.ROUND_LATE, (2, SOUTH): Code.NODE_ABSENT, (2, WEST): Code.NODE_ABSENT,
}  # fmt: skip
"""A run with a full round, a skipped one and one of two sites, in the order 2, 3 and 1."""

WRITES = 6
"""Files that such a run writes: two of each round that counts, one of the skipped one, and the outcome."""


@pytest.mark.parametrize("when", ["before", "half-way", "after"])
@pytest.mark.parametrize("death", range(1, WRITES + 1))
def test_a_run_that_dies_at_any_write_ends_as_if_it_had_not(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, death: int, when: str
) -> None:
    expected = undisturbed(folder, Sites(SCRIPT))
    again = RunFolder(folder.path.parent.parent / "again" / RUN)
    again.start(folder.plan(), folder.nodes(), save(weights()))
    writes = itertools.count(1)

    def dying(path: Path, content: bytes) -> None:
        number = next(writes)
        if number == death and when == "half-way":
            path.with_name(f".{path.name}.part").write_bytes(content[: len(content) // 2])
        if number == death and when != "after":
            raise Death
        write_durably(path, content)
        if number == death:
            raise Death

    monkeypatch.setattr(run_module, "write_durably", dying)
    with pytest.raises(Death):
        play(again, Sites(SCRIPT))
    monkeypatch.setattr(run_module, "write_durably", write_durably)
    before = len(again.records())
    resumed = play(again, Sites(SCRIPT))
    assert [number for number, _ in resumed.asked] == list(range(before + 1, 4)), "no round that counts is played again"
    assert essence(again) == expected


def test_the_writes_above_are_all_there_are(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(
        run_module, "write_durably", lambda path, content: (written.append(path.name), write_durably(path, content))
    )
    play(folder, Sites(SCRIPT))
    assert len(written) == WRITES
    assert written[0] == "weights-0001.safetensors", "weights are on the disk before their round counts"


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_run_that_dies_between_two_answers_plays_that_round_again(folder: RunFolder, after: int) -> None:
    def dying(order: RoundOrder, base: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
        yield from itertools.islice(Sites()(order, base, sites), after if order.round == 2 else None)
        if order.round == 2:
            raise Death

    with pytest.raises(Death):
        run_rounds(folder, dying, clock=itertools.count().__next__)
    assert len(folder.records()) == 1
    assert [number for number, _ in play(folder).asked] == [2, 3]
    assert float(folder.latest()[1]["bias"][0]) == 6


def test_a_run_that_has_ended_asks_nobody_when_it_is_taken_up(folder: RunFolder) -> None:
    play(folder)
    folder.note_nodes(folder.nodes())
    assert folder.outcome() is None
    assert play(folder).asked == []
    assert folder.outcome() == COMPLETED


def test_a_run_that_missed_its_quorum_goes_on_when_more_sites_take_part(folder: RunFolder) -> None:
    long = restart(folder, rounds=6)
    play(long, Sites(every(Code.NODE_ABSENT, SOUTH, WEST)))
    assert (len(long.records()), long.outcome()) == (3, Code.QUORUM_MISSED)
    long.note_nodes(long.nodes())
    play(long)
    assert long.outcome() == COMPLETED
    assert float(long.latest()[1]["bias"][0]) == 6


def test_a_run_without_a_round_left_stays_as_it_ended(folder: RunFolder) -> None:
    """Taking it up again makes no release of a run whose last three rounds had no quorum."""
    done = restart(folder, rounds=4)
    play(done, Sites({**every(Code.NODE_ABSENT, SOUTH, WEST), (1, SOUTH): honest}))
    assert (len(done.records()), done.outcome()) == (4, Code.QUORUM_MISSED)
    done.note_nodes(done.nodes())
    assert play(done).asked == []
    assert done.outcome() == Code.QUORUM_MISSED


# Damage.


def test_a_damaged_checkpoint_stops_the_run_before_anybody_is_asked(folder: RunFolder) -> None:
    play(folder, Sites({}))
    path = folder.path / "weights-0003.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    sites = Sites()
    assert code_of(lambda: play(folder, sites)) is Code.BAD_SHAPE
    assert sites.asked == []


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[{}]", b'[{"round": 1', b"\0" * 100, b'[{"round":"x","weights_sha256":""}]']
)
def test_damaged_records_stop_the_run(folder: RunFolder, content: bytes) -> None:
    play(folder)
    (folder.path / "rounds.json").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"rounds\.json is missing or damaged"):
        play(folder)


def test_a_full_disk_stops_the_run_and_it_goes_on_later(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "weights-0002.safetensors":
            raise UnavailableError(Code.DISK_FULL)
        write_durably(path, content)

    monkeypatch.setattr(run_module, "write_durably", full)
    assert code_of(lambda: play(folder)) is Code.DISK_FULL
    assert len(folder.records()) == 1
    monkeypatch.setattr(run_module, "write_durably", write_durably)
    play(folder)
    assert folder.outcome() == COMPLETED
