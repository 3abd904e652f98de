"""The hospital's HTTP proxy, if there is one on the way out: named in the settings or the environment, passed by CONNECT (RFC 9110, 9.3.6)."""

import asyncio
import base64
import os
import ssl
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_VARIABLES = ("HTTPS_PROXY", "https_proxy")
_EXCEPTIONS = ("NO_PROXY", "no_proxy")
_HEAD_BYTES = 16 * 1024
_OK = 200

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy listens, and what it is told of who asks."""

    host: str
    port: int
    authorization: str = ""


def adopt_proxy(proxy: str) -> None:
    """Let every program of this process's family go out by one proxy, and none meet it on loopback.

    httpx and gRPC read the environment each by another name, so both are set. Loopback is excepted in any case: the SuperNode, the runner
    and the forwarder speak to one another there.

    Args:
        proxy: `http://host:port` of the settings; empty leaves what the environment says.
    """
    chosen = proxy or getproxies_environment().get("https", "")
    excepted = [name for name in getproxies_environment().get("no", "").split(",") if name.strip()]
    excepted += [name for name in LOOPBACK if name not in excepted]
    for variable in _EXCEPTIONS:
        os.environ[variable] = ",".join(excepted)
    for variable in _VARIABLES if chosen else ():
        os.environ[variable] = chosen


def proxy_for(host: str) -> Proxy | None:
    """Return the proxy through which `host` is reached; None for a direct way.

    Raises:
        InvalidInputError: `bad-setting` if it is no `http://` address.
    """
    address = getproxies_environment().get("https", "")
    if not address or proxy_bypass(host):
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise InvalidInputError(
            Code.BAD_SETTING, "The proxy must be written http://HOST:PORT; correct [network] proxy or HTTPS_PROXY."
        )
    return Proxy(parts.hostname, parts.port, _basic(parts.username, parts.password))


async def dial(host: str, port: int, context: ssl.SSLContext) -> Streams:
    """Open TLS to `host`, through the proxy where there is one.

    Raises:
        UnavailableError: `peer-unreachable` if the proxy does not let us through.
        OSError: If nobody answers, or the certificate is not the one expected.
    """
    if proxy_for(host) is None:
        return await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    reader, writer = await dial_raw(host, port)
    try:
        await writer.start_tls(context, server_hostname=host)
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def dial_raw(host: str, port: int) -> Streams:
    """Open TCP to `host`, through the proxy where there is one.

    Raises:
        UnavailableError: `peer-unreachable` if the proxy does not let us through.
        OSError: If nobody answers.
    """
    proxy = proxy_for(host)
    if proxy is None:
        return await asyncio.open_connection(host, port)
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port, limit=_HEAD_BYTES)
    try:
        await _connect(reader, writer, proxy, f"{host}:{port}")
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: Proxy, target: str) -> None:
    """Ask the proxy for a tunnel to `target`, `host:port`.

    Raises:
        UnavailableError: `peer-unreachable` if it does not give one.
    """
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{proxy.authorization}\r\n".encode("ascii"))
    await writer.drain()
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(None, 2)[1])
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
        raise _refused(proxy, target, "does not answer as a proxy does") from error
    if status != _OK:
        raise _refused(proxy, target, f"answers {status}")


def _refused(proxy: Proxy, target: str, how: str) -> UnavailableError:
    return UnavailableError(
        Code.PEER_UNREACHABLE,
        f"The proxy {proxy.host}:{proxy.port} {how} when asked for {target}. Let it pass CONNECT to that name and port.",
    )


def _basic(user: str | None, password: str | None) -> str:
    """Return the header line of basic authentication (RFC 7617), empty without a user."""
    if user is None:
        return ""
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}\r\n"
