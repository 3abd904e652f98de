"""Who may send by DICOMweb: whoever holds a token of the file, or a certificate of the hospital's own authority (`client.wiring.imaging`)."""

import hashlib
import hmac
from pathlib import Path

from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError

LEAST_TOKEN = 32
"""Characters of a token: as many as `openssl rand -hex 16` writes. Too many to be guessed, so nobody counts tries."""


def digests_of(tokens: Path) -> frozenset[bytes]:
    """Return the SHA-256 of every token in a file, one a line.

    Raises:
        UnavailableError: `missing-certificate` if the file is unreadable or empty, or holds a token that is too short.
    """
    try:
        words = tokens.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        words = []
    if not words or min(map(len, words)) < LEAST_TOKEN:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            f"{tokens} must hold a token of {LEAST_TOKEN} characters or more on each line."
            f" `openssl rand -hex 32 > {tokens}` makes one.",
        )
    return frozenset(hashlib.sha256(word.encode()).digest() for word in words)


def refuse_stranger(authorization: str, digests: frozenset[bytes]) -> None:
    """Refuse a request without one of the tokens.

    Raises:
        RefusedError: `unauthenticated`.
    """
    scheme, _, word = authorization.partition(" ")
    given = hashlib.sha256(word.strip().encode()).digest()
    known = [hmac.compare_digest(given, digest) for digest in digests]
    if scheme.lower() != "bearer" or not any(known):
        raise RefusedError(Code.UNAUTHENTICATED, "The request carries no bearer token that this node knows.")
