"""Pads against a slow twin, and that they cancel."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from strategies.securesum import pads
from strategies.securesum.pads import pad, words_sha256

KEYS = st.lists(st.binary(min_size=32, max_size=32), max_size=4)


def slow_pad(key: bytes, count: int) -> list[int]:
    """AES of 0, 1, 2, ... block by block, cut into little-endian words of 32 bits."""
    block = Cipher(AES256(key), ECB()).encryptor()
    stream = b"".join(block.update(number.to_bytes(16)) for number in range(count // 4 + 1))
    return [int.from_bytes(stream[4 * place : 4 * place + 4], "little") for place in range(count)]


@given(st.lists(st.integers(0, 2**32 - 1), max_size=23), KEYS, KEYS)
def test_pads_are_the_key_stream_of_aes_added_and_subtracted(
    values: list[int], plus: list[bytes], minus: list[bytes]
) -> None:
    words = np.array(values, np.uint32)
    pad(words, plus=plus, minus=minus)
    slow = [
        (value + sum(slow_pad(key, len(values))[place] for key in plus) - sum(slow_pad(key, len(values))[place] for key in minus))
        % 2**32
        for place, value in enumerate(values)
    ]  # fmt: skip
    assert words.tolist() == slow


@pytest.mark.parametrize("count", [1, pads._PIECE - 1, pads._PIECE, pads._PIECE + 1, 3 * pads._PIECE + 5])
@pytest.mark.parametrize("cores", [1, 2, 3])
def test_a_pad_goes_on_where_a_piece_or_a_cores_part_ends(
    count: int, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strategies.securesum.pads.os.sched_getaffinity", lambda _: range(cores))
    words = np.zeros(count, np.uint32)
    pad(words, plus=[b"k" * 32])
    slow = slow_pad(b"k" * 32, count)
    assert [words[:9].tolist(), words[-9:].tolist()] == [slow[:9], slow[-9:]]


@given(st.integers(0, 100), KEYS)
def test_what_was_added_can_be_taken_out(seed: int, keys: list[bytes]) -> None:
    before = np.random.default_rng(seed).integers(0, 2**32, 40, dtype=np.uint32)
    words = before.copy()
    pad(words, plus=keys)
    pad(words, minus=keys)
    assert np.array_equal(words, before)


def test_the_hash_is_over_little_endian_words() -> None:
    assert words_sha256(np.array([1, 2], np.uint32)) == words_sha256(np.array([1, 2], ">u4"))
    assert words_sha256(np.array([1, 2], np.uint32)) != words_sha256(np.array([2, 1], np.uint32))
