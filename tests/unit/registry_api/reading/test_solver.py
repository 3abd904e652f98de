"""The solver against a dense assignment of the same values."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from registry_api.reading.solver import best_matching


def test_the_solver_finds_the_greatest_sum() -> None:
    pairs = [0, 0, 1], [0, 1, 0], [5.0, 4.0, 4.5]
    assert best_matching(*pairs, shape=(2, 2)) == {0: 1, 1: 0}
    assert best_matching(*pairs, shape=(3, 2)) == {0: 1, 1: 0}
    assert best_matching([2], [0], [1.0], shape=(3, 9)) == {2: 0}


def test_the_solver_leaves_alone_what_is_worth_nothing() -> None:
    assert best_matching([0, 1], [0, 0], [0.0, -3.0], shape=(2, 1)) == {}
    assert best_matching([], [], [], shape=(0, 0)) == {}
    assert best_matching([0, 0], [0, 1], [2.0, -1.0], shape=(1, 2)) == {0: 0}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[tuple[int, int], float], tuple[int, int], list[float]]:
    """Pairs with what they are worth, how many rows and columns, and what is taken off for each column: dear ones cost up to all of it."""
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    tolls = [draw(st.sampled_from((0.0, 5.0, 50.0, 180.0))) for _ in range(shape[1])]
    weights = [draw(st.sampled_from((20.0, 200.0, 210.0, 400.0, 2000.0))) for _ in range(shape[0])]
    pairs = draw(st.sets(st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1))))
    return (
        {(row, column): weights[row] - tolls[column] - draw(st.sampled_from((0.0, 60.0))) for row, column in pairs},
        shape,
        tolls,
    )


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_no_matching_is_worth_more_whether_the_tolls_are_known_or_not(
    graph: tuple[dict[tuple[int, int], float], tuple[int, int], list[float]],
) -> None:
    values, shape, tolls = graph
    dense = np.zeros(shape)
    for pair, value in values.items():
        dense[pair] = max(0.0, value)
    best = dense[linear_sum_assignment(dense, maximize=True)].sum()
    rows, columns = [row for row, _ in values], [column for _, column in values]
    for known in (None, tolls):
        made = best_matching(rows, columns, list(values.values()), shape=shape, tolls=known)
        assert len(set(made.values())) == len(made)
        assert sum(values[pair] for pair in made.items()) == np.float64(best)


def test_a_dear_column_that_another_can_do_without_stays_empty_where_that_is_worth_more() -> None:
    """Levelled, the dear column would be filled beside the cheap one of which only one row knows."""
    rows, columns, tolls = [0, 0, 1, 2], [0, 1, 1, 1], [300.0, 0.0]
    values = [10.0, 310.0, 250.0, 0.0]
    assert best_matching(rows, columns, values, shape=(3, 2), tolls=tolls) == {0: 1}
    assert best_matching(rows, columns, values, shape=(3, 2)) == {0: 1}
