"""The registry starts without torch, flwr, numpy and pydicom, and nothing of a person reaches its log."""

import json
import logging
import subprocess
import sys

from registry_api.logs import JsonLines, start_logging

BLOCKED = ("torch", "flwr", "numpy", "pydicom", "monai", "opacus", "highdicom", "scipy", "PIL")

PROGRAM = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {BLOCKED!r}:
            raise ImportError('blocked: ' + name)
sys.meta_path.insert(0, Blocker())
import registry_api.cli, registry_api.main, registry_api.serve
loaded = [name for name in {BLOCKED!r} if name in sys.modules]
assert not loaded, loaded
print('imported')
"""


def test_the_registry_imports_without_pixels_and_tensors() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "imported\n", result.stderr


def test_the_blocker_blocks() -> None:
    program = PROGRAM.replace("import registry_api.cli", "import numpy")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "blocked: numpy" in result.stderr


def test_a_log_line_is_json_with_its_keys() -> None:
    record = logging.makeLogRecord(
        {"name": "registry_api.link", "msg": "link.opened", "levelname": "INFO", "site": "n"}
    )
    line = json.loads(JsonLines().format(record))
    assert (line["event"], line["level"], line["site"]) == ("link.opened", "info", "n")


def test_an_exception_is_named_and_not_quoted() -> None:
    error = ValueError("name of a person")
    record = logging.makeLogRecord(
        {"name": "uvicorn.error", "msg": "fault", "exc_info": (ValueError, error, error.__traceback__)}
    )
    text = JsonLines().format(record)
    assert json.loads(text)["exception"] == "ValueError"
    assert "person" not in text


def test_logs_go_to_a_file_of_lines(tmp_path) -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    try:
        start_logging(tmp_path / "logs")
        logging.getLogger("registry_api.test").info("test.event", extra={"number": 3})
    finally:
        for handler in set(root.handlers) - set(before[0]):
            handler.close()
        root.handlers[:] = before[0]
        root.setLevel(before[1])
    [line] = (tmp_path / "logs" / "registry.jsonl").read_text().splitlines()
    assert (json.loads(line)["event"], json.loads(line)["number"]) == ("test.event", 3)
