"""ID tokens: what the provider signed for us, now, for this log-in; everything else is refused."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from identity.id_token import ALGORITHMS, Expected, UnknownKeyError, read_id_token
from protocol.codes import Code
from tests.fakes.oidc_provider import bare
from tests.fakes.outcomes import code_of

NOW = 1_770_000_000
EXPECTED = Expected(issuer="https://idp.example", client_id="console", nonce="n" * 43, now_s=NOW)
CLAIMS: dict[str, Any] = {
    "iss": "https://idp.example", "aud": "console", "sub": "4711", "iat": NOW, "exp": NOW + 300, "nonce": "n" * 43,
}  # fmt: skip
KEY = RSAKey.generate_key(2048, parameters={"kid": "one"})
OTHER = RSAKey.generate_key(2048, parameters={"kid": "one"})
ELLIPTIC = ECKey.generate_key("P-256", parameters={"kid": "two"})
KEYS = [KEY.as_dict(private=False), ELLIPTIC.as_dict(private=False)]


def signed(claims: dict[str, Any], *, key: Any = KEY, algorithm: str = "RS256", **header: object) -> str:
    return jwt.encode({"alg": algorithm, "kid": key.kid, **header}, claims, key, algorithms=[algorithm])


def outcome(token: str) -> Code | None:
    return code_of(lambda: read_id_token(token, KEYS, EXPECTED))


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", KEY), ("PS256", KEY), ("ES256", ELLIPTIC)])
def test_what_the_provider_signed_is_read(algorithm: str, key: Any) -> None:
    assert algorithm in ALGORITHMS
    assert read_id_token(signed(CLAIMS, key=key, algorithm=algorithm), KEYS, EXPECTED)["sub"] == "4711"


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"}, {"iss": "https://idp.example/"}, {"iss": None},
        {"aud": "another"}, {"aud": []}, {"aud": None}, {"aud": ["console", "another"]}, {"aud": ["console", "another"], "azp": "another"},
        {"azp": "another"}, {"exp": NOW - 61}, {"exp": None}, {"exp": "tomorrow"}, {"exp": True}, {"iat": NOW - 601}, {"iat": NOW + 601},
        {"iat": None}, {"nbf": NOW + 61}, {"nonce": "m" * 43}, {"nonce": None}, {"nonce": 7}, {"nonce": ""},
        {"sub": ""}, {"sub": None}, {"sub": 4711}, {"sub": "x" * 256},
    ],
    ids=str,
)  # fmt: skip
def test_a_claim_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    claims = {name: value for name, value in (CLAIMS | change).items() if value is not None}
    assert outcome(signed(claims)) is Code.UNAUTHENTICATED


def test_several_audiences_are_fine_when_the_token_says_that_we_asked() -> None:
    assert outcome(signed(CLAIMS | {"aud": ["console", "another"], "azp": "console"})) is None


def test_no_signature_is_none() -> None:
    for name in ("none", "None", "NONE", "nOnE"):
        assert outcome(bare({"alg": name}, CLAIMS)) is Code.UNAUTHENTICATED


def test_the_public_key_is_no_shared_secret() -> None:
    """The attack on verifiers that take the algorithm from the token: HMAC with the text of the key that everybody has."""
    forms = [KEY.as_pem(private=False), KEY.as_der(private=False), json.dumps(KEY.as_dict(private=False)).encode()]
    for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        for form in forms:
            unsigned = bare({"alg": algorithm, "kid": "one"}, CLAIMS).rpartition(".")[0]
            signature = hmac.new(form, unsigned.encode(), digest).digest()
            token = bare({"alg": algorithm, "kid": "one"}, CLAIMS, signature)
            assert outcome(token) is Code.UNAUTHENTICATED


def test_another_key_under_the_same_name_is_refused() -> None:
    assert outcome(signed(CLAIMS, key=OTHER)) is Code.UNAUTHENTICATED


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "ES256"])
def test_a_key_signs_with_its_own_kind_of_algorithm_only(algorithm: str) -> None:
    token = bare({"alg": algorithm, "kid": "one"}, CLAIMS, b"x" * 256)
    assert outcome(token) is Code.UNAUTHENTICATED


def test_a_key_that_the_token_brings_along_is_not_looked_at() -> None:
    token = signed(CLAIMS, key=OTHER, jwk=OTHER.as_dict(private=False), jku="https://evil.example/keys")
    assert outcome(token) is Code.UNAUTHENTICATED


def test_an_unknown_key_is_told_apart_so_that_new_keys_can_be_fetched() -> None:
    with pytest.raises(UnknownKeyError):
        read_id_token(signed(CLAIMS, key=RSAKey.generate_key(2048, parameters={"kid": "new"})), KEYS, EXPECTED)
    with pytest.raises(UnknownKeyError):
        read_id_token(signed(CLAIMS), [], EXPECTED)


def test_without_a_name_there_must_be_one_key_only() -> None:
    token = jwt.encode({"alg": "RS256"}, CLAIMS, KEY, algorithms=["RS256"])
    assert code_of(lambda: read_id_token(token, KEYS, EXPECTED)) is None
    both = [KEY.as_dict(private=False), OTHER.as_dict(private=False)]
    assert code_of(lambda: read_id_token(token, both, EXPECTED)) is Code.UNAUTHENTICATED


def test_a_key_for_encryption_or_another_algorithm_does_not_sign() -> None:
    for change in ({"use": "enc"}, {"alg": "RS512"}):
        keys = [KEY.as_dict(private=False) | change]
        assert code_of(lambda keys=keys: read_id_token(signed(CLAIMS), keys, EXPECTED)) is Code.UNAUTHENTICATED


@pytest.mark.filterwarnings("ignore:Key size")
def test_a_short_key_is_refused() -> None:
    short = RSAKey.generate_key(1024, parameters={"kid": "one"}, auto_kid=False)
    token = signed(CLAIMS, key=short)
    assert code_of(lambda: read_id_token(token, [short.as_dict(private=False)], EXPECTED)) is Code.UNAUTHENTICATED


@pytest.mark.parametrize(
    "token",
    ["", "a", "a.b", "a.b.c", "....", "\u00e4.b.c", "x" * 20_000, bare({"alg": "RS256", "crit": "b64"}, CLAIMS)],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert outcome(token) is Code.UNAUTHENTICATED


def test_a_payload_that_is_no_object_is_refused() -> None:
    from joserfc import jws

    token = jws.serialize_compact({"alg": "RS256", "kid": "one"}, b"[1]", KEY)
    assert outcome(token) is Code.UNAUTHENTICATED
