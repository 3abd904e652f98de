"""What the relay's two stock programs are told: HAProxy's and OpenSSH's configuration, and the two lists that follow the enrolled sites."""

import re
import shutil
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.codes import Code
from protocol.errors import UnavailableError
from server.files import unwritable, write_durably
from server.relay.plan import Plan, Route
from server.settings import CentreSettings

HAPROXY, SSHD, KEYS, NAMES = "haproxy.cfg", "sshd_config", "authorized_keys", "names.map"
SOCKET = "haproxy.sock"
"""HAProxy's runtime API; its own folder is closed to others."""

_HAPROXY = """\
# Written by `acinus-centre relay config`. TLS is not opened here: there is no certificate and no key in this file.
global
    fd-hard-limit 50000
    log stderr format raw local0 notice
    stats socket unix@{socket} mode 600 level admin
    stats timeout 10s

defaults
    mode tcp
    log global
    option tcplog
    option dontlog-normal               # who reads at which hospital is not written down
    option tcpka
    timeout connect 5s
    timeout client 30m
    timeout server 30m
    timeout client-fin 30s

# One port for both: a hospital lets 443 out, and readers' networks do.
frontend door
    bind {host}:{port}
    tcp-request inspect-delay 5s
    stick-table type ipv6 size 100k expire 60s store conn_cur
    tcp-request connection track-sc0 src
    tcp-request connection reject if {{ sc0_conn_cur gt 400 }}
    acl is_ssh req.payload(0,4) -m bin 5353482d
    acl is_tls req.ssl_hello_type 1
    tcp-request content reject if {{ req.len ge 4 }} !is_ssh !{{ req.payload(0,1) -m bin 16 }}
    tcp-request content track-sc1 src table knocks if is_ssh
    tcp-request content reject if is_ssh {{ sc1_conn_rate(knocks) gt 40 }}
    tcp-request content accept if is_ssh
    tcp-request content set-var(sess.port) req.ssl_sni,lower,map_str_int({names}) if is_tls
    tcp-request content reject if is_tls !{{ var(sess.port) -m found }}
    tcp-request content accept if is_tls
    tcp-request content reject if WAIT_END
    use_backend tunnels if is_ssh
    default_backend hospitals

backend knocks
    stick-table type ipv6 size 100k expire 60s store conn_rate(10s)

backend tunnels
    server sshd 127.0.0.1:{tunnel_port}

# Where a hospital's tunnel ends on this machine's loopback; the name in the reader's hello has chosen it.
backend hospitals
    tcp-request content set-dst str(127.0.0.1)
    tcp-request content set-dst-port var(sess.port)
    server tunnel 0.0.0.0:0
"""

_SSHD = """\
# Written by `acinus-centre relay config`. This server opens one loopback port for each known key, and does nothing else.
ListenAddress 127.0.0.1:{tunnel_port}
HostKey {host_key}
HostKeyAlgorithms ssh-ed25519
PidFile none
UsePAM no
UseDNS no
# The centre's folder is closed to others; StrictModes would also judge the folders above it.
StrictModes no

AuthorizedKeysFile {keys}
AuthenticationMethods publickey
PubkeyAuthentication yes
PubkeyAcceptedAlgorithms ssh-ed25519
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxAuthTries 2
LoginGraceTime 10
MaxStartups 200:30:400

AllowTcpForwarding remote
GatewayPorts no
PermitOpen none
AllowStreamLocalForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
PermitTTY no
PermitUserRC no
PermitUserEnvironment no
ForceCommand /bin/false
MaxSessions 0

ClientAliveInterval 3
ClientAliveCountMax 3
Compression no
IPQoS none
LogLevel VERBOSE
"""

STOCK = {"haproxy": "haproxy", "sshd": "openssh-server"}
"""The programs of the system that a relay is made of, and their packages."""

_FOLDER_MODE = 0o700
_SBIN = "/usr/sbin:/sbin"


def write_config(settings: CentreSettings) -> Path:
    """Write what does not change with the sites, and the relay's host key if there is none; return the folder.

    Raises:
        UnavailableError: `disk-full`.
    """
    relay, folder = settings.relay, folder_of(settings)
    host_key = settings.within(relay.host_key)
    make_host_key(host_key)
    words = {
        "host": relay.host,
        "port": relay.port,
        "tunnel_port": relay.tunnel_port,
        "socket": SOCKET,
        "names": NAMES,
    }
    write_durably(folder / HAPROXY, _HAPROXY.format(**words).encode())
    paths = {"host_key": f'"{host_key}"', "keys": f'"{folder / KEYS}"'.replace("%", "%%")}  # only the second has tokens
    write_durably(folder / SSHD, _SSHD.format(tunnel_port=relay.tunnel_port, **paths).encode())
    for name in (KEYS, NAMES):
        if not (folder / name).exists():
            write_durably(folder / name, b"")
    return folder


def write_plan(folder: Path, plan: Plan) -> None:
    """Write who may open a tunnel, and which name leads to which. OpenSSH reads its list at every login.

    Raises:
        UnavailableError: `disk-full`; the old list stays then.
    """
    write_durably(folder / KEYS, authorized_keys(plan).encode())
    write_durably(folder / NAMES, names(plan).encode())


def authorized_keys(plan: Plan) -> str:
    """Return OpenSSH's list: each key may listen on its own site's port and on nothing else (sshd(8), "authorized_keys")."""
    return "".join(
        f'restrict,port-forwarding,permitlisten="localhost:{route.port}" {route.key} {route.site}\n'
        for route in plan.routes
    )


_KEY_LINE = re.compile(r'restrict,port-forwarding,permitlisten="localhost:([0-9]+)" (ssh-ed25519 [A-Za-z0-9+/]+) (\S+)')


def routes_in(folder: Path) -> tuple[Route, ...]:
    """Return the routes that a relay wrote down last: by these its tunnel server lets in, also while the registry does not answer."""
    lines = ((folder / name).read_text(encoding="utf-8").splitlines() for name in (KEYS, NAMES))
    keys, named = (list(lines_of) for lines_of in lines)
    names_by_port = {port: name for name, _, port in (line.partition(" ") for line in named)}
    found = (_KEY_LINE.fullmatch(line) for line in keys)
    return tuple(Route(one[3], names_by_port.get(one[1], ""), int(one[1]), one[2]) for one in found if one)


def names(plan: Plan) -> str:
    """Return HAProxy's map: the name in the TLS hello, and the port on loopback to which it leads."""
    return "".join(f"{route.name} {route.port}\n" for route in plan.routes)


def make_host_key(path: Path) -> None:
    """Make the relay's host key (Ed25519, OpenSSH's format) if there is none; `.pub` beside it is what nodes pin.

    Raises:
        UnavailableError: `disk-full`.
    """
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        write_durably(path.with_suffix(".pub"), public + b"\n")
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        write_durably(path, private)


def folder_of(settings: CentreSettings) -> Path:
    """Return the relay's folder, made if it is not there.

    Raises:
        UnavailableError: `disk-full`.
    """
    folder = settings.within(settings.relay.directory)
    try:
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def stock_program(name: str, package: str) -> str:
    """Return the path of a program of the system; OpenSSH's server wants to be started by it.

    Raises:
        UnavailableError: `node-fault` if it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path=_SBIN)
    if found is None:
        raise UnavailableError(Code.NODE_FAULT, f"{name} is not installed. Install the package {package}.")
    return found
