"""The grid on which summands are integers: its step, what fits into 32 bits for certain, and what rounding costs in privacy.

A site rounds its sum of clipped gradients to the grid, rounds its noise to the grid, and adds the two as integers: no floating-point sum of
data and noise exists. The theorem behind `charged` is proved in ADR 0092.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.plan import PrivacyPlan, RunPlan
from strategies.securesum.pads import Words
from strategies.securesum.terms import check_plan, fewest_sites, terms_of

MODULUS = 2**32

NOISE_REACH = 18.0
"""No value of `client.train.noise` is further from zero, in standard deviations: four normals of at most √(106 ln 2) each, added and halved."""

_PIECE = 1 << 14
"""Values that are rounded together: they stay in the processor's cache."""

STEPS_OF_NOISE = 8.0
"""A site's own standard deviation is at least so many steps of the grid: then the sum of rounded noise is Gaussian enough (ADR 0092)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Whole multiples of `step`.

    Attributes:
        step: In the unit of gradients; a power of two, so that multiplying by it or its inverse is exact.
        data_bound: The largest size of a rounded value of the clipped sum; larger ones are cut off.
        noise_bound: The largest size of a rounded value of noise.
    """

    step: float
    data_bound: int
    noise_bound: int

    @property
    def bound(self) -> int:
        """The largest size of a value of a summand."""
        return self.data_bound + self.noise_bound

    def summand(self, data: NDArray[np.floating], noise: NDArray[np.float64]) -> Words:
        """Return a site's summand: rounded data plus rounded noise, modulo 2^32.

        Cutting off at `data_bound` brings no two vectors of data further apart.

        Args:
            data: Sum of clipped gradients, shape (D,), in the unit of gradients.
            noise: Of the same shape and unit.

        Raises:
            ValueError: If a value is not finite or noise is out of its bound (the generator is not the one that the bound was proved for).
        """
        words = np.empty(len(data), np.int32)
        rounded, drawn = np.empty(_PIECE), np.empty(_PIECE)
        for start in range(0, len(data), _PIECE):
            piece = slice(start, start + _PIECE)
            words[piece] = self._summand(data[piece], noise[piece], rounded, drawn)
        return words.view(np.uint32)

    def _summand(
        self,
        data: NDArray[np.floating],
        noise: NDArray[np.float64],
        rounded: NDArray[np.float64],
        drawn: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return whole numbers, far below 2^53 and so exact. `rounded` and `drawn` are room to work in, used again for each piece."""
        rounded, drawn = rounded[: len(data)], drawn[: len(data)]
        low, high = self._rounded(data, rounded)
        if low < -self.data_bound or high > self.data_bound:
            np.clip(rounded, -self.data_bound, self.data_bound, out=rounded)
        low, high = self._rounded(noise, drawn)
        if max(-low, high) > self.noise_bound:
            raise ValueError("noise is out of its bound")
        return np.add(rounded, drawn, out=drawn)

    def _rounded(self, values: NDArray[np.floating], out: NDArray[np.float64]) -> tuple[float, float]:
        """Write values to `out` as multiples of the step; return the least and the greatest."""
        np.multiply(values, 1.0 / self.step, out=out)
        np.rint(out, out=out)
        low, high = float(out.min()), float(out.max())  # NaN if one is
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("data or noise are not finite, so out of any bound")
        return low, high

    def value(self, total: Words) -> NDArray[np.float64]:
        """Return the sum that stands for the integers `total`, in the unit of gradients."""
        return total.view(np.int32).astype(np.float64) * self.step


def check_range(addends: int, bound: int, *, modulus: int = MODULUS) -> None:
    """Accept `addends` integers of size at most `bound`: their sum is below half the modulus, so it can be read off its residue.

    Proof: |Σ q| ≤ Σ |q| ≤ addends * bound < modulus/2, and the residues of -(modulus/2 - 1) ... modulus/2 - 1 are all different.

    Raises:
        InvalidInputError: `bad-setting` if the sum could wrap around.
    """
    if addends * bound >= modulus // 2:
        raise InvalidInputError(
            Code.BAD_SETTING,
            f"The sum of {addends} integers up to {bound} could pass half of {modulus}. Take a coarser grid.",
        )


def grid_of(plan: RunPlan) -> Grid:
    """Return the finest grid whose sums fit, for as many sites as the plan names and for every smaller circle that its terms allow.

    The data of one coordinate are cut off at C times the expected batch: more than that would need more patients than expected to spend all
    of their clipped gradient on one parameter, in one direction.

    Raises:
        InvalidInputError: `bad-setting` if the noise is too small for such a grid, or the plan has no (sound) secure summation.
        RefusedError: `too-few-sites`.
    """
    secure = check_plan(plan)
    sites, privacy = len(plan.sites), plan.privacy
    most_noise = terms_of(fewest_sites(secure), secure).share_of_noise(privacy.noise_multiplier) * privacy.clipping_norm
    reach = privacy.expected_batch * privacy.clipping_norm + NOISE_REACH * most_noise
    step = 2.0 ** math.ceil(math.log2(sites * reach / (MODULUS // 2 - 2 * sites)))
    grid = Grid(
        step=step,
        data_bound=math.ceil(privacy.expected_batch * privacy.clipping_norm / step),
        noise_bound=math.ceil(NOISE_REACH * most_noise / step),
    )
    check_range(sites, grid.bound)
    least_noise = terms_of(sites, secure).share_of_noise(privacy.noise_multiplier) * privacy.clipping_norm
    if least_noise < STEPS_OF_NOISE * step:
        raise InvalidInputError(
            Code.BAD_SETTING,
            "The noise is too small to be rounded to 32 bits. Take a smaller expected_batch or more noise.",
        )
    return grid


def charged(privacy: PrivacyPlan, grid: Grid, *, values: int) -> PrivacyPlan:
    """Return the mechanism that the ledger must charge: with rounding, one patient moves the sum by more than C.

    Rounding moves each of D coordinates of a difference by less than one step, so the norm grows to at most C' = C + step * √D; the noise
    is still σC, which is σC/C' times C'.

    Args:
        privacy: The plan's mechanism.
        grid: Where sums are rounded to.
        values: D, how many coordinates there are.

    >>> plan = PrivacyPlan(noise_multiplier=4, clipping_norm=1, sample_rate=0.1, expected_batch=8, steps_per_round=1)
    >>> more = charged(plan, Grid(step=2.0**-10, data_bound=2**20, noise_bound=2**20), values=65536)
    >>> more.clipping_norm, more.noise_multiplier
    (1.25, 3.2)
    """
    norm = privacy.clipping_norm + grid.step * math.sqrt(values)
    sigma = privacy.noise_multiplier * privacy.clipping_norm / norm
    return privacy.model_copy(update={"clipping_norm": norm, "noise_multiplier": sigma})
