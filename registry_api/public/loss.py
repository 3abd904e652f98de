"""What a noised count costs: zero-concentrated differential privacy (Bun and Steinke 2016, arXiv:1605.02065). Pure."""

import math


def rho_of(sigma: float) -> float:
    """Return ρ of one draw of the discrete Gaussian with scale `sigma` over counts to which a patient adds at most one.

    Canonne, Kamath and Steinke 2020 (arXiv:2004.00010), theorem 4: ρ = Δ² / 2σ², here with Δ = 1.
    """
    return 1 / (2 * sigma**2)


def epsilon_of(rho: float, delta: float) -> float:
    """Return ε of (ε, δ)-differential privacy that ρ implies (Bun and Steinke 2016, proposition 1.3)."""
    return rho + 2 * math.sqrt(rho * math.log(1 / delta)) if rho else 0.0
