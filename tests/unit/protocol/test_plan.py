"""The plan: its schedule, and which of its keys go together."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protocol.plan import PrivacyPlan, RunPlan, Schedule, Scope, StrategyName
from tests.fakes.rounds import a_plan


@given(schedule=st.sampled_from(list(Schedule)), rounds=st.integers(1, 200))
def test_a_learning_rate_never_rises_and_stays_between_all_and_a_tenth(schedule: Schedule, rounds: int) -> None:
    plan = a_plan(schedule=schedule, rounds=rounds, learning_rate=0.5)
    rates = [plan.learning_rate_of(number) for number in range(1, rounds + 1)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.5)
    assert rates[-1] >= 0.05 - 1e-12


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [(Schedule.CONSTANT, 1.0, 1.0), (Schedule.LINEAR, 0.55, 0.1), (Schedule.COSINE, 0.55, 0.1)],
)
def test_the_middle_and_the_end(schedule: Schedule, middle: float, last: float) -> None:
    plan = a_plan(schedule=schedule, rounds=5, learning_rate=1.0)
    assert plan.learning_rate_of(3) == pytest.approx(middle)
    assert plan.learning_rate_of(5) == pytest.approx(last)


def test_momentum_of_one_would_never_forget_and_is_no_plan() -> None:
    with pytest.raises(ValueError):
        a_plan(server_momentum=1.0)


ONE_STEP = PrivacyPlan(noise_multiplier=1, clipping_norm=1, sample_rate=0.1, expected_batch=4, steps_per_round=1)

TOGETHER: list[dict[str, Any]] = [
    {"strategy": "trimmed-mean", "trim": 1, "quorum": 3},
    {"strategy": "median", "quorum": 3},
    {"strategy": "clipped-mean", "quorum": 3},
    {"strategy": "krum", "krum_byzantine": 1, "quorum": 5},
    {"strategy": "multi-krum", "krum_byzantine": 2, "quorum": 7},
    {"strategy": "fedprox", "prox_mu": 0.1},
    {"strategy": "median", "prox_mu": 0.1, "quorum": 3},
    {"strategy": "fedadam", "server_learning_rate": 0.01},
    {"keep_norms": True},
    {"screening": {"norm_factor": 3}, "quorum": 3},
    {"server_momentum": 0.5, "server_learning_rate": 0.5},
]

APART: list[tuple[dict[str, Any], str]] = [
    ({"strategy": "trimmed-mean", "quorum": 5}, "trim, at least 1"),
    ({"trim": 1, "quorum": 5}, "trim, at least 1"),
    ({"strategy": "trimmed-mean", "trim": 1, "quorum": 2}, "more than twice trim"),
    ({"strategy": "trimmed-mean", "trim": 2, "quorum": 4}, "more than twice trim"),
    ({"strategy": "krum", "quorum": 5}, "krum_byzantine, at least 1"),
    ({"strategy": "median", "krum_byzantine": 1, "quorum": 5}, "krum_byzantine, at least 1"),
    ({"strategy": "krum", "krum_byzantine": 1, "quorum": 4}, "at least twice krum_byzantine plus 3"),
    ({"strategy": "multi-krum", "krum_byzantine": 2, "quorum": 6}, "at least twice krum_byzantine plus 3"),
    ({"strategy": "median", "quorum": 2}, "a quorum of at least 3"),
    ({"strategy": "clipped-mean", "quorum": 1}, "a quorum of at least 3"),
    ({"screening": {"min_cosine": 0}, "quorum": 2}, "a quorum of at least 3"),
    ({"strategy": "fedprox"}, "needs prox_mu"),
    ({"prox_mu": 0.1, "privacy": ONE_STEP}, "does nothing in a round of one step"),
    ({"prox_mu": 11, "learning_rate": 0.1}, "overshoot"),
    ({"strategy": "fedadam"}, "needs server_learning_rate"),
    ({"strategy": "fedadam", "server_learning_rate": 0.01, "server_momentum": 0.5}, "momentum of its own"),
    ({"keep_norms": True, "scope": Scope.NORMS}, "nothing would be sent"),
    (
        {"strategy": "median", "quorum": 3, "secure_sum": {"dropouts": 0, "colluders": 1}},
        "shows the centre no single update",
    ),
    ({"screening": {"norm_factor": 3}, "quorum": 3, "secure_sum": {"dropouts": 0, "colluders": 1}}, "no single update"),
    ({"keep_norms": True, "secure_sum": {"dropouts": 0, "colluders": 1}}, "keep_norms does not go"),
]


@pytest.mark.parametrize("keys", TOGETHER, ids=str)
def test_keys_that_go_together_make_a_plan_that_is_read_back_alike(keys: dict[str, Any]) -> None:
    plan = a_plan(**keys)
    assert RunPlan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(("keys", "why"), APART, ids=[f"{why}-{at}" for at, (_, why) in enumerate(APART)])
def test_keys_that_contradict_one_another_are_no_plan(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        a_plan(**keys)


def test_a_plan_of_before_there_were_strategies_is_still_read() -> None:
    old = {
        "lineage": "ggo", "purpose": "ggo-segmentation", "base": "ggo@0", "sites": ["northport"], "rounds": 2, "quorum": 1,
        "round_seconds": 600, "strategy": "fedavg", "scope": "all", "learning_rate": 0.1, "schedule": "constant", "momentum": 0.0,
        "server_momentum": 0.0, "slices_per_patient": 8, "privacy": ONE_STEP.model_dump(),
    }  # fmt: skip
    plan = RunPlan.model_validate_json(json.dumps(old))
    assert (plan.compares_updates, plan.keep_norms, plan.prox_mu, plan.server_rate) == (False, False, 0.0, 1.0)


@pytest.mark.parametrize(
    ("keys", "compares"),
    [
        ({}, False),
        ({"strategy": StrategyName.FEDPROX, "prox_mu": 0.1}, False),
        ({"strategy": StrategyName.FEDADAM, "server_learning_rate": 0.1}, False),
        ({"strategy": StrategyName.MEDIAN, "quorum": 3}, True),
        ({"screening": {"norm_factor": 3}, "quorum": 3}, True),
    ],
    ids=["fedavg", "fedprox", "fedadam", "median", "screened"],
)
def test_a_plan_knows_whether_the_centre_must_see_single_updates(keys: dict[str, Any], compares: bool) -> None:
    assert a_plan(**keys).compares_updates is compares
