"""The one place that knows SciPy: which rows go with which columns so that the sum of the values is greatest. Loaded when it is first asked."""

from collections.abc import Sequence

Edge = tuple[int, int, float]
"""(row, column, value): the two may go together, and it is worth that much. A pair stands at most once."""


def best_matching(edges: Sequence[Edge], *, rows: int, columns: int) -> dict[int, int]:
    """Return the matching of greatest total value, as column by row. Pairs worth nothing or less are never made.

    Each row may also stay alone: a column of its own, worth nothing, makes the bipartite graph fully matchable, as
    `scipy.sparse.csgraph.min_weight_full_bipartite_matching` (LAPJVsp, Jonker and Volgenant 1987) demands. The side with fewer
    vertices goes first, because its shortest paths end soonest.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if rows > columns:
        turned = [(column, row, value) for row, column, value in edges]
        return {row: column for column, row in best_matching(turned, rows=columns, columns=rows).items()}
    worth = [edge for edge in edges if edge[2] > 0]
    if not worth:
        return {}
    most = max(value for *_, value in worth)
    # A weight of zero would be no edge at all: every edge costs one more than what it falls short of the best.
    costs = [most + 1 - value for *_, value in worth] + [most + 1] * rows
    from_rows = [row for row, *_ in worth] + list(range(rows))
    to_columns = [column for _, column, _ in worth] + [columns + row for row in range(rows)]
    graph = csr_matrix((costs, (from_rows, to_columns)), shape=(rows, columns + rows))
    matched = zip(*(side.tolist() for side in min_weight_full_bipartite_matching(graph)), strict=True)
    return {row: column for row, column in matched if column < columns}
