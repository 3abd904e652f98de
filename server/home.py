"""The centre's folder: authority, certificates, secrets and settings, made by `acinus-centre init` as a whole or not at all."""

import ipaddress
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, UnavailableError
from server.authority import certificate_pem, issue_server, make_authority, private_pem, public_pem
from server.catalogue import Catalogue, add_shipped
from server.files import write_durably
from server.relay.files import make_host_key
from server.repository import METADATA, ROOT_KEYS, Keys, make_repository

SERVERS = ("registry", "fleet", "superlink")
SIGNING_KEYS = ("release", "online", "grant", "counts")
ROOTS = "roots"
"""Below `secrets`: the keys that name all others of the catalogue. They are there to be taken away."""
_FOLDERS = ("pki", "secrets", f"secrets/{ROOTS}", "catalogue", "registry-models", "superlink", "runs", "logs")
_HTTP, _LINK, _FLEET, _SUPERLINK = range(4)
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_LAST_PORT = 65_535

CENTRE_TOML = """# The federation side of the centre. Relative paths start at this folder.
[superlink]                     # Flower's SuperLink; loopback only
port = {superlink}

[fleet]                         # where SuperNodes come in; client certificates demanded
host = "{bind}"
port = {fleet}
certificate = "pki/fleet.pem"
key = "pki/fleet.key"

[registry]
origin = "https://{host_name}:{http}"
service_token = "secrets/service.token"

[relay]                         # `acinus-centre relay run`: the way from readers to hospitals; see docs/how-to/relay.md
host = "{bind}"
port = 443

[catalogue]
directory = "catalogue"

[signing]
release_key = "secrets/release.key"   # which releases count
online_key = "secrets/online.key"     # that this is still so: signs every six hours

[witness]
directory = ""                  # when set: what the fleet gateway receives is also written there, for leak audits
"""

REGISTRY_TOML = """# The registry. Relative paths start at this folder.
[http]
host = "{bind}"
port = {http}
origin = "https://{host_name}:{http}"
certificate = "pki/registry.pem"
key = "pki/registry.key"

[link]
host = "{bind}"
port = {link}
address = "{host_name}:{link}"

[fleet]
address = "{host_name}:{fleet}"

[relay]
address = ""                    # HOST:443 of the relay, told to nodes at enrolment; empty while there is none
login = "acinus"                # the account under which the relay runs

[authority]
certificate = "pki/ca.pem"
key = "pki/ca.key"
node_days = 30

[secrets]
grant = "secrets/grant.key"
counts = "secrets/counts.key"
release_root = "catalogue/metadata/1.root.json"  # who may say which releases count
service_token = "secrets/service.token"

[database]
url = "sqlite:///registry.db"   # relative to this folder; a PostgreSQL URL in use

[disclosure]
minimum = 10
rounding = 5
sites = 2
dominance = 0.85

[models]
directory = "registry-models"

[witness]
directory = ""                  # when set: every byte received from outside is also written there, for leak audits
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Where a centre is to stand: four neighbouring ports from `base_port` on (HTTPS, link, fleet gateway, SuperLink) and its name."""

    base_port: int = 8443
    host_name: str = "localhost"

    def __post_init__(self) -> None:
        """Refuse what cannot stand in a certificate or an address.

        Raises:
            InvalidInputError: `bad-setting`.
        """
        if not 1 <= self.base_port <= _LAST_PORT - _SUPERLINK:
            raise InvalidInputError(
                Code.BAD_SETTING, f"--base-port {self.base_port}: four ports from there must exist."
            )
        if not _HOST_NAME.fullmatch(self.host_name):
            raise InvalidInputError(Code.BAD_SETTING, "--host-name must be a DNS name or an IPv4 address.")


def make_home(home: Path, plot: Plot, *, now: datetime) -> None:
    """Make a centre in `home`. It is built beside its place and moved there when it is complete.

    Args:
        home: Must not exist, or be empty.
        plot: Ports and name.
        now: Start of the certificates' life.

    Raises:
        ConflictError: `already-exists` if something is there.
        UnavailableError: `disk-full` if it cannot be written.
        InvalidInputError: `not-found` if the software lacks its starting weights.
    """
    home = home.resolve()
    draft = home.parent / f".{home.name}.{secrets.token_hex(4)}"
    try:
        if home.exists() and (not home.is_dir() or any(home.iterdir())):
            raise ConflictError(
                Code.ALREADY_EXISTS,
                f"{home} is not empty. Nothing was changed; choose another folder or remove it first.",
            )
        draft.mkdir(mode=0o700, parents=True)
        _furnish(draft, plot, now)
        draft.rename(home)
    except OSError as error:
        raise UnavailableError(
            Code.DISK_FULL,
            f"{home} cannot be made ({os.strerror(error.errno or 0)}). Check space and owner of its parent.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _furnish(folder: Path, plot: Plot, now: datetime) -> None:
    for name in _FOLDERS:
        (folder / name).mkdir(mode=0o700)
    _write_certificates(folder / "pki", plot, now)
    make_host_key(folder / "pki" / "relay.key")
    keys = _write_secrets(folder / "secrets")
    roots = write_root_keys(folder / "secrets" / ROOTS)
    shipped = add_shipped(Catalogue(folder / "catalogue", keys.release, lambda: now))
    make_repository(folder / "catalogue" / METADATA, keys, roots, lambda: now).enlist(shipped, keys)
    words = {
        "bind": "127.0.0.1" if _is_loopback(plot.host_name) else "0.0.0.0",  # noqa: S104 - a centre with a name is there to be reached
        "host_name": plot.host_name,
        "http": plot.base_port + _HTTP,
        "link": plot.base_port + _LINK,
        "fleet": plot.base_port + _FLEET,
        "superlink": plot.base_port + _SUPERLINK,
    }
    write_durably(folder / "registry.toml", REGISTRY_TOML.format(**words).encode())
    write_durably(folder / "centre.toml", CENTRE_TOML.format(**words).encode())


def _write_certificates(folder: Path, plot: Plot, now: datetime) -> None:
    authority = make_authority(now)
    write_durably(folder / "ca.pem", certificate_pem(authority.certificate))
    write_durably(folder / "ca.key", private_pem(authority.key))
    for part in SERVERS:
        host_name = "localhost" if part == "superlink" else plot.host_name
        chain, key = issue_server(authority, part=part, host_name=host_name, now=now)
        write_durably(folder / f"{part}.pem", chain)
        write_durably(folder / f"{part}.key", key)


def write_root_keys(folder: Path) -> list[Ed25519PrivateKey]:
    """Make the keys that name all others of the catalogue, and return them.

    Raises:
        UnavailableError: `disk-full`.
    """
    keys = [Ed25519PrivateKey.generate() for _ in range(ROOT_KEYS)]
    for path, key in zip(root_paths(folder), keys, strict=True):
        write_durably(path, private_pem(key))
    return keys


def root_paths(folder: Path) -> list[Path]:
    """Return where in `folder` the root keys lie."""
    return [folder / f"root-{number}.key" for number in range(1, ROOT_KEYS + 1)]


def _write_secrets(folder: Path) -> Keys:
    """Write the signing keys and the service token; return those of the catalogue."""
    keys = {name: Ed25519PrivateKey.generate() for name in SIGNING_KEYS}
    for name, key in keys.items():
        write_durably(folder / f"{name}.key", private_pem(key))
        write_durably(folder / f"{name}.pub", public_pem(key))
    write_durably(folder / "service.token", secrets.token_urlsafe(32).encode())
    return Keys(release=keys["release"], online=keys["online"])


def _is_loopback(host_name: str) -> bool:
    try:
        return ipaddress.ip_address(host_name).is_loopback
    except ValueError:
        return host_name == "localhost"
