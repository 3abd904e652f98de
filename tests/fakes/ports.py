"""Ports for what tests start: of a worker's own range, so that no two programs of neighbouring tests are given the same one."""

import os
import random
import socket
from collections.abc import Iterator

FIRST, EACH = 10_000, 1_200
"""Below the ranges of the demo and of the federation's tests (21,000 upwards) and of outgoing connections (32,768 upwards)."""


def free_port() -> int:
    """Return a port on which nobody listens, and which no other test is given until a thousand others were."""
    return next(port for port in _ports if _is_free(port))


def _own_range() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 9
    start = random.randrange(EACH)  # another run may be under way beside this one
    while True:
        for offset in range(EACH):
            yield FIRST + worker * EACH + (start + offset) % EACH


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


_ports = _own_range()
