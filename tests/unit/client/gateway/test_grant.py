"""Attacks on a grant: every one is refused with a code, and the honest one passes beside it."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey

from protocol.reading import ClaimEnded, ClaimMade, GrantRevoked
from tests.fakes.gateway import CLAIM, READER, REQUEST, SITE, GatewayUnderTest, ReaderKey

Attack = Callable[[GatewayUnderTest], tuple[str, str]]
"""Returns a grant and a proof as an attacker would send them."""

OTHER = "9" * 32


def raw(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """Put a token together by hand."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def with_proof(make: Callable[[GatewayUnderTest], str]) -> Attack:
    def attack(gateway: GatewayUnderTest) -> tuple[str, str]:
        token = make(gateway)
        return token, gateway.proof(token)

    return attack


def changed(**claims: Any) -> Attack:
    return with_proof(lambda gateway: gateway.grant(**claims))


def headed(**header: Any) -> Attack:
    return with_proof(lambda gateway: gateway.grant(header=header))


def proven(**changes: Any) -> Attack:
    def attack(gateway: GatewayUnderTest) -> tuple[str, str]:
        token = gateway.grant()
        return token, gateway.proof(token, **changes)

    return attack


def shifted(**seconds: int) -> Attack:
    """Move the grant's times by so many seconds from now."""
    return with_proof(
        lambda gateway: gateway.grant(**{name: int(gateway.now.timestamp()) + by for name, by in seconds.items()})
    )


def unsigned(gateway: GatewayUnderTest) -> str:
    return raw({"alg": "none", "typ": "acinus-grant+jwt"}, gateway.centre.claims(gateway.reader.jkt, now=gateway.now))


def signed_as_hmac(gateway: GatewayUnderTest) -> str:
    """The public key used as an HMAC secret: the classic confusion."""
    secret = OctKey.import_key(gateway.centre.key.as_dict(private=False)["x"])
    claims = gateway.centre.claims(gateway.reader.jkt, now=gateway.now)
    return jwt.encode({"alg": "HS256", "typ": "acinus-grant+jwt"}, claims, secret, algorithms=["HS256"])


def hmac_said_to_be_eddsa(gateway: GatewayUnderTest) -> str:
    header, _, rest = signed_as_hmac(gateway).partition(".")
    head = json.loads(base64.urlsafe_b64decode(header + "==")) | {"alg": "Ed25519"}
    return f"{base64.urlsafe_b64encode(json.dumps(head).encode()).decode().rstrip('=')}.{rest}"


def signed_by_another(gateway: GatewayUnderTest) -> str:
    claims = gateway.centre.claims(gateway.reader.jkt, now=gateway.now)
    stranger = OKPKey.generate_key("Ed25519")
    return jwt.encode({"alg": "Ed25519", "typ": "acinus-grant+jwt"}, claims, stranger, algorithms=["Ed25519"])


def key_in_the_header(gateway: GatewayUnderTest) -> str:
    claims = gateway.centre.claims(gateway.reader.jkt, now=gateway.now)
    stranger = OKPKey.generate_key("Ed25519")
    header = {"alg": "Ed25519", "typ": "acinus-grant+jwt", "jwk": stranger.as_dict(private=False)}
    return jwt.encode(header, claims, stranger, algorithms=["Ed25519"])


def content_exchanged(gateway: GatewayUnderTest) -> str:
    head, _, signature = gateway.grant().split(".")
    claims = json.dumps(gateway.centre.claims(gateway.reader.jkt, now=gateway.now)).encode()
    return f"{head}.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{signature}"


def by_another_key(gateway: GatewayUnderTest) -> tuple[str, str]:
    """A thief with the token but not the key."""
    token = gateway.grant()
    thief = ReaderKey()
    gateway.keys.approve(thief.jkt, name="Another approved reader")
    return token, thief.proof(token, now=gateway.now)


def jwk_of_the_victim(gateway: GatewayUnderTest) -> tuple[str, str]:
    """A proof that shows the victim's public key but is signed with the thief's."""
    token = gateway.grant()
    return token, ReaderKey().proof(token, now=gateway.now, header={"jwk": gateway.reader.key.as_dict(private=False)})


def proof_without_signature(gateway: GatewayUnderTest) -> tuple[str, str]:
    token = gateway.grant()
    head, content, _ = gateway.proof(token).split(".")
    return token, f"{head}.{content}."


def proof_said_to_be_hmac(gateway: GatewayUnderTest) -> tuple[str, str]:
    token = gateway.grant()
    honest = gateway.proof(token).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(honest + "=="))
    header = {"typ": "dpop+jwt", "alg": "HS256", "jwk": gateway.reader.key.as_dict(private=False)}
    return token, jwt.encode(header, claims, OctKey.generate_key(256), algorithms=["HS256"])


def proof_with_the_private_key(gateway: GatewayUnderTest) -> tuple[str, str]:
    token = gateway.grant()
    return token, gateway.proof(token, header={"jwk": gateway.reader.key.as_dict(private=True)})


def proof_by_another_curve(gateway: GatewayUnderTest) -> tuple[str, str]:
    token = gateway.grant()
    return token, ReaderKey(ECKey.generate_key("P-256")).proof(
        token, now=gateway.now, header={"jwk": ECKey.generate_key("P-384").as_dict(private=False)}
    )


def revoked(gateway: GatewayUnderTest) -> tuple[str, str]:
    token = gateway.grant(jti=OTHER)
    gateway.sessions.revoke(GrantRevoked(jti=OTHER))
    return token, gateway.proof(token)


def used_before(gateway: GatewayUnderTest) -> tuple[str, str]:
    token = gateway.grant()
    assert gateway.enter(token).status_code == 201
    return token, gateway.proof(token)


def proof_used_before(gateway: GatewayUnderTest) -> tuple[str, str]:
    first = gateway.grant()
    assert gateway.enter(first, gateway.proof(first, jti="proof-number-1")).status_code == 201
    token = gateway.grant()
    return token, gateway.proof(token, jti="proof-number-1")


def claim_over(gateway: GatewayUnderTest) -> tuple[str, str]:
    gateway.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    token = gateway.grant()
    return token, gateway.proof(token)


def withdrawn(gateway: GatewayUnderTest) -> tuple[str, str]:
    gateway.book.mark(REQUEST, what="withdrawn")
    token = gateway.grant()
    return token, gateway.proof(token)


ATTACKS: dict[str, Attack] = {
    # The token itself
    "alg none": with_proof(unsigned),
    "HMAC with the public key": with_proof(signed_as_hmac),
    "HMAC said to be Ed25519": with_proof(hmac_said_to_be_eddsa),
    "signed by a stranger": with_proof(signed_by_another),
    "key in the header": with_proof(key_in_the_header),
    "content exchanged": with_proof(content_exchanged),
    "jku": headed(jku="https://evil.example/keys"),
    "kid": headed(kid="../../etc/key"),
    "x5u": headed(x5u="https://evil.example/c"),
    "another type": headed(typ="JWT"),
    "not a token": with_proof(lambda _: "no.token.here"),
    "empty": with_proof(lambda _: "_.._"),
    "not ASCII": lambda gateway: ("gränt", gateway.proof("gränt")),
    "too long": with_proof(lambda _: "a" * 5000),
    # What it says
    "another issuer": changed(iss="someone"),
    "another hospital": changed(aud="southbay"),
    "several hospitals": changed(aud=[SITE, "southbay"]),
    "another study": changed(request_id=OTHER),
    "another claim": changed(claim_id=OTHER),
    "another reader": changed(sub=OTHER),
    "an older fence": changed(fence=0),
    "a newer fence": changed(fence=2),
    "a fence of text": changed(fence="1"),
    "no key": changed(cnf={}),
    "two confirmations": changed(cnf={"jkt": "a" * 43, "x5t#S256": "b"}),
    "an unknown field": changed(study="1.2.3"),
    "an unknown scope": changed(scope="everything"),
    "no scope": changed(scope=None),
    # When
    "expired": shifted(iat=-601, nbf=-601, exp=-1),
    "expires now": shifted(iat=-600, nbf=-600, exp=0),
    "not yet": shifted(iat=60, nbf=60, exp=600),
    "from the future": shifted(iat=60, nbf=0, exp=600),
    "lives too long": shifted(exp=601),
    "ends before it begins": shifted(iat=20, nbf=20, exp=10),
    "back-dated to live longer": shifted(iat=-300, nbf=-300, exp=400),
    # What the node knows
    "revoked": revoked,
    "used before": used_before,
    "claim over": claim_over,
    "withdrawn": withdrawn,
    # The proof
    "by another approved key": by_another_key,
    "shows the victim's key": jwk_of_the_victim,
    "proof unsigned": proof_without_signature,
    "proof HMAC": proof_said_to_be_hmac,
    "proof with a private key": proof_with_the_private_key,
    "proof on another curve": proof_by_another_curve,
    "proof not a token": lambda gateway: (gateway.grant(), "nonsense"),
    "proof used before": proof_used_before,
    "proof for GET": proven(htm="GET"),
    "proof for another hospital": proven(htu="https://southbay.example:9443/session"),
    "proof for another path": proven(htu="https://northport.example:9443/view"),
    "proof too old": with_proof(lambda gateway: gateway.grant()),
    "proof from the future": with_proof(lambda gateway: gateway.grant()),
    "proof for another grant": proven(ath="A" * 43),
    "proof without ath": proven(ath=None),
    "proof of another type": proven(header={"typ": "JWT"}),
    "proof with kid outside": proven(header={"kid": "1"}),
    "proof with a short jti": proven(jti="1"),
}  # fmt: skip


def _dated(by: int) -> Attack:
    def attack(gateway: GatewayUnderTest) -> tuple[str, str]:
        token = gateway.grant()
        return token, gateway.proof(token, iat=int(gateway.now.timestamp()) + by)

    return attack


ATTACKS["proof too old"] = _dated(-61)
ATTACKS["proof from the future"] = _dated(61)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_refused(gateway: GatewayUnderTest, name: str) -> None:
    token, proof = ATTACKS[name](gateway)
    gateway.cookies.clear()
    answer = gateway.enter(token, proof)
    assert (answer.status_code, answer.json()["code"]) == (403, "grant-invalid"), answer.json()
    assert "set-cookie" not in answer.headers
    assert token not in answer.text
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 401


def test_the_honest_one_passes(gateway: GatewayUnderTest) -> None:
    answer = gateway.enter()
    assert answer.status_code == 201
    assert answer.json() == {"request_id": REQUEST, "claim_id": CLAIM, "expires_at": "2026-03-01T12:10:00Z"}
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 200


def test_the_centre_cannot_let_in_a_key_that_the_hospital_did_not_approve(gateway: GatewayUnderTest) -> None:
    rogue = ReaderKey()
    token = gateway.centre.grant(rogue.jkt, now=gateway.now)
    answer = gateway.enter(token, rogue.proof(token, now=gateway.now))
    assert (answer.status_code, answer.json()["code"]) == (403, "reader-not-approved")


def test_an_approval_that_was_taken_back_counts_at_once(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    gateway.keys.revoke(gateway.reader.jkt)
    assert gateway.ask("GET", f"/view/{REQUEST}").json()["code"] == "reader-not-approved"
    assert gateway.enter().json()["code"] == "reader-not-approved"


def test_a_refused_grant_is_not_used_up(gateway: GatewayUnderTest) -> None:
    token = gateway.grant()
    assert gateway.enter(token, gateway.proof(token, htm="GET")).status_code == 403
    assert gateway.enter(token).status_code == 201


def test_no_grant_outlives_ten_minutes_by_the_hospitals_clock(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    gateway.wait(seconds=599)
    assert gateway.ask("GET", f"/view/{REQUEST}").status_code == 200
    gateway.wait(seconds=1)
    assert gateway.ask("GET", f"/view/{REQUEST}").json()["code"] == "grant-invalid"


def test_a_fast_clock_at_the_centre_is_borne_for_half_a_minute(gateway: GatewayUnderTest) -> None:
    now_s = int(gateway.now.timestamp())
    answer = gateway.enter(gateway.grant(iat=now_s + 30, nbf=now_s + 30, exp=now_s + 630))
    assert (answer.status_code, answer.json()["expires_at"]) == (201, "2026-03-01T12:10:00Z")
    assert "Max-Age=600" in answer.headers["set-cookie"]
    gateway.wait(seconds=600)
    assert gateway.ask("GET", f"/view/{REQUEST}").json()["code"] == "grant-invalid"


def test_while_a_stranger_answers_under_the_hospitals_name_nothing_is_shown(gateway: GatewayUnderTest) -> None:
    assert gateway.enter().status_code == 201
    gateway.sessions._impersonated = lambda: True
    for answer in (gateway.ask("GET", f"/view/{REQUEST}"), gateway.enter()):
        assert (answer.status_code, answer.json()["code"]) == (403, "peer-untrusted")
    gateway.sessions._impersonated = lambda: False
    assert gateway.ask("GET", f"/view/{REQUEST}").status_code == 200


@pytest.mark.parametrize("silence", [301, None])
def test_a_silent_centre_closes_the_door(gateway: GatewayUnderTest, silence: int | None) -> None:
    gateway.enter()
    gateway.heard = gateway.now
    gateway.wait(seconds=300)
    assert gateway.ask("GET", f"/view/{REQUEST}").status_code == 200
    if silence is None:
        gateway.sessions._last_heard = lambda: None
    gateway.wait(seconds=1)
    answer = gateway.ask("GET", f"/view/{REQUEST}")
    assert (answer.status_code, answer.json()["code"]) == (503, "peer-unreachable")
    assert gateway.enter().json()["code"] == "peer-unreachable"


def test_a_word_from_before_the_clock_was_set_back_is_no_word(gateway: GatewayUnderTest) -> None:
    """The centre fell silent, and by the clock it will have spoken in two hours."""
    gateway.heard = gateway.now
    gateway.wait(seconds=-30)
    assert gateway.enter().status_code == 201
    gateway.wait(hours=-2)
    assert gateway.enter().json()["code"] == "peer-unreachable"


def test_a_session_does_not_last_until_a_clock_that_was_set_back_has_caught_up(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    gateway.wait(hours=-2)
    assert gateway.ask("GET", f"/view/{REQUEST}").json()["code"] == "grant-invalid"
    assert gateway.enter().status_code == 201, "a new grant opens another"


@pytest.mark.parametrize(
    "end",
    [
        lambda gateway: gateway.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM)),
        lambda gateway: gateway.book.mark(REQUEST, what="withdrawn"),
        lambda gateway: gateway.sessions.revoke(GrantRevoked(jti=OTHER)),
    ],
)
def test_what_ends_a_claim_ends_its_open_session(
    gateway: GatewayUnderTest, end: Callable[[GatewayUnderTest], None]
) -> None:
    gateway.enter(gateway.grant(jti=OTHER))
    assert gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz").status_code == 200
    end(gateway)
    assert gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz").json()["code"] == "grant-invalid"


def test_a_grant_may_be_a_moment_ahead_of_the_word_of_its_claim(gateway: GatewayUnderTest) -> None:
    """A quick reader's grant can arrive before the notice of the claim does."""
    object.__setattr__(gateway.desk, "patience_seconds", 5.0)
    asked = iter([False, False, True])

    def knows(claim_id: str) -> bool:
        known = next(asked)
        if known:
            gateway.book.claim_made(ClaimMade(request_id=REQUEST, claim_id=claim_id, reader_id=READER, fence=2))
        return known

    gateway.sessions.knows = knows  # type: ignore[method-assign]
    assert gateway.enter(gateway.grant(claim_id=OTHER, fence=2)).status_code == 201
