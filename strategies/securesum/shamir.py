"""Shamir's secret sharing (1979): any `threshold` of the shares give the secret, fewer say nothing of it at all.

A secret s is the value at 0 of a polynomial of degree t - 1 over a prime field, its other coefficients uniform; holder x has the value at
x. For any t - 1 values at other places and any s' there is exactly one such polynomial with s' at 0, so t - 1 shares fit every secret
equally well.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping

PRIME = 2**521 - 1
"""A Mersenne prime above 2^256, so that any 256-bit key is an element of the field."""

SHARE_BYTES = 66
"""ceil(521 / 8)."""


def split(
    secret: bytes, *, holders: int, threshold: int, below: Callable[[int], int] = secrets.randbelow
) -> list[bytes]:
    """Return one share for each of the holders 1, 2, ... `holders`.

    Args:
        secret: At most 32 bytes, read as a big-endian number.
        holders: How many shares.
        threshold: How many of them give the secret.
        below: Draws a uniform number below another. The operating system's everywhere but in tests.

    Raises:
        ValueError: If the secret is longer or the threshold is not between 1 and `holders`.

    >>> shares = split(b"x" * 32, holders=5, threshold=3)
    >>> join({1: shares[0], 4: shares[3], 5: shares[4]}, length=32) == b"x" * 32
    True
    """
    if len(secret) > 32 or not 1 <= threshold <= holders:  # noqa: PLR2004 - bytes of a 256-bit key
        raise ValueError("a secret of at most 32 bytes, and 1 <= threshold <= holders")
    polynomial = [int.from_bytes(secret), *(below(PRIME) for _ in range(threshold - 1))]
    return [_value(polynomial, x).to_bytes(SHARE_BYTES) for x in range(1, holders + 1)]


def join(shares: Mapping[int, bytes], *, length: int) -> bytes:
    """Return the secret of these shares, by holder. Too few shares, or a false one, give some other value, or none at all.

    Raises:
        ValueError: If what comes out is longer than `length` bytes or a share is no element of the field: some share is false.
    """
    values = {holder: int.from_bytes(share) for holder, share in shares.items()}
    if not values or any(value >= PRIME for value in values.values()):
        raise ValueError("no share, or one that is no element of the field")
    factors = _at_zero(values)
    secret = sum(value * factors[holder] for holder, value in values.items()) % PRIME
    if secret >= 256**length:
        raise ValueError("the shares do not belong together")
    return secret.to_bytes(length)


def _value(polynomial: list[int], x: int) -> int:
    """Horner's rule."""
    total = 0
    for coefficient in reversed(polynomial):
        total = (total * x + coefficient) % PRIME
    return total


def _at_zero(places: Iterable[int]) -> dict[int, int]:
    """Return Lagrange's factors at 0: the product of m / (m - x) over all other places m."""
    every = list(places)
    factors = {}
    for x in every:
        above, below = 1, 1
        for m in every:
            if m != x:
                above, below = above * m % PRIME, below * (m - x) % PRIME
        factors[x] = above * pow(below, -1, PRIME) % PRIME
    return factors
