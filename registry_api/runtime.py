"""The registry's composition root: settings in, wired objects out."""

import ssl
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from identity.provider import Provider
from registry_api.alerts.sending import Carrier, Mailbox
from registry_api.clock import Clock, utc_now
from registry_api.database import Database, open_engine
from registry_api.enrolment.authority import Authority
from registry_api.enrolment.relay import Relay
from registry_api.keyfiles import load_authority, load_relay, load_signing_key, read_secret, unusable
from registry_api.people.attempts import Attempts
from registry_api.people.flows import StoredFlows
from registry_api.people.pace import Pace
from registry_api.people.readlog import ReadLog
from registry_api.people.service import secret_sha256
from registry_api.promoted.shelf import Shelf
from registry_api.releases.archive import Archive
from registry_api.releases.disclosure import Rule
from registry_api.releases.kept import Kept
from registry_api.schema import open_database
from registry_api.settings import RegistrySettings, load_settings
from registry_api.witness import Witness


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
        provider=_open_provider(settings, database, clock),
        relay=load_relay(settings),
    )


def _open_provider(settings: RegistrySettings, database: Database, clock: Clock) -> Provider | None:
    """Return the identity provider, if the settings name one."""
    if not settings.oidc.issuer:
        return None
    flows = StoredFlows(database, clock)
    return Provider(settings.oidc, home=settings.home, origin=settings.http.origin, clock=clock, flows=flows)


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
        raise unusable(ca_file or Path(), "is no PEM certificate") from error
    password = ""
    if alerts.smtp_password_file:
        password = read_secret(settings.within(Path(alerts.smtp_password_file))).decode().strip()
    mailbox = Mailbox(
        alerts.smtp_host, alerts.smtp_port, alerts.smtp_sender, alerts.smtp_tls, alerts.smtp_user, password
    )  # fmt: skip
    return Carrier(settings.http.origin, runtime.counts_key, trust, mailbox if alerts.smtp_host else None)


def disclosure_rule(settings: RegistrySettings) -> Rule:
    """Return the disclosure rule with the thresholds of the settings, which are never weaker than the national minimum."""
    return Rule(**settings.disclosure.model_dump())


def load_root(path: Path) -> bytes:
    """Return the root of the lists of releases in a file.

    Raises:
        UnavailableError: `missing-certificate` if it cannot be read or is none.
    """
    content = read_secret(path)
    try:
        if Metadata[Root].from_bytes(content).signed.type != Root.type:
            raise unusable(path, "holds another list than a root")
    except DeserializationError as error:
        raise unusable(path, "is no root of lists of releases") from error
    return content
