"""The public tier: off by default, a patient once per week, noise once per week, a year that can be spent once, rows that stay."""

import base64
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from registry_api.main import create_app
from registry_api.people.pace import Pace
from registry_api.public.loss import epsilon_of, rho_of
from registry_api.public.noise import discrete_gaussian
from registry_api.public.service import budgets, draw, due_weeks
from registry_api.public.tables import PublicSpendRow, PublicWeekRow
from registry_api.releases.weeks import weeks_until
from registry_api.settings import PublicSettings
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import ORIGIN, Registry

OLD, OPEN = "2026-W04", "2026-W05"
"""The clock stands in week 10: five closed weeks may still change."""
ON = PublicSettings(enabled=True, first_week="2025-W40")


def no_noise(counts: Sequence[int], _: float) -> list[int]:
    return list(counts)


def publish(registry: Registry, week: str = OLD, settings: PublicSettings = ON, noise=no_noise) -> PublicWeekRow:
    key = registry.runtime.counts_key
    return draw(registry.runtime.database, week, settings, key=key, noise=noise, now=registry.clock())


def cells(row: PublicWeekRow) -> dict[tuple[str, str], int]:
    return {(one["place"], one["severity"]): one["count"] for one in json.loads(row.body)["cells"]}


@pytest.fixture
def filled(registry: Registry) -> Registry:
    registry.enrol("north-a", "XA-N")
    registry.enrol("south-a", "XA-S")
    registry.cases("north-a", 7, week=OLD, first_in_week=True)
    registry.cases("north-a", 3, week=OLD, first_in_week=False)
    registry.cases("north-a", 2, week=OLD)
    registry.cases("south-a", 1, week=OLD, first_in_week=True, withdrawn=True)
    return registry


def test_a_tier_without_a_first_week_is_refused() -> None:
    with pytest.raises(ValidationError, match="first_week"):
        PublicSettings(enabled=True)


def test_a_patient_counts_once_and_every_cell_is_there(filled: Registry) -> None:
    found = cells(publish(filled))
    assert found["XA-N", "mild"] == 7
    assert len(found) == 8
    assert sum(found.values()) == 7


def test_the_tier_is_off_by_default(filled: Registry) -> None:
    assert not PublicSettings().enabled
    with pytest.raises(InvalidInputError) as raised:
        publish(filled, settings=PublicSettings())
    assert raised.value.code is Code.BAD_SETTING


@pytest.mark.parametrize("week", [OPEN, "2026-W10", "2025-W50", "2025-W39"])
def test_a_week_that_may_change_or_has_no_record_is_refused(filled: Registry, week: str) -> None:
    for one in (OPEN, "2025-W39"):
        filled.cases("north-a", 5, week=one, first_in_week=True)
    with pytest.raises(InvalidInputError) as raised:
        publish(filled, week)
    assert raised.value.code is Code.BAD_REQUEST


def test_noise_is_drawn_once_and_kept(filled: Registry) -> None:
    drawn: list[float] = []

    def noise(counts: Sequence[int], sigma: float) -> list[int]:
        drawn.append(sigma)
        return [count - 3 for count in counts]

    first, again = publish(filled, noise=noise), publish(filled, noise=noise)
    assert drawn == [ON.sigma]
    assert first.body == again.body
    assert cells(first)["XA-S", "mild"] == -3
    filled.runtime.counts_key.public_key().verify(signature_of(first), first.body)


def signature_of(row: PublicWeekRow) -> bytes:
    return base64.urlsafe_b64decode(row.signature + "==")


def test_a_year_is_charged_and_then_refused(filled: Registry) -> None:
    settings = ON.model_copy(update={"sigma": 5.0, "yearly_epsilon": 1.5})
    for week in weeks_until(OLD, count=4):
        filled.cases("north-a", 1, week=week, first_in_week=True)
    publish(filled, "2026-W01", settings)
    with pytest.raises(RefusedError) as raised:
        publish(filled, "2026-W02", settings)
    assert raised.value.code is Code.PUBLIC_BUDGET_SPENT
    with filled.runtime.database.reading() as session:
        (budget,) = budgets(session, settings)
        assert due_weeks(session, settings, today=filled.clock().date()) == ["2026-W02", "2026-W03", "2026-W04"]
    assert (budget.year, budget.weeks, budget.rho) == (2026, 1, rho_of(5))
    assert budget.epsilon <= settings.yearly_epsilon < epsilon_of(2 * budget.rho, settings.delta)


def test_the_default_pays_for_a_whole_year() -> None:
    assert epsilon_of(53 * rho_of(ON.sigma), ON.delta) <= ON.yearly_epsilon


def test_if_the_noise_fails_nothing_is_charged(filled: Registry) -> None:
    def broken(*_: object) -> list[int]:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        publish(filled, noise=broken)
    with filled.runtime.database.reading() as session:
        assert [*session.exec(select(PublicWeekRow)), *session.exec(select(PublicSpendRow))] == []


@pytest.mark.parametrize("table", ["public_weeks", "public_spends"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET week = '2026-W05'"])
def test_the_database_itself_refuses_to_change_what_was_published(filled: Registry, table: str, change: str) -> None:
    publish(filled)
    with pytest.raises(DBAPIError, match="stays as it is"), filled.runtime.database.writing() as session:
        session.connection().execute(text(change.format(table)))


def served(registry: Registry, *, enabled: bool) -> AsgiClient:
    settings = registry.runtime.settings.model_copy(update={"public": ON.model_copy(update={"enabled": enabled})})
    object.__setattr__(registry.runtime, "settings", settings)
    return AsgiClient(create_app(registry.runtime), base_url=ORIGIN)


def test_everybody_reads_the_bytes_that_were_signed(filled: Registry) -> None:
    row = publish(filled)
    with served(filled, enabled=True) as client:
        (listed,) = client.get("/v1/public/weeks").json()["weeks"]
        answer = client.get(f"/v1/public/weeks/{OLD}")
        assert client.get(f"/v1/public/weeks/{OPEN}").status_code == 404
    assert listed == {"week": OLD, "sha256": row.sha256, "signature": row.signature}
    assert (answer.content, answer.headers["ETag"]) == (row.body, f'"{row.sha256}"')
    assert answer.headers["Cache-Control"].startswith("public")


def test_while_it_is_off_there_is_nothing(filled: Registry) -> None:
    publish(filled)
    with served(filled, enabled=False) as client:
        for path in ("/v1/public/weeks", f"/v1/public/weeks/{OLD}"):
            assert (client.get(path).status_code, client.get(path).json()["code"]) == (404, "not-found")


def test_who_asks_too_fast_waits(filled: Registry) -> None:
    object.__setattr__(filled.runtime, "pace", Pace(3))
    with served(filled, enabled=True) as client:
        assert [client.get("/v1/public/weeks").status_code for _ in range(4)] == [200, 200, 200, 429]


@given(st.floats(5, 1000), st.integers(1, 53))
def test_more_weeks_cost_more_and_more_noise_costs_less(sigma: float, weeks: int) -> None:
    rho = rho_of(sigma)
    assert epsilon_of(weeks * rho, 1e-6) < epsilon_of((weeks + 1) * rho, 1e-6)
    assert rho_of(sigma * 2) == pytest.approx(rho / 4)
    assert epsilon_of(0, 1e-6) == 0


def test_opendp_draws_whole_numbers_of_the_right_spread() -> None:
    pytest.importorskip("opendp", reason="OpenDP comes with the extra `public` only")
    noised = discrete_gaussian([100] * 4000, 20.0)
    mean = sum(noised) / len(noised)
    spread = (sum((one - mean) ** 2 for one in noised) / len(noised)) ** 0.5
    assert all(isinstance(one, int) for one in noised)
    assert abs(mean - 100) < 2.5  # eight standard errors
    assert 17 < spread < 23


def test_without_opendp_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opendp.prelude", None)
    with pytest.raises(InvalidInputError, match="acinus\\[web,public\\]") as raised:
        discrete_gaussian([1], 20.0)
    assert raised.value.code is Code.BAD_SETTING


def test_the_clock_of_these_tests_stands_where_they_say(registry: Registry) -> None:
    assert registry.clock() == datetime(2026, 3, 4, 12, tzinfo=UTC)
