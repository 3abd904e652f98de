"""Networks on one machine: namespaces joined by virtual cables (Linux, root). What is opened inside one belongs to it."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_NAMES = Path("/run/netns")


class Wires:
    """Network namespaces under names of this process's own; `close` takes them and all in them away.

    Raises:
        OSError: If this machine does not let us have any.
    """

    def __init__(self, *names: str) -> None:
        self._prefix = f"acinus-{os.getpid()}-"
        self._names: list[str] = []
        try:
            for name in names:
                _ip("netns", "add", self._prefix + name)
                self._names.append(name)
                self.ip(name, "link", "set", "lo", "up")
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Take everything away."""
        while self._names:
            _ip("netns", "delete", self._prefix + self._names.pop())

    def join(self, one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
        """Lay a cable between two namespaces; an end is a namespace, a name there, and an address with its prefix length."""
        (here, mine, _), (there, theirs, _) = one, other
        end = ["peer", "name", theirs, "netns", self._prefix + there]
        _ip("link", "add", mine, "netns", self._prefix + here, "type", "veth", *end)
        for place, name, address in (one, other):
            self.ip(place, "addr", "add", address, "dev", name)
            self.ip(place, "link", "set", name, "up")

    def ip(self, place: str, *arguments: str) -> None:
        """Run `ip` in a namespace.

        Raises:
            OSError: What it says, if it does not do it.
        """
        _ip("-n", self._prefix + place, *arguments)

    @contextmanager
    def inside(self, place: str) -> Iterator[None]:
        """Let what this thread opens or starts in the block belong to a namespace: sockets, files of /proc/sys/net, child processes."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        within = os.open(_NAMES / (self._prefix + place), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(within)
            try:
                yield
            finally:
                _enter(outside)
        finally:
            os.close(outside)
            os.close(within)


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise OSError("ip is not installed (iproute2)") from error
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _enter(descriptor: int) -> None:
    """Move this thread into a network namespace (setns(2); Python has it from 3.12 on)."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
