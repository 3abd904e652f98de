"""What goes on beside the requests outlives what it meets, says so without a text, and ends when it is cancelled."""

import asyncio
import logging

import pytest

from protocol.codes import Code
from protocol.errors import UnavailableError
from registry_api.loops import keep_on


def test_a_loop_outlives_every_fault(caplog: pytest.LogCaptureFixture) -> None:
    met: list[Exception] = [UnavailableError(Code.DISK_FULL), ValueError("a row of somebody"), RuntimeError()]
    done = asyncio.Event()

    async def step() -> None:
        if met:
            raise met.pop(0)
        done.set()

    async def go() -> None:
        running = asyncio.create_task(keep_on("test", step, every_seconds=0))
        await asyncio.wait_for(done.wait(), 10)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    with caplog.at_level(logging.WARNING):
        asyncio.run(go())
    said = [(one.msg, vars(one)["loop"], vars(one).get("code") or vars(one)["fault"]) for one in caplog.records]
    assert said == [
        ("loop.waits", "test", "disk-full"),
        ("loop.fault", "test", "ValueError"),
        ("loop.fault", "test", "RuntimeError"),
    ]
    assert all(vars(one)["where"][0].startswith("loops.py:") for one in caplog.records[1:])
    assert "somebody" not in caplog.text
