"""The one place that knows SciPy: which rows go with which columns so that the sum of the values is greatest. Loaded when it is first asked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]


def best_matching(
    rows: "Sequence[int] | Ints",
    columns: "Sequence[int] | Ints",
    values: "Sequence[float] | Floats",
    *,
    shape: tuple[int, int],
    tolls: "Sequence[float] | Floats | None" = None,
) -> dict[int, int]:
    """Return the matching of greatest total value, as column by row. Pairs worth nothing or less are never made.

    Where rows are many, every column is first made as dear as the dearest: then a row stands equally well with nearly all of its columns,
    and its shortest path ends at the first free one instead of going through what is a little cheaper. If that fills every column that can be
    filled at all, it is the answer: no matching lost less by it than one that fills them all, so none that was worth less is worth more
    at the true values. Else the true values are matched.

    Args:
        rows: Of each pair that may go together; a pair stands at most once.
        columns: Of each pair.
        values: What each pair is worth.
        shape: How many rows and columns there are.
        tolls: What is taken off in the values of all pairs of a column alike, of each column. It changes how fast the answer is found alone.
    """
    import numpy as np

    worth = np.asarray(values, np.float64)
    some = worth > 0
    worth, of_row, of_column = worth[some], np.asarray(rows, np.int64)[some], np.asarray(columns, np.int64)[some]
    if not len(worth):
        return {}
    if tolls is not None and shape[0] > shape[1]:
        toll = np.asarray(tolls, np.float64)
        found = _matching(of_row, of_column, worth + (toll - toll.max())[of_column], shape)
        if len(found) == np.count_nonzero(np.bincount(of_column)):
            return found
    return _matching(of_row, of_column, worth, shape)


def _matching(rows: "Ints", columns: "Ints", worth: "Floats", shape: tuple[int, int]) -> dict[int, int]:
    """Return the matching of greatest total worth, by `scipy.sparse.csgraph.min_weight_full_bipartite_matching` (LAPJVsp, Jonker and Volgenant 1987).

    That demands a bipartite graph that is fully matchable: each row may also stay alone, in a column of its own that is worth nothing. Rows are
    entered one after the other: who has most to gain goes first, so that whoever comes later and must stay alone finds that out at once.
    """
    import numpy as np
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    best = np.zeros(shape[0])
    np.maximum.at(best, rows, worth)
    entered = np.argsort(-best, kind="stable")
    turn = np.empty_like(entered)
    turn[entered] = alone = np.arange(shape[0])
    most = best.max()
    # A weight of zero would be no edge at all: every edge costs one more than what it falls short of the best.
    costs = np.concatenate([most + 1 - worth, np.full(shape[0], most + 1)])
    ends = np.concatenate([turn[rows], alone]), np.concatenate([columns, shape[1] + alone])
    graph = csr_matrix((costs, ends), shape=(shape[0], shape[1] + shape[0]))
    turns, matched = min_weight_full_bipartite_matching(graph)
    paired = matched < shape[1]
    return dict(zip(entered[turns[paired]].tolist(), matched[paired].tolist(), strict=True))
