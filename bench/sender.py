"""`python -m bench.sender KEYS PORT SIZE`: a TLS server under a gateway's certificate that sends random bytes, as many as it is asked for, up to SIZE."""

import os
import socket
import ssl
import sys
import threading
from pathlib import Path

_CHUNK = 1 << 18


def main() -> None:
    """Serve until the process is ended."""
    keys, port, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "gateway.pem", keys / "gateway.key")
    content = memoryview(os.urandom(size))
    with socket.create_server(("0.0.0.0", port)) as door:  # noqa: S104 - in a network of its own
        while True:
            plain, _ = door.accept()
            threading.Thread(target=_answer, args=(context, plain, content), daemon=True).start()


def _answer(context: ssl.SSLContext, plain: socket.socket, content: memoryview) -> None:
    try:
        with context.wrap_socket(plain, server_side=True) as opened:
            wanted = int(opened.recv(32))
            for start in range(0, wanted, _CHUNK):
                opened.sendall(content[start : min(start + _CHUNK, wanted)])
    except (OSError, ValueError):
        return


if __name__ == "__main__":
    main()
