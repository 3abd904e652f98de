"""A TLS front before a plain HTTP server, as hospitals put one before an archive, that can be told to fail in the ways networks fail.

It passes bytes both ways and understands only where a request begins. (Debian's Orthanc 1.10 dies at the first TLS handshake of its own.)
"""

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from client.gate.keys import GATEWAY_CERTIFICATE, GATEWAY_KEY

Fault = Callable[[bytes, ssl.SSLSocket], bool]
"""Gets the head of a request and the line to the client; returns True once it has answered, or spoilt, the connection itself."""


@dataclass
class Front:
    """`fault` may be set while it runs; `cut` is how many bytes of each answer pass before the line breaks, for heads that `cuts` names."""

    port: int = 0
    upstream: int = 0
    fault: Fault | None = None
    cut: int = 0
    cuts: bytes = b"\0"
    heads: list[bytes] = field(default_factory=list)
    down: bool = False


def answering(content: bytes, kind: str = "application/dicom+json", status: str = "200 OK") -> Fault:
    """Answer every request with this."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"

    def fault(_head: bytes, client: ssl.SSLSocket) -> bool:
        client.sendall(head.encode() + content)
        return True

    return fault


@contextmanager
def running_front(keys: Path, upstream: int) -> Iterator[Front]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / GATEWAY_CERTIFICATE, keys / GATEWAY_KEY)
    listener = socket.create_server(("127.0.0.1", 0))
    front = Front(port=listener.getsockname()[1], upstream=upstream)

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            if front.down:
                raw.close()
            else:
                threading.Thread(target=_serve, args=(front, context, raw), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _serve(front: Front, context: ssl.SSLContext, raw: socket.socket) -> None:
    """Pass bytes both ways in one thread: a TLS connection must not be read and written by two at once."""
    with suppress(OSError, ssl.SSLError), context.wrap_socket(raw, server_side=True) as client:
        with socket.create_connection(("127.0.0.1", front.upstream)) as server:
            left = -1
            while True:
                ready = [client] if client.pending() else select.select([client, server], [], [])[0]
                if client in ready:
                    chunk = client.recv(1 << 16)
                    if not chunk:
                        return
                    head = chunk.split(b"\r\n", 1)[0]
                    if chunk[:4] in {b"GET ", b"POST"}:
                        front.heads.append(head)
                        if front.fault is not None and front.fault(chunk, client):
                            break
                        left = front.cut if front.cuts in head else -1
                    server.sendall(chunk)
                if server in ready:
                    chunk = server.recv(1 << 14)
                    passed = chunk if left < 0 else chunk[:left]
                    left = left if left < 0 else left - len(passed)
                    client.sendall(passed)
                    if not chunk or left == 0:
                        break
        client.unwrap()
