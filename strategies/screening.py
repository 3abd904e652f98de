"""Screening: which updates stand too far from the others to be combined at all, by length and by direction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.plan import Screening
from strategies.order import middle
from strategies.stack import Stack


@dataclass(frozen=True, slots=True)
class Standing:
    """How each update stands to the others, (n,) each: its norm, and its cosine with the coordinate-wise median.

    The cosine of an update with a median is 1 where either of them is zero: there is no direction to object to.
    """

    norms: NDArray[np.float64]
    cosines: NDArray[np.float64]


def standing(stack: Stack) -> Standing:
    """Return how the updates stand to each other, read block by block."""
    squares, products, median_square = np.zeros(len(stack)), np.zeros(len(stack)), 0.0
    for _, block in stack.blocks():
        values = block.astype(np.float64)
        median = middle(block).astype(np.float64)
        squares += np.einsum("ij,ij->i", values, values)
        products += np.einsum("ij,j->i", values, median)
        median_square += float(median @ median)
    lengths = np.sqrt(squares)
    both = lengths * np.sqrt(median_square)
    cosines = np.divide(products, both, out=np.ones(len(stack)), where=both > 0)
    return Standing(lengths, cosines)


def left_out(found: Standing, rules: Screening) -> list[int]:
    """Return the places of the updates that `rules` leave out."""
    out = np.zeros(len(found.norms), dtype=bool)
    if rules.norm_factor is not None and len(out):
        out |= found.norms > rules.norm_factor * np.median(found.norms)
    if rules.min_cosine is not None:
        out |= found.cosines < rules.min_cosine
    return [int(at) for at in np.flatnonzero(out)]
