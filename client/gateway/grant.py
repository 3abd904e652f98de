"""Reading a grant and the proof that comes with it. Pure: what the node's own state says of them is judged in `sessions`.

A grant is a JWT of the centre (Ed25519). A proof is a DPoP proof (RFC 9449): a JWT by the reader's own key (ES256) over the method,
the address, the time and the grant's hash. Algorithms are fixed here; what the token's header wishes is only compared with them.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.reading import GRANT_SECONDS_MAX, GrantClaims
from protocol.shape import SiteId, Thumbprint

GRANT_ALGORITHM = "Ed25519"
GRANT_HEADER = {"alg": GRANT_ALGORITHM, "typ": "acinus-grant+jwt"}
PROOF_ALGORITHM = "ES256"
PROOF_TYPE = "dpop+jwt"
PROOF_WINDOW_S = 60
"""How far a proof's time may lie from ours (RFC 9449 section 11.1: "on the order of seconds or minutes")."""

SKEW_S = 30
"""How far the centre's clock may be ahead of ours. It may not lengthen a grant: ten minutes are counted by our clock."""

TOKEN_BYTES_MAX = 4096


class _ProofClaims(BaseModel):
    """RFC 9449 section 4.2."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    jti: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{8,128}$")]
    htm: str
    htu: str
    iat: int
    ath: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that holds: by which key, and its id, which must not be seen twice."""

    jkt: Thumbprint
    jti: str


def pinned_key(raw: str) -> OKPKey:
    """Return the centre's grant key as enrolment brought it (32 bytes, base64url)."""
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": raw})


def read_grant(token: str, *, key: OKPKey, site: SiteId, now_s: int) -> GrantClaims:
    """Return what the grant says, if the centre signed it for this site and it holds now; its end by our clock.

    Raises:
        RefusedError: `grant-invalid` otherwise.
    """
    header, content = _verified(token, key, GRANT_ALGORITHM, header_keys={"alg", "typ"})
    claims = _claims(content)
    checks = (
        (header == GRANT_HEADER, "it is no grant"),
        (claims.aud == site, "it is for another hospital"),
        (claims.nbf <= now_s + SKEW_S and claims.iat <= now_s + SKEW_S, "it is not valid yet"),
        (now_s < claims.exp, "it has expired"),
        (0 < claims.exp - claims.iat <= GRANT_SECONDS_MAX, "it lives too long"),
    )
    for holds, why in checks:
        if not holds:
            raise refused(why)
    return claims.model_copy(update={"exp": min(claims.exp, now_s + GRANT_SECONDS_MAX)})


def read_proof(proof: str, *, ath: str, method: str, address: str, now_s: int) -> Proof:
    """Return whose proof this is, if it was made now, for this request and this grant.

    Args:
        proof: The `DPoP` header.
        ath: Hash of the grant that it goes with (`token_hash`).
        method: The request's method, such as POST.
        address: The request's address without query and fragment.
        now_s: Seconds since 1970.

    Raises:
        RefusedError: `grant-invalid` otherwise.
    """
    key = _proof_key(proof)
    _, content = _verified(proof, key, PROOF_ALGORITHM, header_keys={"alg", "typ", "jwk"})
    try:
        claims = _ProofClaims.model_validate(content)
    except ValidationError as error:
        raise refused("its proof is malformed") from error
    checks = (
        (claims.htm == method, "its proof is for another method"),
        (claims.htu == address, "its proof is for another address"),
        (abs(claims.iat - now_s) <= PROOF_WINDOW_S, "its proof is too old or too new; check the clock"),
        (claims.ath == ath, "its proof is for another grant"),
    )
    for holds, why in checks:
        if not holds:
            raise refused(why)
    return Proof(jkt=str(key.thumbprint()), jti=claims.jti)


def token_hash(token: str) -> str:
    """Return the `ath` of a grant: SHA-256 of its ASCII, base64url without padding (RFC 9449 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")


def refused(why: str) -> RefusedError:
    """Return the refusal of a grant."""
    return RefusedError(Code.GRANT_INVALID, f"The grant does not hold: {why}. Ask for a new one in the worklist.")


def _verified(
    token: str, key: OKPKey | ECKey, algorithm: str, *, header_keys: set[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and content of a compact JWS that `key` signed with `algorithm` and nothing else.

    The header may hold only `header_keys`: `jku`, `x5u`, `kid` or `crit` would be somebody's wish to have another key used.
    """
    if len(token) > TOKEN_BYTES_MAX or not token.isascii():
        raise refused("it is malformed")
    try:
        opened = jws.deserialize_compact(token, key, algorithms=[algorithm])
        header, content = opened.headers(), json.loads(opened.payload)
    except (JoseError, ValueError, TypeError, KeyError, binascii.Error) as error:
        raise refused("its signature is not valid") from error
    if set(header) != header_keys or header["alg"] != algorithm or not isinstance(content, dict):
        raise refused("it is malformed")
    return header, content


def _claims(content: dict[str, Any]) -> GrantClaims:
    confirmation = content.pop("cnf", None)
    if not isinstance(confirmation, dict) or set(confirmation) != {"jkt"}:
        raise refused("it is bound to no key")
    try:
        return GrantClaims.model_validate_json(json.dumps(content | {"cnf_jkt": confirmation["jkt"]}), strict=True)
    except ValidationError as error:
        raise refused("it lacks something") from error


def _proof_key(proof: str) -> ECKey:
    """Return the public key in the proof's header; a proof that carries anything but a P-256 public key is no proof."""
    try:
        part = proof.split(".", maxsplit=1)[0].encode()
        header = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
        jwk = header["jwk"]
        if header["typ"] != PROOF_TYPE or set(jwk) - {"ext", "key_ops", "use", "alg", "kid"} != {
            "kty",
            "crv",
            "x",
            "y",
        }:
            raise refused("its proof is malformed")
        if (jwk["kty"], jwk["crv"]) != ("EC", "P-256"):
            raise refused("its proof is by a key of another kind")
        return ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
        raise refused("its proof is malformed") from error
