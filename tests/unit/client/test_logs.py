"""What a rim of the node writes down of an unexpected error: enough to find it, nothing that the error says."""

import json
import logging
from pathlib import Path

import pytest

import protocol.shape
from client.logs import JsonLines, fault_of

NAME = "Garcia^Maria"


def test_a_fault_is_its_kind_and_the_last_of_our_own_lines() -> None:
    with pytest.raises(ValueError, match="Garcia") as raised:
        protocol.shape._on_the_calendar(NAME)
    record = logging.makeLogRecord({"name": "client.infer", "msg": "worker.fault", **fault_of(raised.value)})
    line = json.loads(JsonLines().format(record))
    file, _, number = line["at"].partition(":")
    source = Path(protocol.shape.__file__).read_text().splitlines()[int(number) - 1]
    assert (line["kind"], file, source.strip()) == ("ValueError", "shape.py", "datetime.fromisoformat(text)")
    assert NAME not in json.dumps(line)


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert fault_of(KeyError(NAME)) == {"kind": "KeyError", "at": "-:0"}
