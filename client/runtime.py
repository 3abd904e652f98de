"""The node's parts by name, each run in a process of its own until it is told to stop."""

import logging
import threading
from collections.abc import Callable

from client.settings import NodeSettings
from client.wiring.centre import run_link, run_runner, run_supernode, run_tunnel
from client.wiring.doors import run_console, run_gateway
from client.wiring.imaging import run_context, run_pacs, run_receiver, run_stow, run_worker

log = logging.getLogger(__name__)

Part = Callable[[NodeSettings, threading.Event], None]
"""Wires one part in this process and runs it until the event is set."""

_PARTS: dict[str, Part] = {
    "receiver": run_receiver,
    "worker": run_worker,
    "link": run_link,
    "supernode": run_supernode,
    "runner": run_runner,
    "gateway": run_gateway,
    "console": run_console,
    "stow": run_stow,
    "pacs": run_pacs,
    "context": run_context,
    "tunnel": run_tunnel,
}


def run_part(name: str, settings: NodeSettings, stop: threading.Event) -> None:
    """Wire the part called `name` and run it until `stop` is set.

    Raises:
        FederationError: If it cannot start, or cannot go on.
    """
    log.info("part.started", extra={"part": name})
    _PARTS[name](settings, stop)
    log.info("part.ended", extra={"part": name})
