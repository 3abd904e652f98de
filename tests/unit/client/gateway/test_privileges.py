"""Privileges: the hospital's own list, told to the centre, each word once and none lost."""

from datetime import UTC, datetime, timedelta

import pytest

from client.gateway.privileges import Privileges
from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from protocol.reading import ReaderPrivilege, StudyKind
from tests.fakes.gateway import READER, REQUEST, GatewayUnderTest


@pytest.fixture
def privileges(gateway: GatewayUnderTest) -> Privileges:
    return Privileges(gateway.book, gateway.gate)


def said(gateway: GatewayUnderTest) -> list[ReaderPrivilege]:
    return [parcel for parcel in gateway.gate.parcels if isinstance(parcel, ReaderPrivilege)]


def test_a_privilege_is_granted_listed_and_withdrawn(gateway: GatewayUnderTest, privileges: Privileges) -> None:
    privileges.grant(READER, name="Dr Elsewhere")
    assert [(one.reader_id, one.name) for one in privileges.all()] == [(READER, "Dr Elsewhere")]
    privileges.withdraw(READER)
    assert privileges.all() == []
    privileges.grant(READER, name="Dr Elsewhere")
    assert [(word.granted, word.version) for word in said(gateway)] == [(True, 1), (False, 2), (True, 3)]


def test_a_privilege_may_end_and_be_for_some_studies(gateway: GatewayUnderTest, privileges: Privileges) -> None:
    end = datetime.fromtimestamp(gateway.book.now_s() + 3600, UTC)
    granted = privileges.grant(READER, name="R", until=end, studies=[StudyKind.CT_CHEST_ADULT])
    assert privileges.all() == [granted]
    assert (granted.until, granted.studies) == (end, (StudyKind.CT_CHEST_ADULT,))
    (word,) = said(gateway)
    assert word.valid_until is not None
    assert datetime.fromisoformat(word.valid_until) == end
    assert word.studies == (StudyKind.CT_CHEST_ADULT,)
    again = privileges.grant(READER, name="R")
    assert (again.until, again.studies) == (None, tuple(StudyKind))


def test_a_reader_whose_privilege_has_ended_is_let_in_by_no_grant(
    gateway: GatewayUnderTest, privileges: Privileges
) -> None:
    assert gateway.enter().status_code == 201, "of whom nothing was said, the approved key says enough"
    privileges.grant(READER, name="R", until=gateway.now + timedelta(minutes=5))
    assert gateway.ask("GET", f"/view/{REQUEST}").status_code == 200
    gateway.wait(minutes=5)
    for answer in (gateway.ask("GET", f"/view/{REQUEST}"), gateway.enter()):
        assert (answer.status_code, answer.json()["code"]) == (403, "grant-invalid")
    privileges.grant(READER, name="R")
    assert gateway.enter().status_code == 201
    privileges.withdraw(READER)
    assert gateway.enter().status_code == 403


def test_a_privilege_for_other_studies_lets_nobody_see_this_one(
    gateway: GatewayUnderTest, privileges: Privileges
) -> None:
    """The read is of somebody of 60 to 69."""
    assert gateway.enter().status_code == 201
    privileges.grant(READER, name="R", studies=[StudyKind.CT_CHEST_UNDER_20])
    for answer in (gateway.ask("GET", f"/view/{REQUEST}"), gateway.enter()):
        assert (answer.status_code, answer.json()["code"]) == (403, "grant-invalid")
    privileges.grant(READER, name="R", studies=[StudyKind.CT_CHEST_ADULT])
    assert gateway.enter().status_code == 201
    gateway.book.connection.execute("UPDATE read_requests SET post = json_set(post, '$.age_band', 'unknown')")
    assert gateway.ask("GET", f"/view/{REQUEST}").status_code == 403, "of unknown age, both"


def test_a_privilege_of_nothing_or_of_the_past_is_refused(gateway: GatewayUnderTest, privileges: Privileges) -> None:
    now = datetime.fromtimestamp(gateway.book.now_s(), UTC)
    for limits in ({"until": now}, {"studies": []}):
        with pytest.raises(InvalidInputError) as refused:
            privileges.grant(READER, name="R", **limits)  # type: ignore[arg-type]
        assert refused.value.code is Code.BAD_REQUEST
    assert said(gateway) == []


def test_the_name_stays_at_the_hospital(gateway: GatewayUnderTest, privileges: Privileges) -> None:
    privileges.grant(READER, name="Dr Elsewhere")
    assert "Elsewhere" not in said(gateway)[0].model_dump_json()


def test_only_who_has_a_privilege_can_lose_it(privileges: Privileges) -> None:
    with pytest.raises(InvalidInputError) as absent:
        privileges.withdraw(READER)
    assert absent.value.code is Code.NOT_FOUND
    privileges.grant(READER, name="R")
    privileges.withdraw(READER)
    with pytest.raises(InvalidInputError):
        privileges.withdraw(READER)


@pytest.mark.parametrize(
    ("reader_id", "name"), [("Dr Elsewhere", "R"), (READER[:-1], "R"), (READER, " "), (READER, "x" * 201)]
)
def test_what_is_no_reader_or_no_name_is_refused(
    gateway: GatewayUnderTest, privileges: Privileges, reader_id: str, name: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        privileges.grant(reader_id, name=name)
    assert refused.value.code is Code.BAD_REQUEST
    assert said(gateway) == []


def test_a_word_that_was_not_sent_is_sent_later_and_once(
    gateway: GatewayUnderTest, privileges: Privileges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> None:
        raise RefusedError(Code.POLICY_SHARING)

    with monkeypatch.context() as broken:
        broken.setattr(gateway.gate, "submit", away)
        with pytest.raises(RefusedError):
            privileges.grant(READER, name="R")
    assert said(gateway) == []
    privileges.catch_up()
    privileges.catch_up()
    assert [(word.granted, word.version) for word in said(gateway)] == [(True, 1)]
