"""Signs once in a while that the lists of releases are the newest, as long as the centre runs: what nobody signs any more expires at the nodes."""

import logging
import threading
from collections.abc import Callable

from protocol.errors import FederationError

AGAIN_SECONDS = 6 * 3600.0
"""Nodes believe a signature for a week; a centre that is away over a long weekend is no alarm."""

_FIRST_SECONDS, _LONGEST_SECONDS = 1.0, 300.0
"""Between tries that fail: the registry takes some seconds to start."""

log = logging.getLogger(__name__)


def keep_fresh(renew: Callable[[], None], ended: threading.Event) -> None:
    """Call `renew` now and again until `ended` is set; what fails is tried again, ever more patiently."""
    failed = _FIRST_SECONDS
    wait = 0.0
    while not ended.wait(wait):
        try:
            renew()
            wait, failed = AGAIN_SECONDS, _FIRST_SECONDS
            log.info("releases.signed")
        except Exception as error:  # noqa: BLE001 - a thread that died of a disk's fault would be missed when all lists have expired
            wait, failed = failed, min(2 * failed, _LONGEST_SECONDS)
            why = {"code": error.code.value} if isinstance(error, FederationError) else {"fault": type(error).__name__}
            log.warning("releases.not-signed", extra={**why, "again_in_seconds": wait})
