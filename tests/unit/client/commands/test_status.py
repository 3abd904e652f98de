"""`acinus-node status --studies`: what a hospital's IT learns of each study."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from client.commands import imaging, network
from client.rooms.border import open_inbox
from protocol.codes import Code, meaning_of
from tests.fakes.ct_series import plain_series
from tests.fakes.node_home import Home
from tests.fakes.scans import chest_series

pytestmark = pytest.mark.usefixtures("remembered")


def run(home: Home, *words: str | Path) -> str:
    app = typer.Typer()

    @app.callback()
    def main(home: Annotated[Path, typer.Option()]) -> None:
        """As the node's own program: the home stands before the verb."""

    imaging.add_to(app)
    network.add_to(app)
    result = CliRunner().invoke(app, ["--home", str(home.settings.home), *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    (home.settings.home / "node.toml").write_text("[dicom]\nminimum_free_mb = 1\n")
    chest_series(study="good").write(tmp_path / "in" / "good")
    scout = plain_series(1, study="scout", header={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    scout.write(tmp_path / "in" / "scout")
    run(home, "ingest", tmp_path / "in", "--json")
    return home


def test_every_study_is_listed_with_its_key_and_what_became_of_it(home: Home) -> None:
    said: dict[str, Any] = json.loads(run(home, "status", "--studies", "--json"))
    assert said["studies"]["measured"] == said["studies"]["refused"] == 1
    by_state = {study["state"]: study for study in said["by_study"]}
    assert by_state["refused"]["code"] == "localizer"
    assert by_state["refused"]["ggo_fraction"] is None
    assert by_state["measured"]["model_release"] == "ggo@0"
    assert 0 <= by_state["measured"]["ggo_fraction"] <= 1
    assert {study["study_key"] for study in said["by_study"]} == {study.study_key for study in home.store().studies()}


def test_a_person_gets_one_line_for_each_study_and_only_if_asked(home: Home) -> None:
    keys = [study.study_key for study in home.store().studies()]
    lines = run(home, "status", "--studies").splitlines()
    assert [line for line in lines if line.startswith(tuple(keys))] == lines[-2:]
    assert any(line.endswith("localizer") for line in lines)
    assert any(line.endswith("% ground glass by ggo@0") for line in lines)
    assert not any(key in run(home, "status") for key in keys)


def test_a_word_of_the_centre_that_cannot_be_taken_has_a_line(home: Home) -> None:
    inbox = open_inbox(home.settings)
    inbox.store("1" * 32, "report-signed", b"{}")
    inbox.postpone("1" * 32, timedelta(seconds=1), code=Code.DISK_FULL)
    (stuck,) = json.loads(run(home, "status", "--json"))["stuck"]
    assert (stuck["kind"], stuck["attempts"], stuck["code"]) == ("report-signed", 1, "disk-full")
    assert stuck["meaning"] == meaning_of("disk-full")
    line = f"notice    report-signed of {stuck['received']} cannot be taken, 1 try; the last one: disk-full"
    assert line in run(home, "status").splitlines()


def test_a_look_at_the_status_loads_nothing_that_reads_scans(home: Home) -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "client.cli", "--home", str(home.settings.home), "status", "--json"],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
    assert "client" in loaded
    assert not loaded & {"torch", "pydicom", "numpy", "nibabel", "highdicom", "flwr", "joserfc"}
