"""The one place that knows SciPy and its arrays: which rows go with which columns so that the sum of the values is greatest. Loaded when it is first asked."""

from collections.abc import Sequence


def best_matching(
    rows: Sequence[int], columns: Sequence[int], values: Sequence[float], *, shape: tuple[int, int]
) -> dict[int, int]:
    """Return the matching of greatest total value, as column by row. Pairs worth nothing or less are never made.

    Each row may also stay alone: a column of its own, worth nothing, makes the bipartite graph fully matchable, as
    `scipy.sparse.csgraph.min_weight_full_bipartite_matching` (LAPJVsp, Jonker and Volgenant 1987) demands. The side with fewer
    vertices goes first, because its shortest paths end soonest.

    Args:
        rows: Of each pair that may go together; a pair stands at most once.
        columns: Of each pair.
        values: What each pair is worth.
        shape: How many rows and columns there are.
    """
    import numpy as np
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if shape[0] > shape[1]:
        turned = best_matching(columns, rows, values, shape=(shape[1], shape[0]))
        return {row: column for column, row in turned.items()}
    worth = np.asarray(values, np.float64)
    some = worth > 0
    if not some.any():
        return {}
    most, alone = worth.max(), np.arange(shape[0])
    # A weight of zero would be no edge at all: every edge costs one more than what it falls short of the best.
    costs = np.concatenate([most + 1 - worth[some], np.full(shape[0], most + 1)])
    from_rows = np.concatenate([np.asarray(rows)[some], alone])
    to_columns = np.concatenate([np.asarray(columns)[some], shape[1] + alone])
    graph = csr_matrix((costs, (from_rows, to_columns)), shape=(shape[0], shape[1] + shape[0]))
    matched = zip(*(side.tolist() for side in min_weight_full_bipartite_matching(graph)), strict=True)
    return {row: column for row, column in matched if column < shape[1]}
