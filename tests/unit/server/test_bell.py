"""Bells between processes: a ring is heard at once and never missed, and one that cannot be written costs time only."""

import asyncio
import itertools
import threading
import time
from pathlib import Path

import pytest

from server import bell as bell_module
from server.bell import Bell, Watch


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


async def _heard(path: Path, waiters: int, *, ring: bool, seconds: float) -> list[bool]:
    watch = Watch(Bell(path))
    running = asyncio.create_task(watch.run())
    mark = watch.mark()
    tasks = [asyncio.create_task(watch.next(mark, seconds)) for _ in range(waiters)]
    await asyncio.sleep(0.05)
    if ring:
        Bell(path).ring()
    heard = await asyncio.gather(*tasks)
    running.cancel()
    return heard


def test_everybody_who_waits_hears_it(path: Path) -> None:
    assert asyncio.run(_heard(path, 50, ring=True, seconds=30)) == [True] * 50


def test_nobody_hears_what_did_not_ring(path: Path) -> None:
    assert asyncio.run(_heard(path, 3, ring=False, seconds=0.2)) == [False] * 3


def test_a_ring_after_the_mark_and_before_the_wait_is_heard(path: Path) -> None:
    async def late() -> bool:
        watch = Watch(Bell(path))
        mark = watch.mark()
        Bell(path).ring()
        return await watch.next(mark, 30)

    assert asyncio.run(late())


def test_a_watch_that_is_closed_lets_everybody_go(path: Path) -> None:
    async def closed() -> list[bool]:
        watch = Watch(Bell(path))
        waiting = asyncio.create_task(watch.next(watch.mark(), 30))
        await asyncio.sleep(0.01)
        watch.close()
        return [await waiting, await watch.next(watch.mark(), 30)]

    assert asyncio.run(closed()) == [False, False]
