"""What the registry does again and again beside its requests: it outlives every fault, and says each in the log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from protocol.errors import FederationError
from registry_api.logs import fault_of

log = logging.getLogger(__name__)


async def keep_on(name: str, step: Callable[[], Awaitable[object]], *, every_seconds: float) -> None:
    """Take the step, pause, and take it again, until cancelled. A database that is away for a while ends nothing."""
    while True:
        try:
            await step()
        except FederationError as error:
            log.warning("loop.waits", extra={"loop": name, "code": error.code.value})
        except Exception as error:  # noqa: BLE001 — the rim of all loops: what one step meets must not keep the next from being taken
            log.error("loop.fault", extra={"loop": name, **fault_of(error)})  # noqa: TRY400 — the text may quote a row
        await asyncio.sleep(every_seconds)
