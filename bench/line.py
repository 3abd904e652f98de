"""`python -m bench.line LISTEN TARGET`: a long line on one machine. Passes TCP between two local ports at a rate and with a delay, in user space.

Each direction of the line has its own rate, shared by all connections; a byte leaves when those before it have, and arrives half a round trip later. Each
connection waits one round trip before its first byte, as a handshake would. What waits to leave is bounded, so senders feel the line (back-pressure). No
loss, no jitter: the kernel's own TCP on both sides never notices the distance, so slow start is not emulated.
"""

import argparse
import asyncio
import contextlib
import time
from dataclasses import dataclass

RATE_BYTES, ROUND_TRIP_S = 100e6 / 8, 0.080
"""100 Mbit/s, 80 ms."""

_CHUNK = 16 * 1024
_IN_FLIGHT = 256
"""Chunks of one connection and direction that may be on the way: 4 MiB, four times the bandwidth-delay product."""


@dataclass(slots=True)
class Direction:
    """One way of the line: when the last byte that was handed to it will have left."""

    rate_bytes: float
    delay_s: float
    free_at: float = 0.0

    def arrival(self, size: int) -> float:
        """Put `size` bytes onto the line and return when they arrive."""
        self.free_at = max(self.free_at, time.monotonic()) + size / self.rate_bytes
        return self.free_at + self.delay_s


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction) -> None:
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)

    async def deliver() -> None:
        while True:
            due, chunk = await on_the_way.get()
            await asyncio.sleep(due - time.monotonic())
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    async def take() -> None:
        while chunk := await reader.read(_CHUNK):
            await on_the_way.put((way.arrival(len(chunk)), chunk))
        await on_the_way.put((way.arrival(0), b""))

    async with asyncio.TaskGroup() as both:
        both.create_task(deliver())
        both.create_task(take())


async def serve(listen: int, target: int, rate_bytes: float = RATE_BYTES, round_trip_s: float = ROUND_TRIP_S) -> None:
    """Serve the line on a port of this machine until it is cancelled."""
    there, back = (Direction(rate_bytes, round_trip_s / 2) for _ in range(2))

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ExceptionGroup), contextlib.closing(writer):
            await asyncio.sleep(round_trip_s)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
            with contextlib.closing(far_writer):
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pass(reader, far_writer, there))
                    both.create_task(_pass(far_reader, writer, back))

    async with await asyncio.start_server(connect, "127.0.0.1", listen) as server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.line")
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.listen, options.target))
