"""The registry's composition root: settings in, wired objects out. It alone reads keys and opens the database."""

import base64
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import ValidationError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from identity.provider import Provider
from protocol.codes import Code
from protocol.errors import UnavailableError
from registry_api.alerts.sending import Carrier, Mailbox
from registry_api.database import Database, open_engine
from registry_api.enrolment.authority import Authority
from registry_api.enrolment.relay import Relay
from registry_api.people.attempts import Attempts
from registry_api.people.pace import Pace
from registry_api.people.readlog import ReadLog
from registry_api.people.service import secret_sha256
from registry_api.promoted.shelf import Shelf
from registry_api.releases.archive import Archive
from registry_api.releases.disclosure import Rule
from registry_api.releases.kept import Kept
from registry_api.schema import migrate
from registry_api.settings import RegistrySettings, load_settings
from registry_api.witness import Witness

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Runtime:
    """All that the running registry works with."""

    settings: RegistrySettings
    database: Database
    authority: Authority
    grant_key: ed25519.Ed25519PrivateKey
    counts_key: ed25519.Ed25519PrivateKey
    release_root: bytes
    """The first root of the lists of releases (The Update Framework)."""
    service_token_sha256: str
    shelf: Shelf
    witness: Witness | None
    clock: Clock
    read_log: ReadLog
    pace: Pace
    provider: Provider | None = None
    relay: Relay | None = None
    attempts: Attempts = field(default_factory=Attempts)
    archive: Archive = field(default_factory=Archive)
    followers: Counter[str] = field(default_factory=Counter)
    """How many streams of events each person has open in this process."""
    kept: Kept = field(default_factory=Kept)


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def build_runtime(home: Path, *, clock: Clock = utc_now) -> Runtime:
    """Return the registry of the centre in `home`, its database migrated.

    Raises:
        InvalidInputError: `bad-setting` for the settings file.
        UnavailableError: `missing-certificate` if a key file is missing or unreadable.
    """
    settings = load_settings(home)
    secrets = settings.secrets
    token_file = settings.within(secrets.service_token)
    database = open_database(settings)
    return Runtime(
        settings=settings,
        database=database,
        authority=load_authority(settings),
        grant_key=load_signing_key(settings.within(secrets.grant)),
        counts_key=load_signing_key(settings.within(secrets.counts)),
        release_root=load_root(settings.within(secrets.release_root)),
        service_token_sha256=secret_sha256(read_secret(token_file).decode().strip()),
        shelf=Shelf(settings.within(settings.models.directory)),
        witness=Witness(settings.within(Path(settings.witness.directory))) if settings.witness.directory else None,
        clock=clock,
        read_log=ReadLog(Database(open_engine(settings.database_url)), clock),  # of its own: see there
        pace=Pace(settings.limits.requests_per_minute),
        provider=_open_provider(settings, clock),
        relay=load_relay(settings),
    )


def _open_provider(settings: RegistrySettings, clock: Clock) -> Provider | None:
    """Return the identity provider, if the settings name one."""
    if not settings.oidc.issuer:
        return None
    return Provider(settings.oidc, home=settings.home, origin=settings.http.origin, clock=clock)


def alert_carrier(runtime: Runtime) -> Carrier:
    """Return what delivers the registry's alerts.

    Raises:
        UnavailableError: `missing-certificate` if a file of the settings cannot be read.
    """
    settings = runtime.settings
    alerts = settings.alerts
    ca_file = settings.within(Path(alerts.ca_file)) if alerts.ca_file else None
    try:
        trust = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise _unusable(ca_file or Path(), "is no PEM certificate") from error
    password = ""
    if alerts.smtp_password_file:
        password = read_secret(settings.within(Path(alerts.smtp_password_file))).decode().strip()
    mailbox = Mailbox(
        alerts.smtp_host, alerts.smtp_port, alerts.smtp_sender, alerts.smtp_tls, alerts.smtp_user, password
    )  # fmt: skip
    return Carrier(settings.http.origin, runtime.counts_key, trust, mailbox if alerts.smtp_host else None)


def open_database(settings: RegistrySettings) -> Database:
    """Return the registry's database, brought to the newest schema."""
    engine = open_engine(settings.database_url)
    migrate(engine)
    return Database(engine)


def disclosure_rule(settings: RegistrySettings) -> Rule:
    """Return the disclosure rule with the thresholds of the settings, which are never weaker than the national minimum."""
    return Rule(**settings.disclosure.model_dump())


def load_authority(settings: RegistrySettings) -> Authority:
    """Return the network's CA.

    Raises:
        UnavailableError: `missing-certificate` if its certificate or key cannot be read.
    """
    paths = settings.within(settings.authority.certificate), settings.within(settings.authority.key)
    try:
        certificate = x509.load_pem_x509_certificate(read_secret(paths[0]))
    except ValueError as error:
        raise _unusable(paths[0], "is no PEM certificate") from error
    key = _load_private(paths[1])
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _unusable(paths[1], "is no elliptic-curve key")
    return Authority(certificate=certificate, key=key, node_days=settings.authority.node_days)


def load_relay(settings: RegistrySettings) -> Relay | None:
    """Return the relay as nodes are told of it; none where the network has none.

    Raises:
        UnavailableError: `missing-certificate` if its host key cannot be read.
    """
    relay = settings.relay
    if not relay.address:
        return None
    path = settings.within(relay.host_key)
    try:
        words = read_secret(path).decode("ascii").split()
        return Relay(
            address=relay.address, login=relay.login, host_key=" ".join(words[:2]), first_port=relay.first_port
        )
    except (UnicodeDecodeError, ValidationError) as error:
        raise _unusable(path, "is no OpenSSH public key (Ed25519)") from error


def load_signing_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """Return the Ed25519 private key in a PKCS#8 PEM file.

    Raises:
        UnavailableError: `missing-certificate` if it cannot be read.
    """
    key = _load_private(path)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _unusable(path, "is no Ed25519 key")
    return key


def load_root(path: Path) -> bytes:
    """Return the root of the lists of releases in a file.

    Raises:
        UnavailableError: `missing-certificate` if it cannot be read or is none.
    """
    content = read_secret(path)
    try:
        if Metadata[Root].from_bytes(content).signed.type != Root.type:
            raise _unusable(path, "holds another list than a root")
    except DeserializationError as error:
        raise _unusable(path, "is no root of lists of releases") from error
    return content


def raw_key(key: ed25519.Ed25519PublicKey) -> str:
    """Return the key's 32 bytes, base64url without padding, as enrolment replies carry it."""
    return base64.urlsafe_b64encode(key.public_bytes_raw()).decode().rstrip("=")


def read_secret(path: Path) -> bytes:
    """Return what a key file holds.

    Raises:
        UnavailableError: `missing-certificate` if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, "cannot be read") from error


def _load_private(path: Path) -> object:
    try:
        return serialization.load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(path, "is no unencrypted PEM private key") from error


def _unusable(path: Path, what: str) -> UnavailableError:
    return UnavailableError(
        Code.MISSING_CERTIFICATE,
        f"{path} {what}. `acinus-centre init` makes it; check that it is there and belongs to this user.",
    )
