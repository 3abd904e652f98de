"""Normalisation that stays at its site: which parameters are scale and shift of a norm, and what is sent without them.

As in FedBN (Li et al. 2021, arXiv:2102.07623), for GroupNorm: no statistics, scale and shift only. Names decide, so that the centre needs
no torch; a test holds the names against the network.
"""

import re

import numpy as np
from numpy.typing import NDArray

from protocol.plan import RunPlan
from strategies.arrays import Arrays

_OF_A_NORM = re.compile(r"(^|[._])norm\.(weight|bias)\Z")


def norms_of(arrays: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return scale and shift of every normalisation."""
    return {name: array for name, array in arrays.items() if _OF_A_NORM.search(name)}


def sent_part(plan: RunPlan, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return what of `arrays` a site sends under `plan`: all, or all but the norms that it keeps."""
    kept = norms_of(arrays) if plan.keep_norms else {}
    return {name: array for name, array in arrays.items() if name not in kept}


def with_norms(base: Arrays, own: Arrays | None) -> dict[str, NDArray[np.float32]]:
    """Return `base` with a site's own norms; with those of `base` where the site has none, or has those of another network."""
    expected = {name: array.shape for name, array in norms_of(base).items()}
    fits = own is not None and {name: array.shape for name, array in own.items()} == expected
    return {**base, **(own if fits and own is not None else {})}
