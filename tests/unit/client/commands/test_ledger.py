"""`acinus-node ledger` as a person and a script use it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.ledger.account import Event, epsilon
from client.ledger.store import Kind, Limit, Spend
from client.store.database import connect
from tests.fakes.labelled import labelled_study
from tests.fakes.ledgers import open_ledger

EVENT = Event(noise_multiplier=1.5, sample_rate=0.5, steps=3, clipping_norm=0.5)
PLAN = """
base = "ggo@0"
sites = ["northport"]
rounds = {rounds}
quorum = 1
learning_rate = 0.02

[privacy]
noise_multiplier = 1.5
clipping_norm = 0.5
sample_rate = 0.5
expected_batch = 8
steps_per_round = 3
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node that was charged twice and may spend 6.5."""
    (tmp_path / "node.toml").write_text("", encoding="utf-8")
    (tmp_path / "policy.toml").write_text("[training]\nepsilon_total = 6.5\nepsilon_per_run = 6.5\n", encoding="utf-8")
    ledger = open_ledger(tmp_path / "node.db", lambda: datetime(2026, 3, 1, tzinfo=UTC))
    for number in (1, 2):
        spend = Spend(run_id="a" * 32, round=number, kind=Kind.UPDATE, lineage="ggo", event=EVENT)
        ledger.charge(spend, limit=Limit(epsilon_total=8, epsilon_per_run=8, delta=1e-5))
    return tmp_path


def run(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["--home", str(home), "ledger", *words])


def document(home: Path, *words: str, exit_code: int = 0) -> dict[str, Any]:
    done = run(home, *words, "--json")
    assert done.exit_code == exit_code, done.output
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def plan(folder: Path, rounds: int) -> str:
    (folder / "plan.toml").write_text(PLAN.format(rounds=rounds), encoding="utf-8")
    return str(folder / "plan.toml")


def test_it_shows_every_charge_and_what_is_left(home: Path) -> None:
    said = document(home)
    assert said["epsilon"] == epsilon([EVENT, EVENT], 1e-5)
    assert said["left"] == pytest.approx(6.5 - said["epsilon"])
    assert [(charge["round"], charge["steps"], charge["charged_at"]) for charge in said["charges"]] == [
        (1, 3, "2026-03-01T00:00:00Z"), (2, 3, "2026-03-01T00:00:00Z"),
    ]  # fmt: skip
    assert said["runs"] == [{"run_id": "a" * 32, "rounds": 2, "epsilon": said["epsilon"]}]
    assert "2 charges in 1 runs" in run(home).stdout


def test_an_answer_about_patients_who_were_held_out_is_no_round(home: Path) -> None:
    spend = Spend(run_id="a" * 32, round=0, kind=Kind.EVALUATION, lineage="ggo", event=EVENT)
    ledger = open_ledger(home / "node.db", lambda: datetime(2026, 3, 2, tzinfo=UTC))
    ledger.charge(spend, limit=Limit(epsilon_total=9, epsilon_per_run=9, delta=1e-5))
    (said,) = document(home)["runs"]
    assert (said["rounds"], said["epsilon"]) == (2, epsilon([EVENT] * 3, 1e-5))
    lines = run(home).stdout.splitlines()
    assert [" evaluation " in line for line in lines] == [False, False, False, True]


def test_a_plan_that_would_pass(home: Path) -> None:
    said = document(home, "--plan", plan(home, 1))
    assert said["plan"]["would_pass"]
    assert said["plan"]["epsilon_after"] == epsilon([EVENT] * 3, 1e-5)
    assert said["plan"]["epsilon_of_run"] == epsilon([EVENT], 1e-5)
    assert len(document(home)["charges"]) == 2


def test_a_plan_that_would_not_pass_ends_with_refused(home: Path) -> None:
    said = document(home, "--plan", plan(home, 4), exit_code=4)
    assert (said["ok"], said["code"]) == (False, "budget-too-small")
    assert (said["plan"]["would_pass"], said["plan"]["rounds_within_budget"]) == (False, 1)
    assert said["plan"]["epsilon_of_all"] == epsilon([EVENT] * 6, 1e-5)
    assert "Of the plan's 4 rounds 1 would pass" in run(home, "--plan", str(home / "plan.toml")).stdout


def test_a_ledger_that_was_changed_says_so(home: Path) -> None:
    hand = connect(home / "node.db")
    hand.executescript("DROP TRIGGER spend_is_fixed; UPDATE spend SET steps = 1 WHERE number = 1;")
    assert document(home, exit_code=4)["code"] == "audit-broken"


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TRIGGER spend_is_kept; DELETE FROM spend WHERE number = 2;",
        "DROP TRIGGER spend_is_kept; DROP TRIGGER audit_is_kept; DELETE FROM spend WHERE number = 2; DELETE FROM audit WHERE number = 2;",
    ],
    ids=["the ledger alone", "the ledger and its audit"],
)
def test_a_ledger_whose_end_was_cut_off_says_so(home: Path, sql: str) -> None:
    connect(home / "node.db").executescript(sql)
    assert document(home, exit_code=4)["code"] == "audit-broken"


def test_a_plan_with_an_evaluation_costs_that_too(home: Path) -> None:
    compared = (
        PLAN.replace('["northport"]', '["northport", "southbay"]').format(rounds=1)
        + "[evaluation]\nnoise_multiplier = 1.0\n"
    )
    (home / "plan.toml").write_text(compared, encoding="utf-8")
    assert document(home, "--plan", str(home / "plan.toml"))["plan"]["would_pass"], "the site answers no evaluation"
    with (home / "policy.toml").open("a", encoding="utf-8") as policy:
        policy.write("evaluation = true\n")
    said = document(home, "--plan", str(home / "plan.toml"), exit_code=4)["plan"]
    assert (said["would_pass"], said["rounds_within_budget"]) == (False, 1)  # 6.5 is enough for the round alone
    (home / "policy.toml").write_text(
        "[training]\nepsilon_total = 20\nepsilon_per_run = 20\nevaluation = true\n", encoding="utf-8"
    )
    one = Event(noise_multiplier=1.0, sample_rate=1.0, steps=1, clipping_norm=5**0.5)
    said = document(home, "--plan", str(home / "plan.toml"))["plan"]
    assert said["would_pass"]
    assert said["epsilon_of_run"] == epsilon([EVENT, one], 1e-5)


def test_what_a_plan_of_sums_would_cost_covers_rounding(home: Path) -> None:
    sums = PLAN.replace('["northport"]', '["northport", "southbay", "westhill"]').replace(
        "steps_per_round = 3", "steps_per_round = 1"
    )
    costs = []
    for more in ("", "[secure_sum]\ndropouts = 0\ncolluders = 1\n"):
        (home / "plan.toml").write_text(sums.format(rounds=1) + more, encoding="utf-8")
        costs.append(document(home, "--plan", str(home / "plan.toml"))["plan"]["epsilon_of_run"])
    assert costs[0] < costs[1] < 1.01 * costs[0]


# `policy check`: policy and budget in one.


@pytest.fixture
def willing(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose policy takes part in such plans, with one labelled patient."""
    with (home / "policy.toml").open("a", encoding="utf-8") as policy:
        policy.write('allowed = true\npurposes = ["ggo-segmentation"]\nlineages = ["ggo"]\nminimum_cohort = 1\n')
    cases = [labelled_study(home / "studies", 1, 1)]
    store = SimpleNamespace(labels=SimpleNamespace(training_cases=lambda _use: cases))
    monkeypatch.setattr("client.rooms.imaging.open_store", lambda _settings: store)
    return home


def check(home: Path, rounds: int) -> tuple[int, dict[str, Any]]:
    words = ["--home", str(home), "policy", "check", plan(home, rounds), "--json"]
    done = CliRunner().invoke(app, words)
    return done.exit_code, json.loads(done.stdout)


def test_a_check_says_what_a_plan_costs(willing: Path) -> None:
    code, said = check(willing, 1)
    assert (code, said["ok"]) == (0, True)
    assert said["plan"]["epsilon_after"] == epsilon([EVENT] * 3, 1e-5)
    assert "of 6.5" in said["message"]


def test_a_check_refuses_what_the_budget_does_not_carry(willing: Path) -> None:
    code, said = check(willing, 4)
    assert (code, said["code"]) == (4, "budget-too-small")
    assert "1 of 4 rounds would pass" in said["message"]


def test_a_check_says_how_far_a_site_would_go_that_takes_part_in_parts(willing: Path) -> None:
    with (willing / "policy.toml").open("a", encoding="utf-8") as policy:
        policy.write("whole_plan = false\n")
    code, said = check(willing, 4)
    assert (code, said["plan"]["rounds_within_budget"]) == (0, 1)
    assert "in 1 of 4 rounds" in said["message"]


def test_a_check_looks_at_the_policy_first(willing: Path) -> None:
    with (willing / "policy.toml").open("a", encoding="utf-8") as policy:
        policy.write('hours = "00:00-00:01"\nsecure_sum = "required"\n')
    code, said = check(willing, 1)
    assert code == 4
    assert said["code"] in {"policy-hours", "policy-secure-sum"}
