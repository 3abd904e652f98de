"""Shamir's sharing against the definition: any t shares give the secret, and t - 1 fit every secret."""

import secrets
from collections.abc import Iterator
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.securesum import shamir
from strategies.securesum.shamir import PRIME, SHARE_BYTES, join, split


def test_the_modulus_is_prime() -> None:
    """Lucas-Lehmer: 2^p - 1 is prime if and only if s_(p-2) is 0 modulo it."""
    s = 4
    for _ in range(521 - 2):
        s = (s * s - 2) % PRIME
    assert s == 0


@given(st.binary(min_size=32, max_size=32), st.integers(1, 9), st.data())
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, holders: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, holders))
    shares = split(secret, holders=holders, threshold=threshold)
    chosen = data.draw(st.permutations(range(1, holders + 1)))[: data.draw(st.integers(threshold, holders))]
    assert join({holder: shares[holder - 1] for holder in chosen}, length=32) == secret


def test_every_set_of_fewer_shares_fits_every_other_secret() -> None:
    """For any two shares of three needed and any secret there is a third share that completes them to it."""
    shares = split(bytes(32), holders=5, threshold=3)
    wanted = int.from_bytes(b"y" * 32)
    for one, two in combinations(range(1, 6), 2):
        a, b = (int.from_bytes(shares[holder - 1]) for holder in (one, two))
        third = next(x for x in range(1, 6) if x not in (one, two))
        at = {one: a, two: b}
        value = _completed(at, third, wanted)
        completed = {one: shares[one - 1], two: shares[two - 1], third: value.to_bytes(SHARE_BYTES)}
        assert join(completed, length=32) == b"y" * 32


def _completed(known: dict[int, int], place: int, secret: int) -> int:
    """The value at `place` of the polynomial through `known` and (0, secret), by Lagrange, written out."""
    points = {0: secret, **known}
    total = 0
    for x, value in points.items():
        above, below = 1, 1
        for m in points:
            if m != x:
                above, below = above * (place - m) % PRIME, below * (x - m) % PRIME
        total += value * above * pow(below, -1, PRIME)
    return total % PRIME


def test_too_few_shares_give_something_else() -> None:
    shares = split(b"x" * 32, holders=4, threshold=3)
    with pytest.raises(ValueError, match="belong together"):
        join({1: shares[0], 2: shares[1]}, length=32)


def test_a_false_share_is_noticed_by_its_length() -> None:
    """A uniform element of the field is a key of 256 bits with chance 2^-265."""
    shares = split(b"x" * 32, holders=3, threshold=2)
    false = bytes([shares[0][0], shares[0][1] ^ 1]) + shares[0][2:]
    with pytest.raises(ValueError, match="belong together"):
        join({1: false, 2: shares[1]}, length=32)


@pytest.mark.parametrize("share", [PRIME.to_bytes(SHARE_BYTES), b"\xff" * SHARE_BYTES])
def test_what_is_no_element_of_the_field_is_no_share(share: bytes) -> None:
    with pytest.raises(ValueError, match="field"):
        join({1: share}, length=32)


def test_no_shares_give_nothing() -> None:
    with pytest.raises(ValueError, match="no share"):
        join({}, length=32)


@pytest.mark.parametrize(("secret", "holders", "threshold"), [(b"x" * 33, 3, 2), (b"x", 3, 0), (b"x", 3, 4)])
def test_what_cannot_be_split_is_refused(secret: bytes, holders: int, threshold: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        split(secret, holders=holders, threshold=threshold)


def test_the_coefficients_come_from_the_given_source_and_are_used_once() -> None:
    drawn: list[int] = []

    def below(limit: int) -> int:
        assert limit == PRIME
        drawn.append(secrets.randbelow(limit))
        return drawn[-1]

    shares = split(b"\x07", holders=2, threshold=2, below=below)
    assert [int.from_bytes(share) for share in shares] == [(7 + drawn[0] * x) % PRIME for x in (1, 2)]
    assert len(drawn) == 1


def test_outside_tests_they_come_from_the_operating_system() -> None:
    defaults: Iterator[object] = iter((shamir.split.__kwdefaults__ or {}).values())
    assert secrets.randbelow in list(defaults)
