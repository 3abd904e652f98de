"""The driver is quicker and says the same."""

from io import BytesIO
from struct import pack
from typing import Any

import pytest
from pg8000 import core, dbapi, legacy

from registry_api.driver import Connection, quicken, remembering

QUERIES = [
    "SELECT a FROM t WHERE b = %s AND c IN (%s, %s)",
    "SELECT '%%s', \"a%%b\", E'it\\'s' FROM t -- %s\n WHERE a = %s::VARCHAR",
    "UPDATE t SET a = %s WHERE b LIKE '%%x' RETURNING c",
    "SELECT 1",
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_statement_is_written_as_the_driver_writes_it(query: str) -> None:
    told = remembering(dbapi.convert_paramstyle)
    for values in ((1, 2, 3), (4, 5, 6)):
        assert told("format", query, values) == dbapi.convert_paramstyle("format", query, values)


def test_each_text_is_walked_through_once() -> None:
    walked = []

    def convert(style: str, query: str, args: object) -> tuple[str, object]:
        walked.append((style, query))
        return query, args

    told = remembering(convert)
    for number in range(3):
        assert told("format", "SELECT %s", (number,)) == ("SELECT %s", (number,))
    assert walked == [("format", "SELECT %s")]
    told("named", "SELECT :a", {"a": 1})
    assert walked[-1] == ("named", "SELECT :a")


def test_the_name_that_is_replaced_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legacy, "convert_paramstyle", dbapi.convert_paramstyle)
    quicken()
    once = legacy.convert_paramstyle
    quicken()
    assert legacy.convert_paramstyle is once is not dbapi.convert_paramstyle


ROWS: list[list[str | None]] = [["São Tomé", None, ""], [None, "β-2", "x" * 300]]


def message(code: bytes, content: bytes = b"") -> bytes:
    return code + pack("!i", len(content) + 4) + content


def row(values: list[str | None]) -> bytes:
    texts = [None if one is None else one.encode() for one in values]
    written = [pack("!i", -1) if one is None else pack("!i", len(one)) + one for one in texts]
    return message(core.DATA_ROW, pack("!h", len(values)) + b"".join(written))


ANSWER = b"".join(
    (message(core.BIND_COMPLETE), *map(row, ROWS), message(core.COMMAND_COMPLETE, b"SELECT 2\0"), message(b"Z", b"T"))
)


def taken_in(kind: type[core.CoreConnection], answer: bytes) -> Any:
    """Have a connection that was never opened take in an answer."""
    line: Any = object.__new__(kind)
    line._sock, line._client_encoding, line._transaction_status, line._passed_over = BytesIO(answer), "utf8", b"T", 0
    line.message_types = {
        core.BIND_COMPLETE: line.handle_BIND_COMPLETE,
        core.DATA_ROW: line.handle_DATA_ROW,
        core.COMMAND_COMPLETE: line.handle_COMMAND_COMPLETE,
        core.READY_FOR_QUERY: line.handle_READY_FOR_QUERY,
    }
    context: Any = core.Context("SELECT")
    context.rows, context.input_funcs = [], [str, str, str]
    line.handle_messages(context)
    return context


def test_an_answer_is_read_as_the_driver_reads_it() -> None:
    ours, theirs = (taken_in(kind, ANSWER) for kind in (Connection, legacy.Connection))
    assert ours.rows == theirs.rows == ROWS
    assert ours.row_count == theirs.row_count == 2


@pytest.mark.parametrize("whole", [0, 3, 5, 20, len(ANSWER) - 1])
def test_a_line_that_ends_in_the_midst_of_an_answer_is_lost(whole: int) -> None:
    with pytest.raises(core.InterfaceError, match="network error"):
        taken_in(Connection, ANSWER[:whole])
