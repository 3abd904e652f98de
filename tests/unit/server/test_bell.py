"""Bells that many tasks of one process wait for: everybody hears a ring, and nobody hears one that was not."""

import asyncio
from pathlib import Path

import pytest

from server.bell import Watch
from strategies.bell import Bell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".orders.bell"


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
