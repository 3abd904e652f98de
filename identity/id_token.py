"""Reading an ID token (OpenID Connect Core 1.0, section 3.1.3.7). Algorithms are fixed here; what the token's header wishes is only compared.

Pure: keys, time and what was asked for come in as arguments.
"""

import binascii
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from protocol.codes import Code
from protocol.errors import RefusedError

ALGORITHMS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC"}
"""Signature algorithms and the type of key that each needs. No HMAC: its key would be one that everybody knows. No `none`."""

SKEW_S = 60
"""How far the provider's clock may be from ours."""

_OLDEST_S = 600
_TOKEN_MOST, _SUBJECT_MOST = 16_384, 255
_RSA_BITS_LEAST = 2048


class UnknownKeyError(RefusedError):
    """The token names a key that the provider's key set, as we have it, does not hold; it may have a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an ID token must say."""

    issuer: str
    client_id: str
    nonce: str
    now_s: float


def read_id_token(token: str, keys: Sequence[dict[str, Any]], expected: Expected) -> dict[str, Any]:
    """Return the claims of a token that the provider signed for us, for this log-in, a moment ago.

    Args:
        token: Compact JWS.
        keys: The provider's key set, as JWKs.
        expected: What it must say.

    Raises:
        RefusedError: `unauthenticated` otherwise.
        UnknownKeyError: If it is signed by none of `keys`.
    """
    claims = _verified(token, keys)
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    checks = (
        (claims.get("iss") == expected.issuer, "it is by another issuer"),
        (expected.client_id in audiences, "it is for another program"),
        (claims.get("azp", expected.client_id) == expected.client_id, "it was asked for by another program"),
        (len(audiences) == 1 or "azp" in claims, "it is for several programs and does not say which asked"),
        (_number(claims, "exp") > expected.now_s - SKEW_S, "it has expired"),
        (
            abs(_number(claims, "iat") - expected.now_s) <= _OLDEST_S,
            "it is too old or from the future; check the clock",
        ),
        (_number(claims, "nbf", expected.now_s) <= expected.now_s + SKEW_S, "it is not valid yet"),
        (_same(claims.get("nonce"), expected.nonce), "it belongs to another log-in"),
        (_is_subject(claims.get("sub")), "it names nobody"),
    )
    for holds, why in checks:
        if not holds:
            raise refused(why)
    return claims


def refused(why: str) -> RefusedError:
    """Return the refusal of a log-in at the provider."""
    return RefusedError(Code.UNAUTHENTICATED, f"The identity provider's log-in does not hold: {why}. Start again.")


def _verified(token: str, keys: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the payload of a compact JWS by one of `keys`, with the one algorithm that its key is for."""
    if len(token) > _TOKEN_MOST or not token.isascii():
        raise refused("its token is malformed")
    try:
        header = jws.extract_compact(token.encode()).headers()
        algorithm = str(header.get("alg"))
        if algorithm not in ALGORITHMS or "crit" in header:
            raise refused("its token is signed in a way that is not taken")
        key = _key_of(header, algorithm, keys)
        claims = json.loads(jws.deserialize_compact(token, key, algorithms=[algorithm]).payload)
    except (JoseError, ValueError, TypeError, KeyError, binascii.Error) as error:
        raise refused("its token's signature is not valid") from error
    if not isinstance(claims, dict):
        raise refused("its token is malformed")
    return claims


def _key_of(header: dict[str, Any], algorithm: str, keys: Sequence[dict[str, Any]]) -> RSAKey | ECKey:
    """Return the one key of the provider that the header can mean; `jku`, `jwk` and `x5u` are somebody's wish and not looked at."""
    fitting = [
        key
        for key in keys
        if key.get("kty") == ALGORITHMS[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and ("kid" not in header or key.get("kid") == header["kid"])
    ]
    if len(fitting) != 1:
        raise UnknownKeyError(
            Code.UNAUTHENTICATED,
            "The identity provider's log-in does not hold: its token is by an unknown key. Start again.",
        )
    if algorithm == "ES256":
        return ECKey.import_key({name: fitting[0][name] for name in ("kty", "crv", "x", "y")})
    key = RSAKey.import_key({name: fitting[0][name] for name in ("kty", "n", "e")})
    if key.public_key.key_size < _RSA_BITS_LEAST:
        raise refused("its token is signed by a key that is too short")
    return key


def _number(claims: dict[str, Any], name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"its token lacks {name}")
    return float(value)


def _same(said: object, expected: str) -> bool:
    return isinstance(said, str) and hmac.compare_digest(said.encode(), expected.encode())


def _is_subject(said: object) -> bool:
    return isinstance(said, str) and 0 < len(said) <= _SUBJECT_MOST
