"""Which tunnels are open, and the cutting of one: seen from /proc, since OpenSSH has no list of its sessions (Linux)."""

import os
import signal
from collections.abc import Collection
from pathlib import Path

from server.family import family

_LISTEN = "0A"
"""State of a socket in /proc/net/tcp (proc(5))."""

_LOOPBACK = "0100007F"


def open_ports(ports: Collection[int]) -> set[int]:
    """Return those of `ports` on which something listens on loopback."""
    return {port for port in _listeners() if port in ports}


def cut(port: int) -> bool:
    """End the session that listens on a site's `port`, if it descends from this process.

    Returns:
        Whether there was one. What ran through it ends with it.
    """
    inode, own = _listeners().get(port), os.getpid()
    holders = [pid for pid in family(own) - {own} if inode is not None and _holds(pid, inode)]
    for pid in holders:
        os.kill(pid, signal.SIGTERM)
    return bool(holders)


def _listeners() -> dict[int, str]:
    """Return the inode of each socket that listens on 127.0.0.1, by port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    found = {}
    for row in rows:
        address, _, port = row[1].partition(":")
        if row[3] == _LISTEN and address == _LOOPBACK:
            found[int(port, 16)] = row[9]
    return found


def _holds(pid: int, inode: str) -> bool:
    try:
        return any(str(link.readlink()) == f"socket:[{inode}]" for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # it ended while we looked, or is not ours to look into
