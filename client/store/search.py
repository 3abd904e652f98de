"""Looking through thousands of studies, one page at a time: filtered and sorted by the database, never all in memory."""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from client.store.records import Finding, Study, StudyState

SIZE = 50
"""Rows of a page."""

_Row = TypeVar("_Row")

_GGO = "json_extract(finding.document, '$.ggo_fraction')"
_FROM = "FROM study LEFT JOIN finding ON finding.study_key = study.study_key AND study.state = 'measured'"
_FINDING = ("model_release", "document", "record", "version", "verdict", "measured_at")


@dataclass(frozen=True, slots=True)
class Page(Generic[_Row]):
    """Some rows of many. `number` counts from 1."""

    rows: list[_Row]
    number: int
    total: int

    @property
    def last(self) -> int:
        """The number of the last page."""
        return max(1, -(-self.total // SIZE))


def cut(rows: list[_Row], number: int) -> Page[_Row]:
    """Return one page of rows that are all at hand."""
    start = _offset(number)
    return Page(rows[start : start + SIZE], number, len(rows))


class Order(StrEnum):
    """How studies are sorted."""

    NEWEST = "newest"
    OLDEST = "oldest"
    MOST = "most-ground-glass"
    LEAST = "least-ground-glass"


_SORTED = {
    Order.NEWEST: "study.received_at DESC",
    Order.OLDEST: "study.received_at",
    Order.MOST: f"{_GGO} DESC NULLS LAST, study.received_at DESC",
    Order.LEAST: f"{_GGO} NULLS LAST, study.received_at DESC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyQuery:
    """Which studies. What is empty excludes nothing.

    Attributes:
        state: What became of them.
        band: Of the zone score.
        flagged: With a quality flag, whichever.
        least_ggo: Least share of ground glass.
        key: How the study's key begins, in hexadecimal digits.
        order: How they are sorted.
    """

    state: StudyState | None = None
    band: str = ""
    flagged: bool = False
    least_ggo: float = 0.0
    key: str = ""
    order: Order = Order.NEWEST


class Search:
    """Reads pages from one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def studies(self, query: StudyQuery, number: int = 1) -> Page[tuple[Study, Finding | None]]:
        """Return one page of studies, each with its valid finding."""
        where, values = _where(query)
        total = self._count(f"SELECT COUNT(*) {_FROM} WHERE {where}", *values)
        columns = ", ".join(f"finding.{name} AS {name}" for name in _FINDING)
        rows = self._connection.execute(
            f"SELECT study.*, {columns} {_FROM} WHERE {where} ORDER BY {_SORTED[query.order]}, study.study_key LIMIT ? OFFSET ?",
            (*values, SIZE, _offset(number)),
        )
        return Page([_found(row) for row in rows], number, total)

    def mean_ggo(self) -> float | None:
        """Return the mean share of ground glass of every measured study; `None` without one."""
        row = self._connection.execute(f"SELECT AVG({_GGO}) AS mean {_FROM}").fetchone()
        return float(row["mean"]) if row["mean"] is not None else None

    def _count(self, statement: str, *values: object) -> int:
        return int(self._connection.execute(statement, values).fetchone()[0])


def _where(query: StudyQuery) -> tuple[str, list[object]]:
    """Return a condition and its values."""
    asked: list[tuple[str, object]] = []
    if query.state is not None:
        asked.append(("study.state = ?", query.state.value))
    if query.band:
        asked.append(("json_extract(finding.document, '$.severity.band') = ?", query.band))
    if query.flagged:
        asked.append(("json_array_length(finding.document, '$.quality') > ?", 0))
    if query.least_ggo > 0:
        asked.append((f"{_GGO} >= ?", query.least_ggo))
    if query.key:
        asked.append(("study.study_key GLOB ?", query.key + "*"))
    return " AND ".join(["1", *(words for words, _ in asked)]), [value for _, value in asked]


def _found(row: sqlite3.Row) -> tuple[Study, Finding | None]:
    held = dict(row)
    finding = {name: held.pop(name) for name in _FINDING}
    study = Study(**{**held, "state": StudyState(held["state"])})
    return study, Finding(study_key=study.study_key, **finding) if finding["document"] is not None else None


def _offset(number: int) -> int:
    return (max(1, number) - 1) * SIZE
