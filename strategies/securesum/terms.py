"""How many sites may drop out or collude in a secure summation, and what follows: the threshold, and each site's share of the noise."""

import math
from dataclasses import dataclass

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from protocol.plan import RunPlan, SecureSumPlan

FEWEST_SITES = 3
"""Of two, each would learn the other's summand by subtracting its own."""

FEWEST_HONEST = 2
"""So many honest summands must be in every sum: one alone would lie open."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The numbers of one circle; `terms_of` gives only such as hold.

    Attributes:
        sites: n, how many began.
        dropouts: d, how many of them may be lost on the way.
        colluders: c, how many may hand all they know to the centre.
    """

    sites: int
    dropouts: int
    colluders: int

    @property
    def threshold(self) -> int:
        """T = n - d: so many sites must be left, sign the same view, and give their shares of a secret.

        What is secret stays so because 2t > n + c: two different views, or a secret of both kinds about one site, would need t sites each,
        of whom only the c colluders serve twice (Bonawitz et al. 2017, section 6.2).
        """
        return self.sites - self.dropouts

    @property
    def degree(self) -> int:
        """With how many others a site pads at least: d + c + 1, so that honest sites hang together whoever is lost or colludes."""
        return max(2, self.dropouts + self.colluders + 1)

    @property
    def honest(self) -> int:
        """N - d - c: so many honest summands are in every sum that can be opened."""
        return self.sites - self.dropouts - self.colluders

    def share_of_noise(self, noise_multiplier: float) -> float:
        """Return σ/√(n - d - c): a site's own noise, so that the honest ones of any sum that can be opened have σ together.

        >>> Terms(sites=6, dropouts=1, colluders=1).share_of_noise(4.0)
        2.0
        """
        return noise_multiplier / math.sqrt(self.honest)

    def noise_against(self, colluders: int, noise_multiplier: float) -> float:
        """Return the noise multiplier that is left towards a centre with which so many sites collude; n - 1 leaves a site its own alone.

        >>> Terms(sites=6, dropouts=1, colluders=1).noise_against(4, 4.0)
        2.0
        """
        left = max(1, self.sites - self.dropouts - colluders)
        return self.share_of_noise(noise_multiplier) * math.sqrt(left)


def fewest_sites(secure: SecureSumPlan) -> int:
    """Return the fewest sites for which the terms of a plan hold: n > 2d + c, n - d - c ≥ 2, and three.

    >>> fewest_sites(SecureSumPlan(dropouts=1, colluders=1))
    4
    """
    d, c = secure.dropouts, secure.colluders
    return max(FEWEST_SITES, 2 * d + c + 1, d + c + FEWEST_HONEST)


def terms_of(sites: int, secure: SecureSumPlan) -> Terms:
    """Return the terms of a circle of `sites`.

    Raises:
        RefusedError: `too-few-sites` if they would not hold.
    """
    needed = fewest_sites(secure)
    if sites < needed:
        raise RefusedError(
            Code.TOO_FEW_SITES,
            f"{sites} sites are in the secure summation; with {secure.dropouts} dropouts and {secure.colluders} colluders "
            f"tolerated it takes {needed}.",
        )
    return Terms(sites=sites, dropouts=secure.dropouts, colluders=secure.colluders)


def check_plan(plan: RunPlan) -> SecureSumPlan:
    """Return the secure summation of a plan, if its numbers can hold.

    One step a round: with more, a site's later gradients depend on its own share of the earlier noise, which is smaller than what the sum
    hides behind, and the charge would be too low (ADR 0092). Robust rules need to see single updates.

    Raises:
        InvalidInputError: `bad-setting`.
        RefusedError: `too-few-sites`.
    """
    secure = plan.secure_sum
    if secure is None:
        raise InvalidInputError(Code.BAD_SETTING, "The plan has no table [secure_sum].")
    if plan.privacy.steps_per_round != 1:
        raise InvalidInputError(
            Code.BAD_SETTING,
            "Noise that sites share covers one step a round: set steps_per_round = 1, or take secure_sum away.",
        )
    if plan.compares_updates:
        raise InvalidInputError(
            Code.BAD_SETTING,
            f"{plan.strategy} looks at single updates, which secure_sum hides. Take one of them out of the plan.",
        )
    terms_of(len(plan.sites), secure)
    return secure
