"""What the stock OpenSSH client is told of the tunnel: one file for one relay, and nothing of the machine's own settings."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from client.gate.keys import TUNNEL_KEY
from client.gate.proxy import proxy_for
from client.store.files import write_durably
from protocol.codes import Code
from protocol.enrolment import Address, RelayPin
from protocol.errors import InvalidInputError

CONFIG, KNOWN_HOSTS = "config", "known_hosts"
RELAY = "relay"
"""The relay's name in these files: it is known by its key, whatever address leads to it."""

_CONFIG = """\
# Written anew by `acinus-node run --only tunnel`; [relay] in node.toml says where to.
Host {relay}
    HostName {host}
    Port {port}
    User {login}
    ConnectTimeout 4
    ConnectionAttempts 1
    ServerAliveInterval 5
    ServerAliveCountMax 2
    Compression no
    IPQoS none

    # One thing is asked for: that the relay's loopback port of this site leads to the gateway.
    RemoteForward localhost:{site_port} {gateway}
    ExitOnForwardFailure yes
    SessionType none
    RequestTTY no
    ForwardAgent no
    ForwardX11 no
    Tunnel no
    ControlMaster no
    ControlPath none
    PermitLocalCommand no
    EscapeChar none

    # The relay is known by the key that enrolment pinned, and by nothing else.
    HostKeyAlias {relay}
    HostKeyAlgorithms ssh-ed25519
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    VerifyHostKeyDNS no
    CheckHostIP no

    # And we by ours.
    IdentityFile {key}
    IdentitiesOnly yes
    IdentityAgent none
    PreferredAuthentications publickey
    PubkeyAcceptedAlgorithms ssh-ed25519
    BatchMode yes
    LogLevel DEBUG1
"""

_THROUGH_PROXY = """\

    # Through the hospital's proxy: the program asks for the way and hands the open socket over.
    ProxyCommand {command} %h %p
    ProxyUseFdpass yes
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Both ends of the tunnel, and the key that opens it."""

    relay: Address
    pin: RelayPin
    gateway: str
    """`host:port` on which the gateway listens, seen from this machine."""
    keys: Path


def write_config(folder: Path, ends: Ends) -> list[str]:
    """Write the client's files into `folder` and return the command that opens the tunnel.

    Raises:
        InvalidInputError: `bad-setting` if a path cannot be written into such a file, or the proxy's address is malformed.
        UnavailableError: `disk-full`.
    """
    host, _, port = ends.relay.rpartition(":")
    text = _CONFIG.format(
        relay=RELAY,
        host=host,
        port=port,
        login=ends.pin.login,
        site_port=ends.pin.port,
        gateway=ends.gateway,
        known_hosts=_quoted(folder / KNOWN_HOSTS),
        key=_quoted(ends.keys / TUNNEL_KEY),
    )
    if proxy_for(host) is not None:
        python = shlex.quote(sys.executable).replace("%", "%%")
        text += _THROUGH_PROXY.format(command=f"{python} -P -m client.gate.passage")
    _keep(folder / KNOWN_HOSTS, f"{RELAY} {ends.pin.host_key}\n".encode())
    _keep(folder / CONFIG, text.encode())
    return ["ssh", "-N", "-T", "-F", str(folder / CONFIG), RELAY]


def _keep(path: Path, content: bytes) -> None:
    """Write a file that says something else so far: the tunnel is dialled again also on a disk that is full."""
    if not (path.is_file() and path.read_bytes() == content):
        write_durably(path, content)


def _quoted(path: Path) -> str:
    """Return a path as ssh_config(5) takes it: in quotation marks, `%` doubled."""
    text = str(path.resolve())
    if '"' in text or "\n" in text:
        raise InvalidInputError(
            Code.BAD_SETTING, "The node's home has a quotation mark or a line break in its path. Move it elsewhere."
        )
    return '"' + text.replace("%", "%%") + '"'
