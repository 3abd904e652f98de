"""What the relay costs a reader: a study from a hospital far away through relay and tunnel, against a direct connection over the same line.

The line between hospital and relay is one of 100 Mbit/s and 80 ms, packet by packet (`bench/far.py`: real TCP with its slow start, a queue of 100 ms). The relay
is `acinus-centre relay run` with stock HAProxy and sshd, the node's end is `acinus-node run --only tunnel` with stock ssh; the reader stands beside the
relay. *Direct* is the same reader and the same TLS server without the two, as if the hospital had opened a port. One file of 150 MiB, the size of 300 slices of
512 × 512, over a new TLS connection each time; the clock runs from before the connection to the last byte.

Goal: `line_share` ≥ 0.8, the share of the line's 100 Mbit/s that arrives as the file through the relay. Headers of TCP and IP alone take 0.035.
"""

import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.far import MTU, QUEUE_S, RATE_BITS, ROUND_TRIP_S, long_line
from bench.table import Goal, Table, in_turns, main, median_ratio
from bench.wires import Wires
from tests.fakes import relay as fakes

GOALS = {"line_share": Goal(0.8, at_most=False)}
MEGABYTES, QUICK_MEGABYTES = 150, 100
HOSPITAL, RELAY = "10.20.0.2", "10.20.0.1"
RELAY_OUTSIDE, READER = "203.0.113.1", "203.0.113.9"


def measure(quick: bool) -> Table:
    """Fetch the file by both ways in turns."""
    table = Table(goals=GOALS)
    reason = fakes.why_not()
    if reason:
        table.remarks.append(f"Nothing was measured: {reason}.")
        return table
    size = (QUICK_MEGABYTES if quick else MEGABYTES) << 20
    with village(size) as reader:
        waits = {way: statistics.median(reader.fetch(way, 1)[0] for _ in range(3)) for way in (RELAY_OUTSIDE, HOSPITAL)}
        seconds = in_turns(
            {"relay": lambda: reader.fetch(RELAY_OUTSIDE, size), "direct": lambda: reader.fetch(HOSPITAL, size)},
            rounds=1 if quick else 3,
            warm_up=0 if quick else 1,
        )
    for case, address in (("relay", RELAY_OUTSIDE), ("direct", HOSPITAL)):
        table.add(case, "file", statistics.median(seconds[case]), "s")
        table.add(case, "rate", size * 8 / statistics.median(seconds[case]) / 1e6, "Mbit/s")
        table.add(case, "first byte", waits[address] * 1000, "ms")
    table.ratios["line_share"] = statistics.median(size * 8 / RATE_BITS / one for one in seconds["relay"])
    table.ratios["line_share_direct"] = statistics.median(size * 8 / RATE_BITS / one for one in seconds["direct"])
    table.ratios["relay_to_direct"] = median_ratio(seconds["relay"], seconds["direct"])
    table.remarks.append(
        f"{size >> 20} MiB; line {RATE_BITS / 1e6:g} Mbit/s, {ROUND_TRIP_S * 1000:g} ms, queue {QUEUE_S * 1000:g} ms, packets of {MTU} bytes, no loss but "
        f"by a full queue; congestion control {Path('/proc/sys/net/ipv4/tcp_congestion_control').read_text().strip()}."
    )
    return table


class Reader:
    """Fetches over TLS, by whichever address, and trusts the hospital's authority."""

    def __init__(self, wires: Wires, authority: Path) -> None:
        self._wires = wires
        self._trust = ssl.create_default_context(cafile=authority)

    def fetch(self, address: str, size: int) -> tuple[float, int]:
        """Fetch `size` bytes; return the seconds to the first of them and how many came.

        Raises:
            OSError: If fewer came.
        """
        began = time.perf_counter()
        port = fakes.RELAY_PORT if address == RELAY_OUTSIDE else fakes.GATEWAY_PORT
        with self._wires.inside("reader"):
            plain = socket.create_connection((address, port), 10)
        with self._trust.wrap_socket(plain, server_hostname=fakes.NAME) as opened:
            opened.sendall(f"{size}\n".encode())
            space = memoryview(bytearray(1 << 18))
            came = opened.recv_into(space)
            first = time.perf_counter() - began
            while came < size and (more := opened.recv_into(space)):
                came += more
        if came < size:
            raise OSError(f"{came} bytes of {size} came")
        return first, came


@contextmanager
def village(size: int) -> Iterator[Reader]:
    """Hospital, long line, relay and reader, with the tunnel open and a server of `size` bytes at the hospital."""
    folder = Path(tempfile.mkdtemp(prefix="acinus-bench-relay-"))  # the relay's account must be able to come in
    folder.chmod(0o711)
    centre, node, sites = folder / "centre", folder / "node", folder / "sites.json"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        wires = Wires("hospital", "relay", "reader")
        stack.callback(wires.close)
        fakes.make_node(node, fakes.make_centre(centre, RELAY))
        fakes.list_sites(sites, [fakes.entry_of(node)])
        fakes.own(centre)
        stack.enter_context(long_line(wires, ("hospital", f"{HOSPITAL}/24"), ("relay", f"{RELAY}/24")))
        wires.join(("relay", "r1", f"{RELAY_OUTSIDE}/24"), ("reader", "d0", f"{READER}/24"))
        wires.ip("hospital", "route", "add", "default", "via", RELAY)
        wires.ip("reader", "route", "add", "default", "via", RELAY_OUTSIDE)
        with wires.inside("relay"):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        registry = fakes.serve(
            wires,
            "relay",
            fakes.REGISTRY_PORT,
            (centre / "pki" / "registry.pem", centre / "pki" / "registry.key"),
            fakes.registry_of(sites),
        )
        stack.callback(registry.shutdown)
        stack.callback(end, server(wires, node / "keys", size))
        stack.callback(end, fakes.start_relay(wires, centre))
        stack.callback(end, fakes.start_node(wires, node))
        fakes.wait_until(lambda: fakes.is_open(node))
        yield Reader(wires, node / "keys" / "gateway-ca.pem")


def server(wires: Wires, keys: Path, size: int) -> "subprocess.Popen[bytes]":
    """Start a TLS server at the hospital, in a process of its own, that sends as many bytes as it is asked for."""
    command = [sys.executable, "-P", "-m", "bench.sender", str(keys), str(fakes.GATEWAY_PORT), str(size)]
    with wires.inside("hospital"):
        return subprocess.Popen(command)


def end(program: "subprocess.Popen[bytes]") -> None:
    """End a program, by force if it does not heed."""
    program.terminate()
    try:
        program.wait(8)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


if __name__ == "__main__":
    main("relay", __doc__ or "", measure)
