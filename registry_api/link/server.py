"""Opens the link's port: gRPC over TLS, client certificate required."""

import socket

import grpc

from protocol.codes import Code
from protocol.errors import UnavailableError
from protocol.link_pb2_grpc import add_LinkServicer_to_server
from registry_api.keyfiles import read_secret
from registry_api.link.courier import Courier
from registry_api.link.servicer import RegistryLink
from registry_api.runtime import Runtime
from registry_api.settings import LinkSettings

_MESSAGE_MAX = 256 * 1024
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # with it, a second registry on the same port would go unnoticed
    ("grpc.max_receive_message_length", _MESSAGE_MAX),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)


def open_link(runtime: Runtime, courier: Courier) -> grpc.aio.Server:
    """Return the link's server, its port taken; the caller starts it.

    Raises:
        UnavailableError: `port-taken`, or `missing-certificate` if gRPC cannot use the certificate.
    """
    http, link = runtime.settings.http, runtime.settings.link
    _refuse_taken(link)
    server = grpc.aio.server(options=_OPTIONS)
    add_LinkServicer_to_server(RegistryLink(runtime, courier), server)  # type: ignore[no-untyped-call]
    credentials = grpc.ssl_server_credentials(
        [(read_secret(runtime.settings.within(http.key)), read_secret(runtime.settings.within(http.certificate)))],
        root_certificates=runtime.authority.pem.encode(),
        require_client_auth=True,
    )
    try:
        port = server.add_secure_port(f"{link.host}:{link.port}", credentials)
    except RuntimeError as error:
        raise _taken(link.port) from error
    if port == 0:
        raise _taken(link.port)
    return server


def _refuse_taken(link: LinkSettings) -> None:
    """Try the port first: gRPC reports a taken one on standard error in words of its own."""
    try:
        socket.create_server((link.host, link.port)).close()
    except OSError as error:
        raise _taken(link.port) from error


def _taken(port: int) -> UnavailableError:
    return UnavailableError(
        Code.PORT_TAKEN, f"Port {port} (the link) is taken. Stop the other program or set another port under [link]."
    )
