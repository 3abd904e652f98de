"""The ways in: the right token or password opens a session; guessing is slow; nobody learns which names there are."""

import asyncio
import statistics
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from client.staff.accounts import BY_COMMAND, Accounts
from client.staff.attempts import ALTOGETHER, BY_NAME
from client.staff.entrance import Entrance
from client.staff.passwords import USUAL, Cost
from client.staff.roles import Role
from client.staff.sessions import Sessions, Span
from protocol.codes import Code
from protocol.errors import FederationError
from tests.fakes.outcomes import code_of
from tests.unit.client.staff.conftest import CHEAP, PASSWORD, Clock

TOKEN = "the right one"
VIEWER = frozenset({Role.VIEWER})


def entrance_of(accounts: Accounts, clock: Clock, *, token: str | None = TOKEN, cost: Cost = CHEAP) -> Entrance:
    return Entrance(accounts, Sessions(accounts, clock, Span()), clock, token=token, cost=cost)


@pytest.fixture
def entrance(accounts: Accounts, clock: Clock) -> Entrance:
    accounts.add("maria", PASSWORD, VIEWER, by=BY_COMMAND)
    return entrance_of(accounts, clock)


def by_password(entrance: Entrance, name: str, password: str) -> Callable[[], object]:
    return lambda: asyncio.run(entrance.enter_by_password(name, password))


# The token.


def test_the_token_opens_a_session(entrance: Entrance) -> None:
    assert entrance.sessions.find(entrance.enter_by_token(f" {TOKEN}\n").cookie) is not None
    assert code_of(lambda: entrance.enter_by_token("wrong")) is Code.UNAUTHENTICATED


def test_five_wrong_tokens_close_that_door_even_to_the_right_one(entrance: Entrance, clock: Clock) -> None:
    for _ in range(5):
        assert code_of(lambda: entrance.enter_by_token("wrong")) is Code.UNAUTHENTICATED
    assert code_of(lambda: entrance.enter_by_token(TOKEN)) is Code.RATE_LIMITED
    assert code_of(by_password(entrance, "maria", PASSWORD)) is None, "the other door stays open"
    clock.now += timedelta(minutes=15)
    assert code_of(lambda: entrance.enter_by_token(TOKEN)) is None


def test_wrong_tokens_that_come_slowly_do_not_add_up(entrance: Entrance, clock: Clock) -> None:
    for _ in range(12):
        assert code_of(lambda: entrance.enter_by_token("wrong")) is Code.UNAUTHENTICATED
        clock.now += timedelta(minutes=4)
    assert code_of(lambda: entrance.enter_by_token(TOKEN)) is None


def test_the_right_token_forgives_earlier_slips(entrance: Entrance) -> None:
    for _ in range(3):
        for _ in range(4):
            assert code_of(lambda: entrance.enter_by_token("wrong")) is Code.UNAUTHENTICATED
        assert code_of(lambda: entrance.enter_by_token(TOKEN)) is None


def test_a_token_that_is_turned_off_opens_nothing(accounts: Accounts, clock: Clock) -> None:
    closed = entrance_of(accounts, clock, token=None)
    assert not closed.takes_token
    for guess in ("", TOKEN, "None"):
        assert code_of(lambda guess=guess: closed.enter_by_token(guess)) is Code.UNAUTHENTICATED


def test_neither_token_nor_cookie_is_kept(entrance: Entrance) -> None:
    cookie = entrance.enter_by_token(TOKEN).cookie
    kept = repr(vars(entrance)) + repr(vars(entrance.sessions))
    assert TOKEN not in kept
    assert cookie not in kept


# Passwords.


def test_name_and_password_open_a_session_of_that_account(entrance: Entrance, accounts: Accounts) -> None:
    entered = asyncio.run(entrance.enter_by_password("maria", PASSWORD))
    visitor = entrance.sessions.find(entered.cookie)
    assert visitor is not None
    assert visitor.account_id == accounts.named("maria").account_id
    assert accounts.named("maria").entered_at is not None


def test_wrong_unknown_and_closed_are_told_apart_by_nobody(entrance: Entrance, accounts: Accounts) -> None:
    closed = accounts.add("clara", PASSWORD, VIEWER, by=BY_COMMAND)
    accounts.set_disabled(closed.account_id, disabled=True)
    accounts.meet("f" * 64, name="otto", roles=VIEWER)
    said = set()
    for name, password in (
        ("maria", "wrong words here"),
        ("nobody", PASSWORD),
        ("clara", PASSWORD),
        ("otto", PASSWORD),
        ("", ""),
    ):
        with pytest.raises(FederationError) as caught:
            asyncio.run(entrance.enter_by_password(name, password))
        said.add((caught.value.code, str(caught.value)))
    assert len(said) == 1


def test_an_unknown_name_takes_as_long_as_a_wrong_password(accounts: Accounts, clock: Clock) -> None:
    """With a cost near the real one: without the work for nobody's sake the ratio would be near zero."""
    cost = Cost(n=USUAL.n // 4, r=8, p=1)
    costly = Accounts(accounts._connection, accounts._clock, cost)
    costly.add("berta", PASSWORD, VIEWER, by=BY_COMMAND)
    entrance = entrance_of(costly, clock, cost=cost)
    seconds: dict[str, list[float]] = {"berta": [], "nobody": []}
    for _ in range(7):
        for name, taken in seconds.items():
            started = time.process_time()
            assert code_of(by_password(entrance, name, "wrong words here")) is Code.UNAUTHENTICATED
            taken.append(time.process_time() - started)
            clock.now += timedelta(minutes=16)
    known, unknown = (statistics.median(taken) for taken in seconds.values())
    assert 0.5 < unknown / known < 2


def test_one_name_is_closed_to_guessing_and_the_others_stay_open(
    entrance: Entrance, accounts: Accounts, clock: Clock
) -> None:
    accounts.add("berta", PASSWORD, VIEWER, by=BY_COMMAND)
    for _ in range(BY_NAME):
        assert code_of(by_password(entrance, "maria", "wrong words here")) is Code.UNAUTHENTICATED
    assert code_of(by_password(entrance, "maria", PASSWORD)) is Code.RATE_LIMITED
    assert code_of(by_password(entrance, "berta", PASSWORD)) is None
    clock.now += timedelta(minutes=15)
    assert code_of(by_password(entrance, "maria", PASSWORD)) is None


def test_an_unknown_name_is_limited_like_a_known_one(entrance: Entrance) -> None:
    for _ in range(BY_NAME):
        assert code_of(by_password(entrance, "nobody", "x")) is Code.UNAUTHENTICATED
    assert code_of(by_password(entrance, "nobody", "x")) is Code.RATE_LIMITED


def test_one_password_on_every_name_is_stopped_too(entrance: Entrance) -> None:
    for at in range(ALTOGETHER):
        assert code_of(by_password(entrance, f"name{at}", "spring2026")) is Code.UNAUTHENTICATED
    assert code_of(by_password(entrance, "maria", PASSWORD)) is Code.RATE_LIMITED


def test_many_tries_at_once_do_not_slip_past_the_count(entrance: Entrance) -> None:
    async def storm() -> list[Code]:
        tries = [entrance.enter_by_password("maria", "wrong words here") for _ in range(20)]
        return [
            error.code
            for error in await asyncio.gather(*tries, return_exceptions=True)
            if isinstance(error, FederationError)
        ]

    codes = asyncio.run(storm())
    assert codes.count(Code.UNAUTHENTICATED) == BY_NAME
    assert codes.count(Code.RATE_LIMITED) == 20 - BY_NAME


def test_a_password_under_old_parameters_is_kept_anew_and_nobody_is_logged_out(
    accounts: Accounts, clock: Clock
) -> None:
    accounts.add("maria", PASSWORD, VIEWER, by=BY_COMMAND)
    newer = Cost(n=32, r=1, p=1)
    renewing = Accounts(accounts._connection, accounts._clock, newer)
    entrance = entrance_of(renewing, clock, cost=newer)
    cookie = asyncio.run(entrance.enter_by_password("maria", PASSWORD)).cookie
    found = renewing.credential("maria")
    assert found is not None
    assert found[1].startswith("scrypt$32$1$1$")
    assert entrance.sessions.find(cookie) is not None
