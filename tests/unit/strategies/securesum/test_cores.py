"""Every place is worked on once, whatever the cores; what goes wrong on another core is not lost."""

import numpy as np
import pytest

from strategies.securesum.cores import on_every_core, pieces_of
from strategies.securesum.pads import add


@pytest.mark.parametrize("length", [0, 1, 6, 7, 8, 20, 100])
@pytest.mark.parametrize("cores", [1, 2, 3, 64])
def test_every_place_is_worked_on_once_and_no_piece_is_cut(
    length: int, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strategies.securesum.cores.os.sched_getaffinity", lambda _: range(cores))
    parts: list[slice] = []
    on_every_core(length, parts.append, piece=7)
    assert sorted(place for part in parts for place in range(part.start, part.stop)) == list(range(length))
    assert all(part.start % 7 == 0 for part in parts)
    assert len(parts) <= min(cores, 4)
    pieces = [piece for part in parts for piece in pieces_of(part, piece=7)]
    assert sum(piece.stop - piece.start for piece in pieces) == length
    assert all(0 < piece.stop - piece.start <= 7 for piece in pieces)


@pytest.mark.parametrize("cores", [1, 2])
def test_what_a_core_raises_is_raised(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.securesum.cores.os.sched_getaffinity", lambda _: range(cores))

    def last(part: slice) -> None:
        if part.stop == 20:
            raise ValueError("the last part")

    with pytest.raises(ValueError, match="the last part"):
        on_every_core(20, last, piece=3)


def test_adding_wraps_around_on_all_cores() -> None:
    total = np.arange(100_000, dtype=np.uint32)
    add(total, np.full(100_000, 2**32 - 1, np.uint32))
    assert total[:3].tolist() == [2**32 - 1, 0, 1]
    assert np.array_equal(total[1:], np.arange(99_999, dtype=np.uint32))
