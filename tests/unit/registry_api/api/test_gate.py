"""More requests at once than threads and connections: they take turns, and all of them are answered."""

import asyncio

import anyio.to_thread
import httpx

from registry_api.api.gate import SESSIONS_MAX, Gate
from registry_api.main import create_app
from registry_api.people.roles import Role
from tests.unit.registry_api.conftest import ORIGIN, Registry


async def most_inside(gate: Gate, *, writes: bool) -> int:
    """How many of thirty get in before anybody has left."""
    inside: list[int] = []
    leave = asyncio.Event()

    async def go(number: int) -> None:
        async with gate.turn(writes=writes):
            inside.append(number)
            await leave.wait()

    tasks = [asyncio.create_task(go(number)) for number in range(30)]
    for _ in range(5):
        await asyncio.sleep(0)
    most = len(inside)
    leave.set()
    await asyncio.gather(*tasks)
    assert inside == list(range(30)), "in the order in which they came"
    return most


def test_one_writes_where_one_can_and_else_as_many_as_there_are_connections() -> None:
    assert asyncio.run(most_inside(Gate(single_writer=True), writes=True)) == 1
    assert asyncio.run(most_inside(Gate(single_writer=False), writes=True)) == SESSIONS_MAX
    assert asyncio.run(most_inside(Gate(single_writer=True), writes=False)) == SESSIONS_MAX


def test_more_writers_than_threads_are_all_answered(registry: Registry) -> None:
    """Two threads and twelve writers: if they waited for SQLite's lock inside the threads, its holder would have none to go on with."""
    reader = registry.add(Role.READER)
    path, headers = f"/v1/readers/{reader.person_id}/declaration", {"Authorization": f"Bearer {reader.api_key}"}

    async def all_at_once() -> list[int]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 2
        transport = httpx.ASGITransport(create_app(registry.runtime))
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as http:
            puts = (http.put(path, headers=headers, json={"says": "nothing"}) for _ in range(12))
            return [answer.status_code for answer in await asyncio.gather(*puts)]

    assert asyncio.run(all_at_once()) == [204] * 12
