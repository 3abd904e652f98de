"""Whatever is done to the audit behind the node's back is found."""

import json
import multiprocessing
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client.gate.audit import GENESIS, AuditChain, Head, Row, hash_of, read_head
from protocol.codes import Code
from protocol.errors import RefusedError
from tests.unit.client.gate.conftest import Border

ROWS = 12


def fill(border: Border, rows: int = ROWS) -> None:
    for number in range(rows):
        border.chain.append("parcel.case-record", f"{number:032x}", "clear")


def broken(border: Border, witnessed: Head | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        border.chain.verify(witnessed)
    assert caught.value.code is Code.AUDIT_BROKEN
    return str(caught.value)


def test_an_untouched_chain_verifies(border: Border) -> None:
    fill(border)
    end = border.chain.verify()
    assert end.number == ROWS
    assert read_head(border.head) == end


def test_an_empty_chain_verifies(border: Border) -> None:
    assert border.chain.verify() == Head(0, GENESIS)


@pytest.mark.parametrize("row", [1, 6, ROWS])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", "2026-03-01T12:00:01Z"), ("event", "parcel.read-post"), ("subject", "f" * 32), ("verdict", "policy-shape"),
        ("body", "{}"), ("previous", "0" * 63 + "1"), ("hash", "e" * 64),
    ],
)  # fmt: skip
def test_a_flip_is_found(border: Border, column: str, value: str, row: int) -> None:
    fill(border)
    border.tamper(f"UPDATE audit SET {column} = ? WHERE number = ?", value, row)
    broken(border)


@pytest.mark.parametrize("row", [1, 6])
def test_a_deletion_is_found(border: Border, row: int) -> None:
    fill(border)
    border.tamper("DELETE FROM audit WHERE number = ?", row)
    assert f"at row {row}" in broken(border)


def test_a_deletion_that_closes_the_gap_is_found(border: Border) -> None:
    fill(border)
    border.tamper("DELETE FROM audit WHERE number = 6")
    border.tamper("UPDATE audit SET number = -number WHERE number > 6")
    border.tamper("UPDATE audit SET number = -number - 1 WHERE number < 0")
    assert "at row 6" in broken(border)


def test_an_insertion_is_found(border: Border) -> None:
    fill(border)
    border.tamper("UPDATE audit SET number = -number WHERE number >= 6")
    border.tamper("UPDATE audit SET number = -number + 1 WHERE number < 0")
    before = next(row for row in border.chain.rows() if row.number == 5)
    forged = replace(before, number=6, previous=before.hash, hash="")
    border.tamper("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values(replace(forged, hash=hash_of(forged))))
    assert "at row 7" in broken(border)


def test_a_reorder_is_found(border: Border) -> None:
    fill(border)
    for change in ("number = 100 WHERE number = 4", "number = 4 WHERE number = 5", "number = 5 WHERE number = 100"):
        border.tamper(f"UPDATE audit SET {change}")
    assert "at row 4" in broken(border)


@pytest.mark.parametrize("cut", [1, ROWS])
def test_a_cut_end_is_found_by_the_head(border: Border, cut: int) -> None:
    fill(border)
    border.tamper("DELETE FROM audit WHERE number > ?", ROWS - cut)
    assert "cut off" in broken(border)


def test_a_cut_end_stays_found_after_new_rows(border: Border) -> None:
    """The head does not follow a chain that does not hold it."""
    fill(border)
    border.tamper("DELETE FROM audit WHERE number > 6")
    fill(border, 20)
    assert "cut off" in broken(border)


def test_a_chain_rewritten_from_the_middle_is_found_by_the_head(border: Border) -> None:
    fill(border)
    rows = list(border.chain.rows())
    border.tamper("DELETE FROM audit")
    previous = GENESIS
    for row in rows:
        forged = replace(row, previous=previous, verdict="policy-shape" if row.number == 3 else row.verdict, hash="")
        forged = replace(forged, hash=hash_of(forged))
        border.tamper("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values(forged))
        previous = forged.hash
    assert f"row {ROWS} in another form" in broken(border)


def test_without_its_head_nobody_can_vouch_for_the_end(border: Border) -> None:
    fill(border)
    border.head.unlink()
    assert "missing" in broken(border)
    fill(border, 1)
    assert "missing" in broken(border), "a new row must not make a new head"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"number": "x", "hash": "y"}'])
def test_a_damaged_head_is_found(border: Border, content: str) -> None:
    fill(border)
    border.head.write_text(content)
    assert "damaged" in broken(border)


def test_a_head_kept_elsewhere_finds_what_the_own_one_cannot(border: Border) -> None:
    """Whoever cuts the chain and moves the head back too is found by a copy on another machine."""
    fill(border)
    witnessed = border.chain.last()
    border.tamper("DELETE FROM audit WHERE number > 6")
    border.head.write_text(json.dumps({"number": 6, "hash": border.chain.last().hash}))
    assert border.chain.verify().number == 6
    assert "cut off" in broken(border, witnessed)


def test_a_crash_between_commit_and_head_is_no_false_alarm(border: Border) -> None:
    fill(border, 3)
    old = border.head.read_bytes()
    fill(border, 1)
    border.head.write_bytes(old)
    assert border.chain.verify().number == 4
    fill(border, 1)
    assert read_head(border.head) == border.chain.last()


def test_the_database_itself_refuses_changes(border: Border) -> None:
    fill(border, 1)
    for change in ("DELETE FROM audit", "UPDATE audit SET verdict = 'clear'"):
        with pytest.raises(sqlite3.IntegrityError):
            border.connection.execute(change)


@pytest.mark.parametrize("word", ["DOE^JANE", "Jane Doe", "", "x" * 200, "clear; drop", "1.2.3\n"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_no_word_of_the_audit_can_hold_a_name(border: Border, word: str, place: int) -> None:
    words = ["parcel.case-record", "-", "clear"]
    words[place] = word
    with pytest.raises(RefusedError):
        border.chain.append(*words)
    assert list(border.chain.rows()) == []


def test_a_death_after_the_first_row_leaves_a_chain_that_verifies(
    border: Border, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head was not advanced yet; nor had it been when another process wrote the second row in between."""
    with monkeypatch.context() as killed:
        killed.setattr(AuditChain, "advance_head", lambda _: None)
        fill(border, 1)
    assert border.chain.verify().number == 1
    fill(border, 1)
    assert border.chain.verify().number == 2
    assert read_head(border.head) == border.chain.last()


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("meanwhile", ["first", "last"])
def test_what_another_part_appends_meanwhile_is_no_false_alarm(
    border: Border, monkeypatch: pytest.MonkeyPatch, before: int, meanwhile: str
) -> None:
    """A site that is asked to train verifies first, and its worker hands case records over at that moment."""
    fill(border, before)
    rows, other = border.chain.rows, Border(border.folder)

    def rows_of_a_busy_node() -> Iterator[Row]:
        if meanwhile == "first":
            fill(other, 2)
        yield from rows()
        if meanwhile == "last":
            fill(other, 2)

    monkeypatch.setattr(border.chain, "rows", rows_of_a_busy_node)
    border.chain.verify()
    monkeypatch.undo()
    assert border.chain.verify().number == before + 2


def append_many(folder: str, name: str) -> None:
    border = Border(Path(folder))
    for number in range(15):
        border.chain.append("parcel.case-record", f"{name}:{number}", "clear")


def test_processes_append_at_once_without_breaking_the_chain(tmp_path: Path) -> None:
    Border(tmp_path)
    context = multiprocessing.get_context("spawn")  # a forked child would share SQLite connections
    children = [context.Process(target=append_many, args=(str(tmp_path), name)) for name in ("a", "b", "c")]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    border = Border(tmp_path)
    assert border.chain.verify().number == 45
    assert read_head(border.head) == border.chain.last()


def values(row: Row) -> tuple[object, ...]:
    return (row.number, row.at, row.event, row.subject, row.verdict, row.body, row.previous, row.hash)
