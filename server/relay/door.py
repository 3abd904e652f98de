"""Tells a running HAProxy which names lead where, by its runtime API: nobody's connection is cut because a site joined."""

import os
import socket
from pathlib import Path

from protocol.codes import Code
from protocol.errors import UnavailableError
from server.relay.files import NAMES, SOCKET
from server.relay.plan import Plan

_SECONDS = 5.0


def follow(folder: Path, plan: Plan) -> None:
    """Make HAProxy's map equal to the plan.

    Raises:
        UnavailableError: `peer-unreachable` if HAProxy does not answer.
    """
    wanted = {route.name: str(route.port) for route in plan.routes}
    present = _present(folder)
    for name in present.keys() - wanted.keys():
        ask(folder, f"del map {NAMES} {name}")
    for name, port in wanted.items():
        if name not in present:
            ask(folder, f"add map {NAMES} {name} {port}")
        elif present[name] != port:
            ask(folder, f"set map {NAMES} {name} {port}")


def _present(folder: Path) -> dict[str, str]:
    """Return the map as HAProxy has it: lines of an address in memory, the name and the port."""
    lines = [line.split() for line in ask(folder, f"show map {NAMES}").splitlines()]
    return {words[1]: words[2] for words in lines if len(words) == 3}  # noqa: PLR2004 - see above


def ask(folder: Path, command: str) -> str:
    """Return HAProxy's answer to one command.

    Raises:
        UnavailableError: `peer-unreachable`.
    """
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_SECONDS)
            line.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")  # a socket's own path may not be longer than 107 bytes
            line.sendall(f"{command}\n".encode())
            answer = b"".join(iter(lambda: line.recv(65_536), b""))
    except OSError as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, "HAProxy's runtime API does not answer; see haproxy.log."
        ) from error
    finally:
        os.close(descriptor)
    return answer.decode("utf-8", "replace")
