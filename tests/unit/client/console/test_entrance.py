"""The way in: the right token opens a session that ends; five wrong ones close the door for a while; nothing is kept in clear."""

from datetime import UTC, datetime, timedelta

import pytest

from client.console.entrance import Entrance
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError

TOKEN = "the right one"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def entrance(clock: Clock) -> Entrance:
    return Entrance(TOKEN, clock)


def fail(entrance: Entrance, times: int) -> None:
    for _ in range(times):
        with pytest.raises(RefusedError) as caught:
            entrance.enter("wrong")
        assert caught.value.code is Code.UNAUTHENTICATED


def test_the_token_opens_a_session_of_its_own(entrance: Entrance) -> None:
    one, two = entrance.enter(TOKEN), entrance.enter(f" {TOKEN}\n")
    first, second = entrance.find(one), entrance.find(two)
    assert first is not None
    assert second is not None
    assert first.csrf != second.csrf
    assert one != two


@pytest.mark.parametrize("cookie", [None, "", "guess", TOKEN])
def test_no_other_cookie_is_a_session(entrance: Entrance, cookie: str | None) -> None:
    entrance.enter(TOKEN)
    assert entrance.find(cookie) is None


def test_a_session_ends_by_itself_and_by_leaving(entrance: Entrance, clock: Clock) -> None:
    one, two = entrance.enter(TOKEN), entrance.enter(TOKEN)
    entrance.leave(one)
    entrance.leave("nobody's")
    assert entrance.find(one) is None
    clock.now += timedelta(hours=8) - timedelta(seconds=1)
    assert entrance.find(two) is not None
    clock.now += timedelta(seconds=1)
    assert entrance.find(two) is None


def test_five_wrong_tokens_close_the_door_even_to_the_right_one(entrance: Entrance, clock: Clock) -> None:
    fail(entrance, 5)
    with pytest.raises(UnavailableError) as caught:
        entrance.enter(TOKEN)
    assert caught.value.code is Code.RATE_LIMITED
    clock.now += timedelta(minutes=15)
    assert entrance.find(entrance.enter(TOKEN)) is not None


def test_wrong_tokens_that_come_slowly_do_not_add_up(entrance: Entrance, clock: Clock) -> None:
    for _ in range(12):
        fail(entrance, 1)
        clock.now += timedelta(minutes=4)
    assert entrance.find(entrance.enter(TOKEN)) is not None


def test_the_right_token_forgives_earlier_slips(entrance: Entrance) -> None:
    fail(entrance, 4)
    entrance.enter(TOKEN)
    fail(entrance, 4)
    assert entrance.find(entrance.enter(TOKEN)) is not None


def test_the_oldest_session_goes_when_there_are_too_many(entrance: Entrance) -> None:
    cookies = [entrance.enter(TOKEN) for _ in range(101)]
    assert entrance.find(cookies[0]) is None
    assert all(entrance.find(cookie) is not None for cookie in cookies[1:])


def test_neither_token_nor_cookie_is_kept(entrance: Entrance) -> None:
    cookie = entrance.enter(TOKEN)
    kept = repr(vars(entrance))
    assert TOKEN not in kept
    assert cookie not in kept
