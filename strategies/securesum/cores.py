"""Long arrays worked on by every core there is, each core with a part of its own. NumPy and OpenSSL let go of the interpreter meanwhile."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

_MOST = 4
"""Cores that help: what is done here soon waits for memory and not for them."""


def on_every_core(length: int, work: Callable[[slice], object], *, piece: int) -> None:
    """Call `work` with parts that together are 0 ... `length`, none twice; each begins at a multiple of `piece`.

    Args:
        length: Of the array.
        work: Does one part; another thread may do another part meanwhile. What it returns is dropped, what it raises is raised here.
        piece: What is never cut in two.
    """
    pieces = -(-length // piece)
    workers = max(1, min(len(os.sched_getaffinity(0)), _MOST, pieces))
    size = max(1, -(-pieces // workers)) * piece
    parts = [slice(start, min(start + size, length)) for start in range(0, length, size)]
    if len(parts) < 2:  # noqa: PLR2004 - nothing to share
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        for done in [pool.submit(work, part) for part in parts]:
            done.result()


def pieces_of(part: slice, *, piece: int) -> Iterator[slice]:
    """Yield a part in pieces that stay in the processor's cache."""
    for start in range(part.start, part.stop, piece):
        yield slice(start, min(start + piece, part.stop))
