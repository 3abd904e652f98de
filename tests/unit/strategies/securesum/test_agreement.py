"""Keys between two sites: both get the same, nobody else's circle, way or purpose does."""

import os

import pytest

from protocol.codes import Code
from protocol.errors import RefusedError
from strategies.securesum.agreement import open_box, own_pad_key, pad_key, public_half, seal, to_bytes, to_text

CIRCLE, OTHER = "a" * 64, "b" * 64
PAIR = ("northport", "southbay")


@pytest.fixture
def ends() -> tuple[bytes, bytes]:
    return os.urandom(32), os.urandom(32)


def test_both_ends_derive_the_same_pad_key(ends: tuple[bytes, bytes]) -> None:
    one, two = ends
    mine = pad_key(one, public_half(two), circle=CIRCLE, pair=PAIR)
    assert mine == pad_key(two, public_half(one), circle=CIRCLE, pair=PAIR)
    assert len(mine) == 32


def test_no_key_serves_in_another_circle_pair_or_purpose(ends: tuple[bytes, bytes]) -> None:
    one, two = ends
    keys = [
        pad_key(one, public_half(two), circle=CIRCLE, pair=PAIR),
        pad_key(one, public_half(two), circle=OTHER, pair=PAIR),
        pad_key(one, public_half(two), circle=CIRCLE, pair=("northport", "westhill")),
        own_pad_key(one, circle=CIRCLE, site="northport"),
        own_pad_key(one, circle=OTHER, site="northport"),
        own_pad_key(one, circle=CIRCLE, site="southbay"),
    ]
    assert len(set(keys)) == len(keys)


def test_a_box_opens_for_its_receiver(ends: tuple[bytes, bytes]) -> None:
    one, two = ends
    box = seal(b"shares", one, public_half(two), circle=CIRCLE, way=PAIR)
    assert open_box(box, two, public_half(one), circle=CIRCLE, way=PAIR) == b"shares"


@pytest.mark.parametrize("changed", ["damaged", "other circle", "other way", "other key", "no text"])
def test_a_box_opens_in_no_other_way(ends: tuple[bytes, bytes], changed: str) -> None:
    one, two = ends
    box = seal(b"shares", one, public_half(two), circle=CIRCLE, way=PAIR)
    raw = to_bytes(box)
    box = {"damaged": to_text(raw[:-1] + bytes([raw[-1] ^ 1])), "no text": "x"}.get(changed, box)
    circle = OTHER if changed == "other circle" else CIRCLE
    way = ("southbay", "northport") if changed == "other way" else PAIR
    key = os.urandom(32) if changed == "other key" else two
    with pytest.raises(RefusedError) as refused:
        open_box(box, key, public_half(one), circle=circle, way=way)
    assert refused.value.code is Code.SIGNATURE_INVALID


@pytest.mark.parametrize("public", [to_text(bytes(32)), to_text(b"\x01" + bytes(31)), to_text(b"short")])
def test_a_point_of_small_order_is_no_key(public: str) -> None:
    """With one, everybody would know the secret that two sites agree on."""
    with pytest.raises(RefusedError) as refused:
        pad_key(os.urandom(32), public, circle=CIRCLE, pair=PAIR)
    assert refused.value.code is Code.SIGNATURE_INVALID
