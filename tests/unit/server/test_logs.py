"""Logs are JSON lines, and an exception leaves its kind in them, not its text."""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from protocol.codes import Code
from server.logs import JsonLines, start_logging
from tests.fakes.outcomes import code_of

NAME = "MUSTERMANN^ERIKA"


@pytest.fixture(autouse=True)
def own_root() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    levels = {name: logging.getLogger(name).level for name in ("server", "strategies")}
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        with suppress(OSError):  # one of them may lie on a full disk
            handler.close()
    root.setLevel(level)
    logging.raiseExceptions = raising
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def lines(folder: Path, part: str = "centre") -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_record_is_one_line_with_its_keys(tmp_path: Path) -> None:
    start_logging(tmp_path / "logs", "centre")
    logging.getLogger("server.rounds").info("round.ended", extra={"round": 3, "site": "münster", "path": tmp_path})
    (line,) = lines(tmp_path / "logs")
    assert (line["event"], line["level"], line["logger"], line["round"], line["site"]) == (
        "round.ended", "info", "server.rounds", 3, "münster",
    )  # fmt: skip
    assert str(line["time"]).endswith("+00:00")


def test_an_exception_leaves_its_kind_and_not_its_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(tmp_path / "logs", "centre")
    try:
        int(NAME)
    except ValueError:
        logging.getLogger("server").exception("part.failed")
    (line,) = lines(tmp_path / "logs")
    assert line["exception"] == "ValueError"
    assert NAME not in (tmp_path / "logs" / "centre.jsonl").read_text()
    assert NAME not in capsys.readouterr().err


def test_others_libraries_are_heard_when_they_warn(tmp_path: Path) -> None:
    start_logging(tmp_path / "logs", "centre")
    logging.getLogger("httpx").info("request")
    logging.getLogger("httpx").warning("odd")
    assert [line["event"] for line in lines(tmp_path / "logs")] == ["odd"]


def test_warnings_go_to_standard_error_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(tmp_path / "logs", "centre")
    logging.getLogger("server").info("quiet")
    logging.getLogger("server").warning("loud")
    said = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert said == ["loud"]


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    start_logging(tmp_path, "centre")
    log = logging.getLogger("server")
    log.info("before")
    (tmp_path / "centre.jsonl").rename(tmp_path / "centre.jsonl.1")
    log.info("after")
    assert [line["event"] for line in lines(tmp_path)] == ["after"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert code_of(lambda: start_logging(tmp_path / "file" / "logs", "centre")) is Code.DISK_FULL


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_loses_lines_and_says_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "centre.jsonl").symlink_to("/dev/full")
    start_logging(tmp_path, "centre")
    logging.getLogger("server").info("lost")
    assert capsys.readouterr().err == ""


def test_what_is_no_json_is_written_as_text() -> None:
    record = logging.makeLogRecord({"name": "server", "msg": "x %s", "args": ("y",), "odd": Path("/a")})
    line = json.loads(JsonLines().format(record))
    assert (line["event"], line["odd"]) == ("x y", "/a")
