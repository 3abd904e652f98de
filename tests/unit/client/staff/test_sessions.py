"""Sessions: they end by idling, by time, by leaving, and at once when the account changes, from whichever process."""

from datetime import timedelta
from pathlib import Path

import pytest

from client.staff.accounts import BY_COMMAND, SCHEMA, Account, Accounts
from client.staff.roles import Role
from client.staff.sessions import Sessions, Span
from client.store.database import connect
from tests.unit.client.staff.conftest import CHEAP, PASSWORD, Clock


@pytest.fixture
def sessions(accounts: Accounts, clock: Clock) -> Sessions:
    return Sessions(accounts, clock, Span())


@pytest.fixture
def maria(accounts: Accounts) -> Account:
    return accounts.add("maria", PASSWORD, frozenset({Role.VIEWER}), by=BY_COMMAND)


def test_each_session_has_a_cookie_and_a_word_of_its_own(sessions: Sessions, maria: Account) -> None:
    one, two = sessions.open(maria), sessions.open(maria)
    first, second = sessions.find(one), sessions.find(two)
    assert first is not None
    assert second is not None
    assert one != two
    assert first.csrf != second.csrf
    assert (first.who, first.name, first.roles) == (maria.account_id, "maria", frozenset({Role.VIEWER}))


@pytest.mark.parametrize("cookie", [None, "", "guess"])
def test_no_other_cookie_is_a_session(sessions: Sessions, maria: Account, cookie: str | None) -> None:
    sessions.open(maria)
    assert sessions.find(cookie) is None


def test_a_session_idles_out_unless_somebody_clicks(sessions: Sessions, maria: Account, clock: Clock) -> None:
    cookie = sessions.open(maria)
    for _ in range(3):
        clock.now += timedelta(minutes=29)
        assert sessions.find(cookie) is not None
    clock.now += timedelta(minutes=20)
    assert sessions.find(cookie, active=False) is not None
    clock.now += timedelta(minutes=10)
    assert sessions.find(cookie) is None


def test_a_busy_session_ends_all_the_same(sessions: Sessions, maria: Account, clock: Clock) -> None:
    cookie = sessions.open(maria)
    for _ in range(31):
        clock.now += timedelta(minutes=15)
        assert sessions.find(cookie) is not None
    clock.now += timedelta(minutes=15)
    assert sessions.find(cookie) is None


def test_leaving_ends_one_session(sessions: Sessions, maria: Account) -> None:
    one, two = sessions.open(maria), sessions.open(maria)
    sessions.leave(one)
    sessions.leave("nobody's")
    assert sessions.find(one) is None
    assert sessions.find(two) is not None


@pytest.mark.parametrize("act", ["disable", "roles", "password"])
def test_another_process_ends_every_session_at_once(
    sessions: Sessions, maria: Account, tmp_path: Path, clock: Clock, act: str
) -> None:
    cookies = [sessions.open(maria) for _ in range(3)]
    elsewhere = Accounts(connect(tmp_path / "node.db", SCHEMA), lambda: clock().timestamp(), CHEAP)
    if act == "disable":
        elsewhere.set_disabled(maria.account_id, disabled=True)
        elsewhere.set_disabled(maria.account_id, disabled=False)
    elif act == "roles":
        elsewhere.set_roles(maria.account_id, frozenset({Role.TECHNICIAN}), by=BY_COMMAND)
    else:
        elsewhere.set_password(maria.account_id, "another long one", by=BY_COMMAND)
    assert [sessions.find(cookie) for cookie in cookies] == [None] * 3


def test_the_tokens_session_is_nobodys(sessions: Sessions) -> None:
    visitor = sessions.find(sessions.open(None))
    assert visitor is not None
    assert (visitor.account_id, visitor.who, visitor.roles) == (None, "setup", frozenset({Role.SETUP}))


def test_the_oldest_session_goes_when_there_are_too_many(sessions: Sessions, maria: Account) -> None:
    cookies = [sessions.open(maria) for _ in range(501)]
    assert sessions.find(cookies[0]) is None
    assert sessions.find(cookies[1]) is not None
    assert sessions.find(cookies[-1]) is not None


def test_no_cookie_is_kept(sessions: Sessions, maria: Account) -> None:
    cookie = sessions.open(maria)
    assert cookie not in repr(vars(sessions))
