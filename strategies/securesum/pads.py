"""Pads: pseudo-random integers modulo 2^32 that hide a summand, and that cancel or are taken out again in the sum.

A pad is the key stream of AES-256 in counter mode (NIST SP 800-38A) under a key of 256 bits that serves one pad and no other. (Flower's
own pads came from a generator with 32 bits of state: with few sites one search opens a hospital's update.)
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

Words = NDArray[np.uint32]
"""Integers modulo 2^32; arithmetic wraps around."""

_PIECE = 1 << 15
"""Words that are padded with every pad before the next ones: 128 KiB stay in the processor's cache."""

_BLOCK_BYTES, _WORD_BYTES = 16, 4
_WORKERS = 4


def pad(words: Words, *, plus: Iterable[bytes] = (), minus: Iterable[bytes] = ()) -> None:
    """Add the pads of the keys `plus` to `words` and subtract those of `minus`, in place, modulo 2^32, on every core there is.

    Args:
        words: Shape (D,).
        plus: Keys of 32 bytes.
        minus: Keys of 32 bytes.
    """
    keys: list[tuple[bytes, np.ufunc]] = [(key, np.add) for key in plus]
    keys += [(key, np.subtract) for key in minus]
    pieces = -(-len(words) // _PIECE)
    workers = max(1, min(len(os.sched_getaffinity(0)), _WORKERS, pieces))
    size = max(1, -(-pieces // workers)) * _PIECE
    starts = range(0, len(words), size)
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(_pad, words[start : start + size], keys, start) for start in starts]:
            done.result()


def _pad(words: Words, keys: list[tuple[bytes, np.ufunc]], first: int) -> None:
    """Pad words that begin at word `first` of the whole, a multiple of a block."""
    streams = [(_stream(key, first), apply) for key, apply in keys]
    zeros, room = bytes(_PIECE * _WORD_BYTES), bytearray(_PIECE * _WORD_BYTES + _BLOCK_BYTES)
    drawn = np.frombuffer(room, dtype="<u4", count=_PIECE)
    for start in range(0, len(words), _PIECE):
        piece = words[start : start + _PIECE]
        nothing = memoryview(zeros)[: piece.nbytes]
        for stream, apply in streams:
            stream.update_into(nothing, room)
            apply(piece, drawn[: len(piece)], out=piece)


def _stream(key: bytes, first: int) -> CipherContext:
    """Return the key stream from word `first` on: the counter counts blocks."""
    counter = (first * _WORD_BYTES // _BLOCK_BYTES).to_bytes(_BLOCK_BYTES)
    return Cipher(AES256(key), CTR(counter)).encryptor()


def words_sha256(words: Words) -> str:
    """Return the SHA-256 over the little-endian words."""
    return hashlib.sha256(words.astype("<u4", copy=False).tobytes()).hexdigest()
