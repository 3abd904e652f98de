"""Keys of one round: X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), and boxes under AES-256-GCM for what one site sends another through the centre.

A derived key depends on its purpose, on the circle (whose hash binds run, round, base, plan and every member's keys) and on both ends in
order, so no key serves twice.
"""

import base64
import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import RoundOrder
from protocol.secure_sum import Circle
from protocol.shape import canonical_json

KEY_BYTES = 32
_ONE_USE = bytes(12)
"""The nonce of a box: each key seals one box and no other."""


def order_sha256(order: RoundOrder) -> str:
    """Return the hash that stands for an order: run, round, base and plan."""
    return hashlib.sha256(canonical_json(order)).hexdigest()


def circle_sha256(circle: Circle) -> str:
    """Return the hash that stands for a circle: who is in it, with which keys, for which order."""
    return hashlib.sha256(canonical_json(circle)).hexdigest()


def public_half(private: bytes) -> str:
    """Return the public X25519 key of a private one, as it travels."""
    return to_text(X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


def pad_key(private: bytes, public: str, *, circle: str, pair: tuple[str, str]) -> bytes:
    """Return the key of the pad that two sites share.

    Args:
        private: One's own private key.
        public: The other's public key.
        circle: The circle's hash.
        pair: Both sites, sorted.

    Raises:
        RefusedError: `signature-invalid` if the public key is none with which a secret can be agreed.
    """
    return _derived(_agreed(private, public), "pad", circle, *pair)


def own_pad_key(seed: bytes, *, circle: str, site: str) -> bytes:
    """Return the key of a site's own pad."""
    return _derived(seed, "own pad", circle, site)


def seal(content: bytes, private: bytes, public: str, *, circle: str, way: tuple[str, str]) -> str:
    """Return a box that only the holder of the other private key opens, and only as coming this `way` (from, to) in this circle.

    Raises:
        RefusedError: `signature-invalid`.
    """
    key = _derived(_agreed(private, public), "box", circle, *way)
    return to_text(AESGCM(key).encrypt(_ONE_USE, content, None))


def open_box(box: str, private: bytes, public: str, *, circle: str, way: tuple[str, str]) -> bytes:
    """Return what is in a box.

    Raises:
        RefusedError: `signature-invalid` if it is damaged, or was sealed for another way, circle or pair of keys.
    """
    key = _derived(_agreed(private, public), "box", circle, *way)
    try:
        return AESGCM(key).decrypt(_ONE_USE, to_bytes(box), None)
    except (InvalidTag, ValueError) as error:
        raise RefusedError(Code.SIGNATURE_INVALID, f"What {way[0]} sealed for {way[1]} does not open.") from error


def to_text(raw: bytes) -> str:
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def to_bytes(text: str) -> bytes:
    """Return the bytes that `to_text` wrote.

    Raises:
        ValueError: If it is no such text.
    """
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _agreed(private: bytes, public: str) -> bytes:
    try:
        other = X25519PublicKey.from_public_bytes(to_bytes(public))
        return X25519PrivateKey.from_private_bytes(private).exchange(other)
    except ValueError as error:  # not 32 bytes, or a point of small order
        raise RefusedError(Code.SIGNATURE_INVALID, "A site's key is none with which a secret can be agreed.") from error


def _derived(secret: bytes, purpose: str, circle: str, *ends: str) -> bytes:
    info = "\0".join(("acinus secure summation", purpose, *ends)).encode()
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=bytes.fromhex(circle), info=info).derive(secret)
