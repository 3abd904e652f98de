"""Passwords: which are taken, and how they are kept. scrypt (RFC 7914), its parameters and its salt beside the hash."""

import base64
import hashlib
import hmac
import secrets
import unicodedata
from dataclasses import dataclass

from protocol.codes import Code
from protocol.errors import InvalidInputError

SHORTEST, LONGEST = 12, 128
"""Characters. Length is what counts; no rule of digits and signs (NIST SP 800-63B section 5.1.1.2)."""

_FEWEST_DIFFERENT = 5
_TELLING = 4
"""A shorter name stands in many words by chance."""
_SALT_BYTES, _HASH_BYTES = 16, 32
_MEMORY_MOST = 1 << 28


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess costs: 128 · n · r bytes of memory, p times."""

    n: int = 1 << 15
    r: int = 8
    p: int = 3


USUAL = Cost()
"""32 MiB; one of the equivalent settings of OWASP's password storage guide, chosen for little memory at a small node."""


def refuse_poor(password: str, *, name: str) -> None:
    """Refuse a password that can be guessed.

    Raises:
        InvalidInputError: `bad-request`.
    """
    word = _normal(password)
    if not SHORTEST <= len(word) <= LONGEST:
        raise InvalidInputError(Code.BAD_REQUEST, f"A password has {SHORTEST} to {LONGEST} characters. Choose another.")
    telling = len(name) >= _TELLING and name.casefold() in word.casefold()
    if telling or len(set(word)) < _FEWEST_DIFFERENT:
        raise InvalidInputError(
            Code.BAD_REQUEST, "The password repeats itself or holds the account's name. Choose another."
        )


def kept_form(password: str, cost: Cost = USUAL) -> str:
    """Return what is kept of a password: `scrypt$n$r$p$salt$hash`."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return "$".join(
        ["scrypt", str(cost.n), str(cost.r), str(cost.p), _text(salt), _text(_scrypt(password, salt, cost))]
    )


def fits(password: str, kept: str) -> bool:
    """Say whether `password` is the one that `kept` was made of."""
    cost, salt, digest = _parsed(kept)
    return hmac.compare_digest(_scrypt(password, salt, cost), digest)


def is_dated(kept: str, cost: Cost = USUAL) -> bool:
    """Say whether `kept` was made with other parameters than today's."""
    return _parsed(kept)[0] != cost


def _scrypt(password: str, salt: bytes, cost: Cost) -> bytes:
    return hashlib.scrypt(
        _normal(password).encode(), salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=_MEMORY_MOST, dklen=_HASH_BYTES
    )


def _parsed(kept: str) -> tuple[Cost, bytes, bytes]:
    _, n, r, p, salt, digest = kept.split("$")
    return Cost(int(n), int(r), int(p)), base64.b64decode(salt), base64.b64decode(digest)


def _normal(password: str) -> str:
    """One form for what keyboards write in several ways (RFC 8265 uses NFC; NFKC also joins width variants)."""
    return unicodedata.normalize("NFKC", password)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
