"""A session goes on only if the centre and the reader both say so, each anew; and never as more than it was."""

from contextlib import nullcontext
from typing import Any

import httpx
import pytest

from client.gateway.grant import token_hash
from client.gateway.notices import renewal_receiver
from protocol.errors import RefusedError
from protocol.reading import ClaimEnded, GrantRenewed, GrantRevoked
from tests.fakes.gateway import CLAIM, ORIGIN, REQUEST, SITE, Centre, GatewayUnderTest, ReaderKey
from tests.unit.client.gateway.test_app import REPORT

FIRST, SECOND = "a" * 32, "b" * 32


def renew(gateway: GatewayUnderTest, centre: Centre | None = None, **changes: Any) -> None:
    """Bring a fresh grant over the link, as the centre sends it."""
    token = (centre or gateway.centre).grant(gateway.reader.jkt, now=gateway.now, **changes)
    receive = renewal_receiver(gateway.book, gateway.sessions, key=gateway.centre.key, site=SITE)
    receive(GrantRenewed(token=token))


def stay(gateway: GatewayUnderTest, token: str, *, reader: ReaderKey | None = None, **changes: Any) -> httpx.Response:
    """Ask for the session to go on, as the page does."""
    said = {"htm": "PUT", "htu": f"{ORIGIN}/session", "ath": token_hash(token)} | changes
    proof = (reader or gateway.reader).proof(token, now=gateway.now, **said)
    return gateway.ask("PUT", "/session", headers={"DPoP": proof})


@pytest.fixture
def token(gateway: GatewayUnderTest) -> str:
    """The grant of a session that is half over."""
    token = gateway.grant(jti=FIRST)
    assert gateway.enter(token).status_code == 201
    gateway.wait(minutes=5)
    return token


def looks(gateway: GatewayUnderTest) -> int:
    return gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz").status_code


def test_a_read_of_half_an_hour_needs_one_grant_from_the_worklist(gateway: GatewayUnderTest, token: str) -> None:
    for _ in range(6):
        renew(gateway)
        answer = stay(gateway, token)
        assert answer.status_code == 200
        assert "Max-Age=600" in answer.headers["set-cookie"]
        gateway.wait(minutes=5)
        assert looks(gateway) == 200
    gateway.wait(minutes=5)
    assert looks(gateway) == 403


def test_a_centre_whose_clock_is_fast_prolongs_for_no_longer(gateway: GatewayUnderTest, token: str) -> None:
    ahead = int(gateway.now.timestamp()) + 30
    renew(gateway, iat=ahead, nbf=ahead, exp=ahead + 600)
    assert stay(gateway, token).json()["expires_at"] == "2026-03-01T12:15:00Z"
    gateway.wait(minutes=10)
    assert looks(gateway) == 403


def test_a_fresh_grant_alone_prolongs_nothing(gateway: GatewayUnderTest, token: str) -> None:
    renew(gateway)
    gateway.wait(minutes=5)
    assert looks(gateway) == 403


def test_a_proof_alone_prolongs_nothing(gateway: GatewayUnderTest, token: str) -> None:
    answer = stay(gateway, token)
    assert (answer.status_code, answer.json()["expires_at"]) == (200, "2026-03-01T12:10:00Z")
    gateway.wait(minutes=5)
    assert looks(gateway) == 403


def test_what_has_ended_is_not_brought_back(gateway: GatewayUnderTest, token: str) -> None:
    gateway.wait(minutes=5)
    renew(gateway)
    assert stay(gateway, token).json()["code"] == "grant-invalid"
    gateway.cookies.clear()
    assert stay(gateway, token).json()["code"] == "unauthenticated"


PROOFS: dict[str, dict[str, Any]] = {
    "by another approved key": {"reader": ReaderKey()},
    "for the exchange of the grant": {"htm": "POST"},
    "for another hospital": {"htu": "https://southbay.example:9443/session"},
    "for another grant": {"ath": "A" * 43},
    "too old": {"iat": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", PROOFS)
def test_a_stolen_cookie_cannot_be_kept_alive(gateway: GatewayUnderTest, token: str, name: str) -> None:
    renew(gateway)
    other = PROOFS[name].get("reader")
    if other is not None:
        gateway.keys.approve(other.jkt, name="Another approved reader")
    answer = stay(gateway, token, **PROOFS[name])
    assert (answer.status_code, answer.json()["code"]) == (403, "grant-invalid")
    gateway.wait(minutes=5)
    assert looks(gateway) == 403


def test_a_proof_prolongs_once(gateway: GatewayUnderTest, token: str) -> None:
    renew(gateway)
    assert stay(gateway, token, jti="proof-number-1").status_code == 200
    assert stay(gateway, token, jti="proof-number-1").json()["code"] == "grant-invalid"


FOREIGN: dict[str, dict[str, Any]] = {
    "of another hospital": {"aud": "southbay"},
    "of another claim": {"claim_id": "9" * 32},
    "of a newer fence": {"fence": 2},
    "of another key": {"cnf": {"jkt": "k" * 43}},
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_a_fresh_grant_for_something_else_prolongs_nothing(gateway: GatewayUnderTest, token: str, name: str) -> None:
    with nullcontext() if name != "of another hospital" else pytest.raises(RefusedError):
        renew(gateway, **FOREIGN[name])
    assert stay(gateway, token).json()["expires_at"] == "2026-03-01T12:10:00Z"


def test_a_link_without_the_grant_key_brings_no_grant(gateway: GatewayUnderTest, token: str) -> None:
    with pytest.raises(RefusedError):
        renew(gateway, centre=Centre())
    assert stay(gateway, token).json()["expires_at"] == "2026-03-01T12:10:00Z"


@pytest.mark.parametrize("which", [FIRST, SECOND])
def test_whichever_grant_is_revoked_the_session_ends(gateway: GatewayUnderTest, token: str, which: str) -> None:
    renew(gateway, jti=SECOND)
    assert stay(gateway, token).status_code == 200
    gateway.sessions.revoke(GrantRevoked(jti=which))
    assert looks(gateway) == 403
    assert stay(gateway, token).json()["code"] == "grant-invalid"


def test_a_fresh_grant_that_was_revoked_first_prolongs_nothing(gateway: GatewayUnderTest, token: str) -> None:
    renew(gateway, jti=SECOND)
    gateway.sessions.revoke(GrantRevoked(jti=SECOND))
    assert stay(gateway, token).json()["expires_at"] == "2026-03-01T12:10:00Z"


def test_the_end_of_the_claim_is_the_end(gateway: GatewayUnderTest, token: str) -> None:
    renew(gateway)
    gateway.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    assert stay(gateway, token).json()["code"] == "grant-invalid"


def test_another_sites_page_keeps_nothing_alive(gateway: GatewayUnderTest, token: str) -> None:
    proof = gateway.reader.proof(token, now=gateway.now, htm="PUT")
    answer = gateway.ask("PUT", "/session", headers={"DPoP": proof, "Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_who_may_only_look_cannot_report_and_a_renewal_gives_no_more(gateway: GatewayUnderTest) -> None:
    token = gateway.grant(scope="view")
    gateway.enter(token)
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 200
    for _ in range(2):
        answer = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        renew(gateway, scope="report")
        assert stay(gateway, token).status_code == 200
    assert gateway.gate.kinds() == ["read-opened"]
