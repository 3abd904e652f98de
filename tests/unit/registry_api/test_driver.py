"""The driver is quicker and says the same."""

import pytest
from pg8000 import dbapi, legacy

from registry_api.driver import quicken, remembering

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
