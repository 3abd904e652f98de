"""The pace of a caller: a burst, then as fast as the bucket fills, and no caller at another one's cost."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from registry_api.people.pace import Pace
from registry_api.people.roles import Role
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import Registry

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200))
def test_no_minute_lets_more_than_a_bucket_and_its_refill_through(gaps: list[float]) -> None:
    pace, now, let_in = Pace(10), NOON, []
    for gap in gaps:
        now += timedelta(seconds=gap)
        if pace.take("one", now=now):
            let_in.append(now)
    for start in let_in:
        assert sum(start <= one < start + timedelta(minutes=1) for one in let_in) <= 20


def test_after_a_burst_one_request_per_refill_passes() -> None:
    pace = Pace(60)
    assert sum(pace.take("one", now=NOON) for _ in range(100)) == 60
    assert not pace.take("one", now=NOON + timedelta(seconds=0.5))
    assert pace.take("one", now=NOON + timedelta(seconds=1.5))
    assert pace.take("other", now=NOON)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    pace = Pace(1)
    assert pace.take("one", now=NOON)
    assert not pace.take("one", now=NOON - timedelta(hours=1))


def test_who_asks_too_fast_is_told_to_wait(registry: Registry, client: AsgiClient) -> None:
    object.__setattr__(registry.runtime, "pace", Pace(3))
    headers = registry.key_of(Role.COORDINATOR)
    answers = [client.get("/v1/sites", headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert (answers[-1].headers["Retry-After"], answers[-1].json()["code"]) == ("60", "rate-limited")
    registry.clock.pass_(seconds=30)
    assert client.get("/v1/sites", headers=headers).status_code == 200
