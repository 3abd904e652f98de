"""The demo's whole story in small, played as a user plays it: one command, looked at through the files it writes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.local.chromium import find_chromium

ROOT = Path(__file__).parents[2]
SECONDS = 1500
"""So long a hanging story is waited for; a busy machine may take most of it."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "story"
    command = [sys.executable, "-m", "deploy.local", "--small", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def summary(played: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((played / "summary.json").read_text(encoding="utf-8"))
    return content


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(SECONDS + 60)]


def test_every_step_held(summary: dict[str, Any]) -> None:
    assert summary["ok"]
    assert summary["failure"] is None
    assert len(summary["seconds"]) == 9


def test_the_run_went_on_without_the_site_whose_limit_was_reached(summary: dict[str, Any]) -> None:
    assert summary["rounds_completed"] == 2
    assert summary["refused_sites"] == {"southbay": "budget-spent"}
    assert summary["epsilon"]["southbay"] <= 3.5 < summary["epsilon"]["northport"] <= 8


def test_the_release_is_signed_and_measures(summary: dict[str, Any]) -> None:
    assert summary["release"]["signature_verified"]
    assert summary["release"]["name"] == "ggo@1"
    assert len(summary["release"]["sha256"]) == 64
    assert "ggo@1" in {case["model_release"] for case in summary["cases"]}


def test_every_study_was_measured_or_refused_with_a_code(summary: dict[str, Any]) -> None:
    outcomes = {case["outcome"] for case in summary["cases"]}
    assert outcomes == {"measured", "refused"}
    assert all(0 <= case["ggo_fraction"] <= 1 for case in summary["cases"] if case["outcome"] == "measured")
    assert all(case["code"] for case in summary["cases"] if case["outcome"] == "refused")
    errors = [
        abs(case["ggo_fraction"] - case["truth_fraction"]) for case in summary["cases"] if case["outcome"] == "measured"
    ]
    assert sum(errors) / len(errors) < 0.06


def test_the_ministry_saw_protected_numbers_and_masks(summary: dict[str, Any]) -> None:
    assert summary["counts"]["masked"] > 0
    shown = [cell["count"] for cell in summary["counts"]["by_region"] if cell["count"] is not None]
    assert any(number > 10 for number in shown)
    assert all(number % 5 == 0 and (number == 0 or number >= 10) for number in shown)


def test_the_read_closed(summary: dict[str, Any], played: Path) -> None:
    read = summary["read"]
    assert read["state"] == "closed"
    reads = [slot for slot in read["slots"] if slot["purpose"] == "read"]
    assert [slot["result"]["report_sha256"] for slot in reads] == [read["report_sha256"]]
    assert read["events"] == ["posted", "claimed", "opened", "submitted", "signed", "delivered", "acknowledged"]
    assert (played / "reader" / "viewer.png").is_file() == (find_chromium() is not None)


def test_nothing_leaked_and_the_search_was_not_blind(summary: dict[str, Any]) -> None:
    assert summary["leaks"] == 0
    assert summary["leak_search"]["identifiers"] > 500
    assert summary["leak_search"]["searched_bytes"] > 1_000_000


def test_killed_parts_came_back(summary: dict[str, Any]) -> None:
    assert {killed["part"] for killed in summary["killed"]} == {"receiver", "worker", "link", "runner"}


def test_the_report_is_one_file_with_its_charts(played: Path) -> None:
    page = (played / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 4
    assert "data:image/png;base64," in page
    assert "https://" not in page.replace("https://www.w3.org", "")


def test_no_program_is_left_behind(played: Path) -> None:
    assert mentions(played) == []


def mentions(folder: Path) -> list[Path]:
    """Return the processes whose command line names `folder`."""
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder) in _words(path)]


def _words(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
