"""The table of the utility benchmark, from results that are invented."""

from pathlib import Path

import pytest

from bench import utility
from bench.arms import Arm, Outcome, Tuning
from bench.patients import Cohorts
from bench.table import Table
from bench.utility import ARMS, GOALS, QUICK, START, as_table, half_width, rests_on, tuning_of
from protocol.plan import Scope
from protocol.release import Scores

PRETRAINED = ("pooled", "federated", "ε = 8, shared noise", "ε = 2, shared noise", "ε = 2, local noise")


def one(dice: float, *, public: float = 0.8, false: float | None = 0.5) -> Outcome:
    scores = Scores(cases=12, dice=public, ggo_error_points=1.0, false_opacity_points=0.0)
    return Outcome(dice={"phantoms": dice + 0.1, "real": dice - 0.1}, public=scores, false_opacity=false)


DICE = {
    START: (0.50, 0.60), "pooled": (0.80, 0.80), "federated": (0.80, 0.80), "ε = 8, shared noise": (0.74, 0.75),
    "ε = 2, shared noise": (0.65, 0.70), "ε = 2, local noise": (0.60, 0.59),
}  # fmt: skip


def table(**changed: tuple[Outcome, ...]) -> Table:
    found = {name: [one(dice) for dice in values] for name, values in DICE.items()}
    found |= {name: list(tested) for name, tested in changed.items()}
    return as_table(found, [arm for arm in ARMS if arm.name in PRETRAINED], noise={"ε = 8, shared noise": 1.5})


def test_the_gap_is_recovered_seed_by_seed() -> None:
    made = table()
    assert made.ratios["gap_recovered_eps8"] == pytest.approx((0.24 / 0.30 + 0.15 / 0.20) / 2)
    assert made.ratios["gap_recovered_eps2_local"] == pytest.approx((0.10 / 0.30 - 0.01 / 0.20) / 2)
    assert made.ratios["fl_vs_pooled"] == pytest.approx(1.0)


def test_every_ratio_has_its_interval() -> None:
    made = table()
    for name in ("fl_vs_pooled", "gap_recovered_eps8", "gap_recovered_eps2", "gap_recovered_eps2_local"):
        assert any(remark.startswith(f"{name}: ") and " ± " in remark for remark in made.remarks), name
    assert half_width([0.7, 0.8]) == pytest.approx(12.706 * 0.05, rel=1e-3)  # Student's t with one degree of freedom
    assert half_width([0.7]) == float("inf")


def test_one_seed_of_one_arm_below_its_start_is_the_worst() -> None:
    made = table()
    assert made.ratios["worst_vs_start"] == pytest.approx(0.59 / 0.60)
    assert "worst_vs_start is that of ε = 2, local noise, seed 1" in made.remarks
    assert not GOALS["worst_vs_start"].met(made.ratios["worst_vs_start"])


def test_what_did_harm_and_passes_the_gate_is_counted() -> None:
    assert table().ratios["worse_and_not_refused"] == 0.0  # 0.01 below is within the gate's own margin
    worse = {"ε = 2, local noise": (one(0.60), one(0.55))}
    assert table(**worse).ratios["worse_and_not_refused"] == 1.0
    refused = {"ε = 2, local noise": (one(0.60), one(0.55, public=0.7))}
    assert table(**refused).ratios["worse_and_not_refused"] == 0.0
    rows = {(row.case, row.metric): row.value for row in table(**refused).rows}
    assert rows["ε = 2, local noise", "refused by the centre's gate"] == 1.0


def test_false_opacity_is_the_most_over_the_seeds_and_left_out_without_scans() -> None:
    name = "ε = 8, shared noise"
    assert table(**{name: (one(0.7, false=0.4), one(0.7, false=2.5))}).ratios["false_opacity_real"] == 2.5
    assert "false_opacity_real" not in table(**{name: (one(0.7, false=None), one(0.7, false=None))}).ratios


def test_the_picture_has_both_ways_to_noise_and_the_levels() -> None:
    svg = table().pictures["utility.svg"]
    for words in ("shared noise", "local noise", START, "federated", "pooled", "δ = 1e-5"):
        assert words in svg, words


def test_a_result_rests_on_the_arm_the_settings_and_what_is_hashed() -> None:
    assert rests_on("a") != rests_on("b")
    assert rests_on("a") == rests_on("a")
    names = [f"{arm}" for arm in ARMS]
    assert len(set(names)) == len(names)
    assert str(Arm("x", 8.0, shared=True)) != str(Arm("x", 8.0, shared=False))


def test_a_quick_run_has_what_its_ratios_need() -> None:
    assert [arm.name for arm in QUICK] == ["pooled", "federated", "ε = 8, shared noise"]


def test_few_numbers_are_trained_where_there_is_much_noise() -> None:
    few = {arm.name for arm in ARMS if tuning_of(arm).scope is Scope.NORMS}
    assert few == {f"ε = {target}, {kind} noise" for target in (1, 2, 4) for kind in ("shared", "local")}


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_an_arm_that_changed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Arm] = []

    def train(arm: Arm, *_: object, **__: object) -> str:
        trained.append(arm)
        return arm.name

    monkeypatch.setattr(utility, "ROOT", tmp_path)
    monkeypatch.setattr(utility, "draw_cohorts", lambda *_, **__: Cohorts((), (), ()))
    monkeypatch.setattr(utility, "train", train)
    monkeypatch.setattr(utility, "outcome_of", lambda weights, *_: one(0.7 if weights == "x" else 0.6))
    arm, other = Arm("x", 8.0), Arm("x", 4.0)
    for arms, expected in (([arm], [arm]), ([arm], [arm]), ([other], [arm, other]), ([arm, other], [arm, other])):
        found = utility.run_seed(0, arms, lambda _: Tuning(), rounds=1, patients=1)
        assert trained == expected
        assert (found[START].mean, found["x"].mean) == pytest.approx((0.6, 0.7))
    utility.run_seed(1, [arm], lambda _: Tuning(), rounds=1, patients=1)
    utility.run_seed(0, [arm], lambda _: Tuning(looks=2), rounds=1, patients=1)
    assert trained == [arm, other, arm, arm]
