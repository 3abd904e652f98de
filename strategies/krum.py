"""Krum and multi-Krum: the updates that lie closest to their neighbours (Blanchard et al. 2017, arXiv:1703.02757)."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from strategies.stack import Stack, coordinatewise, mean_of


def krum(stack: Stack, byzantine: int) -> dict[str, NDArray[np.float32]]:
    """Return the one update with the smallest score, as it is.

    Raises:
        ValueError: If there are fewer than 2 `byzantine` + 3 updates.
    """
    return coordinatewise(stack.only(_ranked(stack, byzantine)[:1]), mean_of)


def multi_krum(stack: Stack, byzantine: int) -> dict[str, NDArray[np.float32]]:
    """Return the mean of the n - f - 2 updates with the smallest scores, the most for which resilience is proven.

    (El Mhamdi, Guerraoui and Rouault 2018, arXiv:1802.07927.)

    Raises:
        ValueError: If there are fewer than 2 `byzantine` + 3 updates.
    """
    chosen = sorted(_ranked(stack, byzantine)[: len(stack) - byzantine - 2])
    return coordinatewise(stack.only(chosen), mean_of)


def krum_scores(distances: NDArray[np.float64], byzantine: int) -> NDArray[np.float64]:
    """Return the score of each of n updates: the sum of squared distances to its n - f - 2 nearest neighbours.

    Args:
        distances: Squared, (n, n), zero on the diagonal.
        byzantine: f, how many updates may be hostile.

    Raises:
        ValueError: If n < 2f + 3: then the hostile ones could choose among themselves.
    """
    sites = len(distances)
    if byzantine < 0 or sites < 2 * byzantine + 3:
        raise ValueError(f"Krum with {byzantine} hostile updates needs {2 * byzantine + 3}, and there are {sites}")
    nearest = np.sort(distances, axis=1)[:, 1 : sites - byzantine - 1]  # the first is the update itself
    return np.asarray(nearest.sum(axis=1))


def squared_distances(stack: Stack) -> NDArray[np.float64]:
    """Return the squared Euclidean distances between all updates, (n, n), read block by block.

    Differences are squared, not products subtracted: an update of enormous values must not wipe out the digits of the others.
    """
    distances = np.zeros((len(stack), len(stack)))
    for _, block in stack.blocks():
        for one in range(len(block) - 1):
            apart = block[one + 1 :].astype(np.float64) - block[one]
            distances[one, one + 1 :] += np.einsum("ij,ij->i", apart, apart)
    return np.asarray(distances + distances.T)


def _ranked(stack: Stack, byzantine: int) -> list[int]:
    """Return the places of all updates, best score first; of equal ones their content decides, not who came first."""
    scores = krum_scores(squared_distances(stack), byzantine).tolist()
    tied = {score for score, times in Counter(scores).items() if times > 1}
    return sorted(range(len(stack)), key=lambda at: (scores[at], stack.digest(at) if scores[at] in tied else b""))
