"""`python -m client.gate.passage HOST PORT`: asks the hospital's proxy for a way and hands the open socket to ssh (`ProxyUseFdpass`).

So the tunnel's bytes go through ssh alone and are not copied by another process.
"""

import asyncio
import os
import socket
import sys

from client.gate.proxy import dial_raw
from protocol.errors import FederationError

_SECONDS = 10.0
"""ssh waits for the socket as long as we live: its own patience (`ConnectTimeout`) begins when it has one."""


async def hand_over(host: str, port: int, output: int) -> None:
    """Open the way to `host` and send its socket over the Unix socket `output`, as ssh reads it: one byte and the descriptor.

    Raises:
        UnavailableError: `peer-unreachable` if the proxy does not let us through.
        OSError: If nobody answers; TimeoutError if the proxy takes the connection and says nothing.
    """
    async with asyncio.timeout(_SECONDS):
        _, writer = await dial_raw(host, port)
    opened = writer.get_extra_info("socket")
    with socket.socket(fileno=os.dup(output)) as ssh:
        await asyncio.to_thread(socket.send_fds, ssh, [b"\0"], [opened.fileno()])


def main() -> None:
    """Do it for the host and the port on the command line."""
    try:
        asyncio.run(hand_over(sys.argv[1], int(sys.argv[2]), sys.stdout.fileno()))
    except (FederationError, OSError) as error:
        raise SystemExit(f"no way through the proxy: {str(error) or type(error).__name__}") from error


if __name__ == "__main__":
    main()
