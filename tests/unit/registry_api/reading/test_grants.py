"""A grant says what it should, for as long as it should, and only under a live claim."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from joserfc import jws, jwt
from joserfc.jwk import OKPKey
from sqlmodel import delete

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError, UnavailableError
from protocol.reading import GRANT_SECONDS_MAX, GrantRenewed, GrantRevoked, Priority, ReadPost
from registry_api.enrolment.tables import SiteRow
from registry_api.reading.claims import Claim
from registry_api.reading.grants import GrantSigner, Issued, make_grant, renew_grant, revoke_grant
from registry_api.reading.readers import keys_of
from registry_api.reading.tables import AgreementRow
from tests.unit.registry_api.reading.conftest import NOW, REQUEST
from tests.unit.registry_api.reading.story import Story

JKT = "j" * 43
Give = Callable[[Claim, str], Issued]


@pytest.fixture
def key() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


@pytest.fixture
def give(story: Story, key: OKPKey) -> Give:
    signer = GrantSigner(key.private_key)

    def make(claim: Claim, reader: str) -> Issued:
        with story.database.writing() as session:
            return make_grant(session, claim.claim_id, reader, jkt=JKT, signer=signer, now=story.now)

    return make


@pytest.fixture
def reader(story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]) -> str:
    story.arrives(post(priority=Priority.STAT))
    return add_reader()


def test_a_grant_names_one_study_one_reader_one_node_and_lives_ten_minutes(
    story: Story, give: Give, key: OKPKey, reader: str
) -> None:
    claim = story.claims(reader, REQUEST)
    issued = give(claim, reader)
    token = jwt.decode(issued.token, key, algorithms=["Ed25519"])
    now_s = int(NOW.timestamp())
    jti = token.claims.pop("jti")
    assert len(jti) == 32
    assert token.claims == {
        "iss": "acinus-centre", "aud": "northport", "sub": reader, "claim_id": claim.claim_id, "request_id": REQUEST,
        "fence": 1, "scope": "report", "cnf": {"jkt": JKT}, "iat": now_s, "nbf": now_s, "exp": now_s + 600,
    }  # fmt: skip
    assert token.header == {"alg": "Ed25519", "typ": "acinus-grant+jwt"}
    assert (issued.gateway, issued.request_id) == ("https://northport.example:9443", REQUEST)
    assert GRANT_SECONDS_MAX == 600


def test_the_key_is_remembered_for_the_worklist(story: Story, give: Give, reader: str) -> None:
    give(story.claims(reader, REQUEST), reader)
    assert story.look(lambda session: keys_of(session, reader)) == {"northport": JKT}


def test_no_grant_after_the_lease(story: Story, give: Give, reader: str) -> None:
    claim = story.claims(reader, REQUEST)
    story.wait(minutes=10)
    with pytest.raises(ConflictError) as refused:
        give(claim, reader)
    assert refused.value.code is Code.STALE_FENCE


def test_no_grant_under_another_readers_claim(
    story: Story, give: Give, reader: str, add_reader: Callable[..., str]
) -> None:
    claim = story.claims(reader, REQUEST)
    with pytest.raises(InvalidInputError) as refused:
        give(claim, add_reader("Other"))
    assert refused.value.code is Code.NOT_FOUND


def test_no_grant_once_the_agreement_has_ended(story: Story, give: Give, reader: str) -> None:
    claim = story.claims(reader, REQUEST)
    with story.database.writing() as session:
        session.exec(delete(AgreementRow))
    with pytest.raises(RefusedError) as refused:
        give(claim, reader)
    assert refused.value.code is Code.FORBIDDEN


def test_no_grant_for_a_hospital_that_was_revoked(story: Story, give: Give, reader: str) -> None:
    claim = story.claims(reader, REQUEST)
    with story.database.writing() as session:
        session.get_one(SiteRow, "northport").revoked_at = NOW
    with pytest.raises(UnavailableError):
        give(claim, reader)


def test_revoking_tells_the_node_once(story: Story, give: Give, reader: str) -> None:
    issued = give(story.claims(reader, REQUEST), reader)
    jti = json.loads(jws.extract_compact(issued.token.encode()).payload)["jti"]
    for _ in range(2):
        with story.database.writing() as session:
            revoke_grant(session, jti, reader_id=reader, now=NOW + timedelta(seconds=1))
    assert story.notices()[1:] == [GrantRevoked(jti=jti)]


def test_nobody_revokes_another_readers_grant(story: Story, give: Give, reader: str) -> None:
    issued = give(story.claims(reader, REQUEST), reader)
    jti = json.loads(jws.extract_compact(issued.token.encode()).payload)["jti"]
    for who, which in (("f" * 32, jti), (reader, "0" * 32)):
        with pytest.raises(InvalidInputError), story.database.writing() as session:
            revoke_grant(session, which, reader_id=who, now=NOW)
    assert len(story.notices()) == 1


@pytest.fixture
def beat(story: Story, key: OKPKey) -> Callable[[Claim, str], bool]:
    def renew(claim: Claim, reader: str) -> bool:
        with story.database.writing() as session:
            return renew_grant(session, claim.claim_id, reader, signer=GrantSigner(key.private_key), now=story.now)

    return renew


def renewals(story: Story) -> list[GrantRenewed]:
    return [notice for notice in story.notices() if isinstance(notice, GrantRenewed)]


def test_a_grant_that_is_half_over_is_renewed_over_the_link(
    story: Story, give: Give, beat: Callable[[Claim, str], bool], key: OKPKey, reader: str
) -> None:
    claim = story.claims(reader, REQUEST)
    give(claim, reader)
    story.wait(seconds=299)
    assert not beat(claim, reader)
    story.wait(seconds=1)
    assert beat(claim, reader)
    assert not beat(claim, reader)
    (notice,) = renewals(story)
    claims = jwt.decode(notice.token, key, algorithms=["Ed25519"]).claims
    assert (claims["claim_id"], claims["cnf"], claims["exp"] - claims["iat"]) == (claim.claim_id, {"jkt": JKT}, 600)
    assert claims["exp"] == int(NOW.timestamp()) + 900


def test_a_reader_who_opened_nothing_has_nothing_renewed(
    story: Story, beat: Callable[[Claim, str], bool], reader: str
) -> None:
    assert not beat(story.claims(reader, REQUEST), reader)


def test_nothing_is_renewed_once_the_agreement_has_ended(
    story: Story, give: Give, beat: Callable[[Claim, str], bool], reader: str
) -> None:
    claim = story.claims(reader, REQUEST)
    give(claim, reader)
    story.wait(minutes=6)
    with story.database.writing() as session:
        session.exec(delete(AgreementRow))
    assert not beat(claim, reader)
    assert renewals(story) == []


def test_revoking_a_grant_revokes_what_renewed_it_and_ends_the_renewals(
    story: Story, give: Give, beat: Callable[[Claim, str], bool], reader: str
) -> None:
    claim = story.claims(reader, REQUEST)
    first = json.loads(jws.extract_compact(give(claim, reader).token.encode()).payload)["jti"]
    story.wait(minutes=5)
    assert beat(claim, reader)
    second = json.loads(jws.extract_compact(renewals(story)[0].token.encode()).payload)["jti"]
    with story.database.writing() as session:
        revoke_grant(session, first, reader_id=reader, now=story.now)
    assert story.notices()[-2:] == [GrantRevoked(jti=first), GrantRevoked(jti=second)]
    story.wait(minutes=4)
    assert not beat(claim, reader)
