"""A long line between two networks of this machine, packet by packet: TCP itself feels rate, distance and a queue that overflows.

Two TUN devices, and a process that carries packets from each to the other: at a rate for each direction, half a round trip later, and not at
all if the queue before the line is full. (`bench/line.py` passes whole TCP connections on, and so hides the distance from them.)
"""

import argparse
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.wires import Wires

RATE_BITS, ROUND_TRIP_S = 100e6, 0.080
"""100 Mbit/s, 80 ms."""

QUEUE_S = 0.1
"""How long the queue before the line may become: a router's usual tenth of a second."""

MTU = 1500
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_BATCH = 64
"""Packets read of one device before the other has its turn."""


@dataclass(slots=True)
class Direction:
    """One way of the line: who waits to arrive, and when the last packet that was taken will have left."""

    source: int
    sink: int
    rate_bits: float
    delay_s: float
    free_at: float = 0.0
    lost: int = 0
    under_way: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self, packet: bytes, now: float) -> None:
        """Put a packet onto the line, or lose it if the queue is full."""
        if self.free_at - now > QUEUE_S:
            self.lost += 1
            return
        self.free_at = max(self.free_at, now) + len(packet) * 8 / self.rate_bits
        self.under_way.append((self.free_at + self.delay_s, packet))

    def deliver(self, now: float) -> float:
        """Hand over what has arrived by `now`; return when the next packet arrives."""
        while self.under_way and self.under_way[0][0] <= now:
            _write(self.sink, self.under_way.popleft()[1])
        return self.under_way[0][0] if self.under_way else float("inf")


def carry(one: int, other: int, *, rate_bits: float, round_trip_s: float) -> None:
    """Carry packets between two devices until the process is ended."""
    ways = {
        one: Direction(one, other, rate_bits, round_trip_s / 2),
        other: Direction(other, one, rate_bits, round_trip_s / 2),
    }
    while True:
        now = time.monotonic()
        due = min(way.deliver(now) for way in ways.values())
        ready, _, _ = select.select(list(ways), [], [], max(0.0, min(due - now, 1.0)))
        for device in ready:
            _drain(ways[device])


def _drain(way: Direction) -> None:
    for _ in range(_BATCH):
        try:
            packet = os.read(way.source, MTU)
        except BlockingIOError:
            return
        way.take(packet, time.monotonic())


def _write(device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError:  # the far device's own queue is full, or it went down: the packet is lost, as on a line
        return


@contextmanager
def long_line(wires: Wires, one: tuple[str, str], other: tuple[str, str]) -> Iterator[None]:
    """Lay a long line between two namespaces; an end is a namespace and its address with the prefix length. The device is `far` at both."""
    devices = [_device(wires, place, address) for place, address in (one, other)]
    command = [sys.executable, "-P", "-m", "bench.far", *(str(device) for device in devices)]
    carrier = subprocess.Popen(command, pass_fds=devices)
    try:
        yield
    finally:
        carrier.kill()
        carrier.wait()
        for device in devices:
            os.close(device)


def _device(wires: Wires, place: str, address: str) -> int:
    with wires.inside(place):
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"far", _IFF_TUN | _IFF_NO_PI))
    wires.ip(place, "addr", "add", address, "dev", "far")
    wires.ip(place, "link", "set", "far", "mtu", str(MTU), "txqueuelen", "2000", "up")
    return device


def main() -> None:
    """Carry between the two devices whose descriptors are on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device", nargs=2, type=int)
    one, other = parser.parse_args().device
    carry(one, other, rate_bits=RATE_BITS, round_trip_s=ROUND_TRIP_S)


if __name__ == "__main__":
    main()
