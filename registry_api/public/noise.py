"""Noise of the public tier: OpenDP's discrete Gaussian, drawn with the randomness of the operating system."""

from collections.abc import Callable, Sequence

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.public.loss import rho_of

Noise = Callable[[Sequence[int], float], list[int]]
"""(counts, sigma): the counts with noise, each by itself."""

_SLACK = 1e-9
"""OpenDP rounds its ρ up, away from zero."""


def discrete_gaussian(counts: Sequence[int], sigma: float) -> list[int]:
    """Return counts with noise. A patient adds at most one to one of them, so their distance is one in the Euclidean norm.

    Raises:
        InvalidInputError: `bad-setting` if OpenDP is not installed.
        ArithmeticError: If OpenDP's own account of the draw is larger than ours.
    """
    try:
        import opendp.prelude as dp
    except ImportError as error:
        raise InvalidInputError(
            Code.BAD_SETTING,
            "The public tier needs OpenDP. Install the registry with it: `pip install 'acinus[web,public]'`.",
        ) from error
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64"), size=len(counts)), dp.l2_distance(T="i64")
    draw = dp.m.make_gaussian(*space, scale=sigma)
    if draw.map(1) > rho_of(sigma) + _SLACK:
        raise ArithmeticError("OpenDP counts more privacy loss than the ledger")
    return [int(count) for count in draw(list(counts))]
