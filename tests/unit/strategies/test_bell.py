"""Bells between processes: a ring is heard at once and never missed, and one that cannot be written costs time only."""

import itertools
import threading
import time
from pathlib import Path

import pytest

from strategies import bell as bell_module
from strategies.bell import Bell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".orders.bell"


def test_a_ring_ends_the_rest_of_another_process_at_once(path: Path) -> None:
    hearer, began = Bell(path), time.monotonic()
    threading.Timer(0.1, Bell(path).ring).start()
    hearer.rest(30)
    assert time.monotonic() - began < 10


def test_a_ring_between_two_rests_is_not_missed(path: Path) -> None:
    hearer, began = Bell(path), time.monotonic()
    Bell(path).ring()
    hearer.rest(30)
    assert time.monotonic() - began < 10


def test_one_ring_ends_one_rest(path: Path) -> None:
    hearer = Bell(path)
    Bell(path).ring()
    hearer.rest(30)
    began = time.monotonic()
    hearer.rest(0.2)
    assert time.monotonic() - began >= 0.2


def test_a_bell_that_rang_before_somebody_came_says_nothing_to_them(path: Path) -> None:
    Bell(path).ring()
    began = time.monotonic()
    Bell(path).rest(0.2)
    assert time.monotonic() - began >= 0.2


def test_a_bell_that_was_rung_very_often_begins_anew_and_is_heard(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell_module, "_SIZE_MAX", 3)
    bell = Bell(path)
    counts = []
    for _ in range(9):
        bell.ring()
        counts.append(bell.count())
    assert all(before != after for before, after in itertools.pairwise(counts))
    assert max(counts) <= 3


def test_a_bell_that_cannot_be_written_is_mute_and_nothing_more(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "gone" / ".bell")
    bell.ring()
    began = time.monotonic()
    bell.rest(0.1)
    assert time.monotonic() - began >= 0.1


def test_a_bell_is_silent_until_it_rings_and_after_it_was_heard(path: Path) -> None:
    hearer = Bell(path)
    assert hearer.is_silent()
    Bell(path).ring()
    assert not hearer.is_silent()
    assert hearer.is_silent(), "that ring was heard"
    for _ in range(3):
        Bell(path).ring()
    assert not hearer.is_silent()
    assert hearer.is_silent()


def test_a_bell_that_rang_before_somebody_came_is_silent_to_them(path: Path) -> None:
    Bell(path).ring()
    assert Bell(path).is_silent()


def test_a_bell_that_is_hung_up_anew_is_heard(path: Path) -> None:
    """A SuperNode that starts again empties the folder in which it lies."""
    Bell(path).ring()
    hearer = Bell(path)
    path.unlink()
    assert not hearer.is_silent()
    assert hearer.is_silent()
    Bell(path).ring()
    assert not hearer.is_silent()
