"""The driver is quicker and says the same."""

from datetime import datetime

import pytest
from pg8000 import dbapi, legacy
from pg8000.converters import timestamp_in

from registry_api.driver import quicken, read_times, remembering

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


@pytest.mark.parametrize("text", ["2026-11-26 22:24:20", "2026-11-26 22:24:20.5", "2026-11-26 22:24:20.123456"])
def test_times_are_read_as_the_driver_reads_them(text: str) -> None:
    adapters = {}

    class Connection:
        def register_in_adapter(self, number: int, read: object) -> None:
            adapters[number] = read

    read_times(Connection(), None)
    assert adapters[1114](text) == timestamp_in(text)  # type: ignore[operator]
    assert isinstance(adapters[1114](text), datetime)  # type: ignore[operator]
