"""What goes wrong between Flower and us: the error codes of our runner, and what Flower's HTTP clients raise."""

from collections.abc import Callable
from typing import TypeVar

import httpx

from protocol.codes import Code
from protocol.errors import UnavailableError

T = TypeVar("T")

REFUSED_BY_SITE = 1400
"""Flower error code of a refusal; the reason is a code of `protocol/codes.py` and nothing else."""

FAULT_AT_SITE = 1401
"""Flower error code of a fault inside a node; the reason is `node-fault` and nothing else."""


def asked(call: Callable[[], T]) -> T:
    """Run `call`; translate what Flower's HTTP clients raise."""
    try:
        return call()
    except (httpx.HTTPError, ConnectionError) as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, f"Flower does not answer ({type(error).__name__}). Is the other process running?"
        ) from error


def status_of(error: UnavailableError) -> int | None:
    """Return the HTTP status behind an error of `asked`, if there was one."""
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None
