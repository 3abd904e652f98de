import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local import story
from deploy.local.commands import CommandLine, Running
from deploy.local.failures import StepFailed
from deploy.local.scene import Scene
from deploy.local.sites import SMALL
from deploy.local.stage import Stage
from deploy.local.steps.sites_train import rounds_told
from deploy.local.story import Setting, fresh_folder, play


def stage() -> Stage:
    return Stage(Console(stderr=True, quiet=True))


def starts_something(scene: Scene) -> None:
    scene.network.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
    scene.check(held=True, what="something was started")


def fails(scene: Scene) -> None:
    scene.check(held=False, what="two and two are five", where="the log")


def played(
    out: Path, monkeypatch: pytest.MonkeyPatch, *steps: story.Step, keep: bool = False
) -> tuple[dict, list[Scene]]:
    kept: list[Scene] = []
    monkeypatch.setattr(story, "STEPS", steps)
    facts = play(Setting(cast=SMALL, out=out, keep=keep), stage(), when_kept=kept.append)
    return facts, kept


def test_a_step_that_fails_ends_the_story_says_so_and_ends_every_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Scene] = []

    def looks(scene: Scene) -> None:
        seen.append(scene)
        starts_something(scene)

    facts, kept = played(
        tmp_path / "out",
        monkeypatch,
        ("one", "1 Starts", looks),
        ("two", "2 Fails", fails),
        ("three", "3 Never", looks),
        keep=True,
    )
    assert facts["failure"] == {"step": "2 Fails", "what": "did not hold: two and two are five", "logs": "the log"}
    assert not facts["ok"]
    assert list(facts["seconds"]) == ["one", "two"]
    assert facts["held"] == [{"step": "1 Starts", "what": "something was started"}]
    assert kept == []
    assert seen[0].network.programs == {}


def test_what_is_written_is_what_is_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts, _ = played(tmp_path / "out", monkeypatch, ("one", "1 Starts", starts_something))
    assert facts["ok"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == facts
    assert "1 things checked" in (tmp_path / "out" / "report.html").read_text()


def test_a_program_that_ends_by_itself_fails_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(scene: Scene) -> None:
        scene.network.start("mayfly", [sys.executable, "-c", "raise SystemExit(3)"]).child.wait()

    facts, _ = played(tmp_path / "out", monkeypatch, ("one", "1 Dies", dies))
    assert facts["failure"]["what"] == "mayfly ended by itself with exit code 3"


def test_a_kept_network_is_still_up_when_the_person_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "STEPS", (("one", "1 Starts", starts_something),))
    alive: list[bool] = []
    play(
        Setting(cast=SMALL, out=tmp_path / "out", keep=True),
        stage(),
        when_kept=lambda scene: alive.append(scene.network.programs["sleeper"].alive),
    )
    assert alive == [True]


def test_only_a_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.txt").write_text("all of it")
    with pytest.raises(StepFailed, match="holds something else"):
        fresh_folder(precious)
    assert (precious / "chapter1.txt").exists()
    fresh_folder(tmp_path / "new")
    (tmp_path / "new" / "old.json").write_text("{}")
    fresh_folder(tmp_path / "new")
    assert not (tmp_path / "new" / "old.json").exists()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    script = tmp_path / "acinus-toy"
    script.write_text(
        f"#!{sys.executable}\nimport json, sys, time\nprint('a log line', file=sys.stderr)\nprint(json.dumps(sys.argv[1:]))\nsys.stdout.flush()\ntime.sleep(60 if 'sleep' in sys.argv else 0)\nsys.exit(4 if 'refuse' in sys.argv else 0)\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr("deploy.local.commands.program_path", lambda name: str(tmp_path / name))
    return CommandLine("acinus-toy", tmp_path / "home", tmp_path / "toy.log")


def test_a_command_gets_its_home_before_the_verb_and_its_answer_is_read(program: CommandLine) -> None:
    assert program.json("status") == ["--home", str(program.home), "status", "--json"]
    assert program.log.read_text() == "$ acinus-toy status --json\na log line\n"


def test_a_command_that_fails_names_itself_and_its_last_words(program: CommandLine) -> None:
    with pytest.raises(StepFailed, match="`acinus-toy refuse` ended with exit code 4: a log line"):
        program("refuse")
    assert program.attempt("refuse")[0] == 4


def test_a_command_that_takes_too_long_is_ended_and_said(program: CommandLine) -> None:
    with pytest.raises(StepFailed, match="`acinus-toy sleep` took longer than 1 s"):
        program("sleep", seconds=1)


def test_a_running_command_ends_with_the_body_that_watches_it(program: CommandLine) -> None:
    watched: list[Running] = []

    def watch() -> None:
        with program.running("sleep") as running:
            watched.append(running)
            assert not running.ended
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch()
    assert watched[0].child.returncode == -9


def test_what_a_command_prints_can_be_read_when_it_has_ended(program: CommandLine) -> None:
    with program.running("hello", "--json") as running:
        running.child.wait(30)
        assert running.ended
        assert program.document(running.output(), verb="hello")[2:] == ["hello", "--json"]
    with pytest.raises(StepFailed, match="`acinus-toy hello --json` did not print one JSON document"):
        program.document("hello", verb="hello")


def test_rounds_are_followed_by_the_lines_of_the_command_line() -> None:
    log = "$ acinus-centre train\nrun 6b5c\nstart: Dice 0.791\nround 1/4: 3 sites, ε ≤ 3.05\na round 2/4: no\nround 2/4: 2 si"
    assert rounds_told(log) == ["round 1/4: 3 sites, ε ≤ 3.05", "round 2/4: 2 si"]
