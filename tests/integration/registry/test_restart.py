"""PostgreSQL is restarted under a running registry: who asks meanwhile gets 503, and everything that runs beside goes on after."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from protocol.codes import Code
from protocol.errors import UnavailableError
from registry_api.alerts import watch
from registry_api.api import alerts, quality, reads
from registry_api.link.courier import Courier
from registry_api.main import create_app
from registry_api.people.readlog import ReadLog, readings
from registry_api.people.roles import Role
from registry_api.reading import messenger
from registry_api.runtime import build_runtime
from tests.fakes import postgresql
from tests.fakes.databases import use_database
from tests.integration.registry.test_postgresql import needs_postgresql
from tests.unit.registry_api.conftest import ORIGIN, Clock, Registry, centre_files, home, postgresql_server

__all__ = ["centre_files", "home", "postgresql_server"]
pytestmark = needs_postgresql

LOOPS = {"alerts", "read-log", "reads", "webhooks", "courier"}
COUNTS = "/v1/registry/counts"
PATIENCE_SECONDS = 30


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgresql.Server]:
    with postgresql.serving(tmp_path_factory.mktemp("postgresql")) as started:
        yield started


@pytest.fixture
def registry(server: postgresql.Server, home: Path) -> Iterator[Registry]:
    use_database(home, server.url)
    clock = Clock()
    built = Registry(build_runtime(home, clock=clock), clock)
    for site in ("north-a", "north-b"):
        built.enrol(site)
        built.cases(site, 20)
    built.build()
    yield built
    built.close()


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each loop has ended a round at the database; they all hurry."""
    seen: dict[str, int] = {}
    for module, name in (
        (alerts, "LOOK_SECONDS"),
        (quality, "FLUSH_SECONDS"),
        (reads, "SWEEP_SECONDS"),
        (messenger, "TICK_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.1)

    def counted(module: ModuleType | type, function: str, loop: str) -> None:
        inner: Callable[..., Any] = getattr(module, function)

        def outer(*args: Any, **named: Any) -> Any:
            result = inner(*args, **named)
            seen[loop] = seen.get(loop, 0) + 1
            return result

        monkeypatch.setattr(module, function, outer)

    counted(watch, "take_delivery", "alerts")
    counted(ReadLog, "flush", "read-log")
    counted(reads, "_sweep_once", "reads")
    counted(messenger, "is_any", "webhooks")
    counted(Courier, "_look", "courier")
    return seen


def test_a_restart_ends_nothing_and_loses_no_count(
    server: postgresql.Server, registry: Registry, rounds: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    person = registry.add(Role.MINISTRY, region="XA")
    headers = {"Authorization": f"Bearer {person.api_key}"}
    courier = Courier(registry.runtime.database, registry.clock)
    courier.join("north-a", "0")
    app = create_app(registry.runtime)

    def waiting() -> set[str]:
        return {vars(record)["loop"] for record in caplog.records if record.msg == "loop.waits"}

    async def live_through() -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client,
        ):
            carrying = asyncio.create_task(courier.run())
            assert (await client.get(COUNTS)).status_code == 200
            await until(lambda: rounds.keys() >= LOOPS)
            await asyncio.to_thread(server.stop, "fast")
            [reading] = registry.runtime.read_log._again
            assert registry.runtime.read_log.again(reading)
            registry.clock.pass_(seconds=10)  # what was said a moment ago is said again without asking the database
            await program_and_person_are_told(client)
            await until(lambda: waiting() >= LOOPS)
            rounds.clear()
            await asyncio.to_thread(server.start)
            await until(lambda: rounds.keys() >= LOOPS)
            assert (await client.get(COUNTS)).status_code == 200
            assert not carrying.done()
            carrying.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(live_through())
    assert [vars(record)["fault"] for record in caplog.records if record.msg in {"loop.fault", "request.fault"}] == []
    registry.runtime.read_log.flush()
    with registry.runtime.database.reading() as session:
        [line] = readings(session, since=registry.clock().date() - timedelta(days=1), about=None)
    assert line.times == 3, "one before, one while it was away, one after"


async def program_and_person_are_told(client: httpx.AsyncClient) -> None:
    answer, page = await client.get(COUNTS), await client.get("/registry")
    assert (answer.status_code, answer.json()["code"]) == (503, Code.DATABASE_UNREACHABLE)
    assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    for said in (answer.json()["detail"], page.text):
        assert "database does not answer" in said
        assert "Check that its server runs" in said


def test_only_who_asks_while_it_is_away_is_refused(server: postgresql.Server, registry: Registry) -> None:
    """Lines that were open before the restart are opened anew, not found dead one request after the other."""
    database = registry.runtime.database

    def ask() -> None:
        with database.reading() as session:
            session.connection().exec_driver_sql("SELECT 1")

    ask()
    server.stop("fast")
    with pytest.raises(UnavailableError):
        ask()
    with pytest.raises(UnavailableError), database.writing():
        ask()
    server.start()
    ask()
    server.stop("immediate")
    server.start()
    ask()


async def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < end, "not within the time"
        await asyncio.sleep(0.05)
