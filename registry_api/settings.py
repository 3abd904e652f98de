"""The registry's settings: `registry.toml` in the centre's home, then environment variables. Read once, by `runtime.py` and the commands."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from protocol.codes import Code
from protocol.enrolment import Address
from protocol.errors import InvalidInputError
from protocol.reading import Origin
from protocol.shape import RegionCode, SiteId
from registry_api.people.roles import Role
from registry_api.thresholds import NATIONAL, note_accepted, note_refused

Port = Annotated[int, Field(ge=1, le=65_535)]

SETTINGS_FILE = "registry.toml"

MOST_YEARLY_EPSILON = 4.0
"""Of the public tier; more is refused."""


class Section(BaseModel):
    """A table of the settings file; unknown keys are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(Section):
    """Where people and their programs reach the registry. TLS always."""

    host: str = "127.0.0.1"
    port: Port = 8443
    origin: Origin = "https://localhost:8443"
    certificate: Path = Path("pki/registry.pem")
    key: Path = Path("pki/registry.key")


class LinkSettings(Section):
    """Where nodes keep their stream open (gRPC, client certificate). `address` is what nodes are told at enrolment."""

    host: str = "127.0.0.1"
    port: Port = 8444
    address: Address = "localhost:8444"


class FleetSettings(Section):
    """Where nodes reach the fleet gateway; told at enrolment."""

    address: Address = "localhost:8445"


class RelaySettings(Section):
    """The relay, as nodes are told of it at enrolment; none without an `address`. `login` is the account that it runs under."""

    address: Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9.-]{1,253}:[0-9]{1,5})?$")] = ""
    login: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,30}$")] = "acinus"
    host_key: Path = Path("pki/relay.pub")
    first_port: Annotated[int, Field(ge=1024, le=65_000)] = 20_000


class AuthoritySettings(Section):
    """The network's certificate authority and how long a node's certificate lives."""

    certificate: Path = Path("pki/ca.pem")
    key: Path = Path("pki/ca.key")
    node_days: Annotated[int, Field(ge=1, le=397)] = 30


class SecretsSettings(Section):
    """Files that hold a secret each."""

    grant: Path = Path("secrets/grant.key")
    counts: Path = Path("secrets/counts.key")
    release_root: Path = Path("catalogue/metadata/1.root.json")
    """No secret, but what is trusted: who may say which releases count."""
    service_token: Path = Path("secrets/service.token")


class DatabaseSettings(Section):
    """SQLite beside the settings, or a PostgreSQL URL (`postgresql+pg8000://…`)."""

    url: str = "sqlite:///registry.db"


class DisclosureSettings(Section):
    """The thresholds of the disclosure rule. They may be made stricter; weaker than the national minimum is refused."""

    minimum: Annotated[int, Field(ge=NATIONAL["minimum"], le=1000)] = int(NATIONAL["minimum"])
    rounding: Annotated[int, Field(ge=NATIONAL["rounding"], le=1000)] = int(NATIONAL["rounding"])
    sites: Annotated[int, Field(ge=NATIONAL["sites"], le=100)] = int(NATIONAL["sites"])
    dominance: Annotated[float, Field(gt=0, le=NATIONAL["dominance"])] = NATIONAL["dominance"]

    @model_validator(mode="after")
    def _grid_within_minimum(self) -> Self:
        """Refuse a grid so coarse that a count above the minimum would be rounded to nothing."""
        if self.rounding > self.minimum:
            raise ValueError("rounding must not be coarser than minimum")
        return self


class LimitSettings(Section):
    """How much one caller may ask."""

    requests_per_minute: Annotated[int, Field(ge=10, le=1_000_000)] = 600


class OidcGrant(Section):
    """What people of a group may be at the registry."""

    group: Annotated[str, Field(min_length=1, max_length=200)]
    role: Role
    region: RegionCode | None = None
    site: SiteId | None = None


class OidcSettings(Section):
    """An identity provider at which people may log in; off without an issuer. File names count from the home."""

    issuer: Annotated[str, StringConstraints(pattern=r"^(https://[^\s?#]+)?$")] = ""
    client_id: Annotated[str, Field(max_length=200)] = ""
    client_secret_file: str = ""
    ca_file: str = ""
    scopes: tuple[str, ...] = ("openid", "profile")
    role_claim: str = "groups"
    name_claim: str = "name"
    grants: tuple[OidcGrant, ...] = ()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer and (not self.client_id or "openid" not in self.scopes or not self.grants):
            raise ValueError("an issuer wants a client_id, openid among the scopes, and grants")
        if any(grant.role is Role.SERVICE for grant in self.grants):
            raise ValueError("the service role is the centre's own token; nobody can be granted it")
        return self


class AlertSettings(Section):
    """Where alerts may go, and through which mail server. Empty lists: nowhere. File names count from the home."""

    mail_domains: tuple[str, ...] = ()
    webhook_hosts: tuple[str, ...] = ()
    ca_file: str = ""
    smtp_host: str = ""
    smtp_port: Port = 587
    smtp_sender: str = ""
    smtp_tls: bool = True
    smtp_user: str = ""
    smtp_password_file: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.smtp_host and "@" not in self.smtp_sender:
            raise ValueError("smtp_host wants a smtp_sender")
        if (
            self.smtp_host
            and not self.smtp_tls
            and (self.smtp_user or self.smtp_host not in ("localhost", "127.0.0.1"))
        ):
            raise ValueError("without smtp_tls the mail server must be on this machine, and nobody logs in")
        return self


class PublicSettings(Section):
    """Counts for everybody, off by default. `sigma` is the noise on each count, `yearly_epsilon` what a year's patients pay at most.

    `first_week` is the first that may be published: before it, nodes did not say which record is a patient's first, and nobody would be counted.
    """

    enabled: bool = False
    first_week: Annotated[str, StringConstraints(pattern=r"^(20[0-9][0-9]-W(0[1-9]|[1-4][0-9]|5[0-3]))?$")] = ""
    sigma: Annotated[float, Field(ge=5, le=1000)] = 20.0
    yearly_epsilon: Annotated[float, Field(gt=0, le=MOST_YEARLY_EPSILON)] = 2.0
    delta: Annotated[float, Field(gt=0, le=1e-5)] = 1e-6

    @model_validator(mode="after")
    def _begins_somewhere(self) -> Self:
        if self.enabled and not self.first_week:
            raise ValueError("enabled wants a first_week")
        return self


class ModelsSettings(Section):
    """Promoted weights, by hash."""

    directory: Path = Path("registry-models")


class ReadingSettings(Section):
    """Of how many results in a hundred a peer review is asked for, and whose certificates the programs behind webhooks have."""

    peer_review_percent: Annotated[int, Field(ge=0, le=100)] = 5
    webhook_authority: Path | None = None


class WitnessSettings(Section):
    """When `directory` is set, every byte received from outside is also written there, for leak audits."""

    directory: str = ""


class RegistrySettings(Section):
    """All of the registry's settings. `home` is the centre's folder; relative paths start there."""

    home: Path
    http: HttpSettings = HttpSettings()
    link: LinkSettings = LinkSettings()
    fleet: FleetSettings = FleetSettings()
    relay: RelaySettings = RelaySettings()
    authority: AuthoritySettings = AuthoritySettings()
    secrets: SecretsSettings = SecretsSettings()
    database: DatabaseSettings = DatabaseSettings()
    disclosure: DisclosureSettings = DisclosureSettings()
    limits: LimitSettings = LimitSettings()
    oidc: OidcSettings = OidcSettings()
    alerts: AlertSettings = AlertSettings()
    public: PublicSettings = PublicSettings()
    models: ModelsSettings = ModelsSettings()
    reading: ReadingSettings = ReadingSettings()
    witness: WitnessSettings = WitnessSettings()

    def within(self, path: Path) -> Path:
        """Return `path`, from the home if it is relative."""
        return self.home / path

    @property
    def database_url(self) -> str:
        """The database's URL, a relative SQLite file taken from the home."""
        scheme, mark, rest = self.database.url.partition("sqlite:///")
        if mark and not scheme:
            return f"sqlite:///{self.home / rest}"
        return self.database.url

    @property
    def logs(self) -> Path:
        """JSON lines."""
        return self.home / "logs"


def load_settings(home: Path) -> RegistrySettings:
    """Return the settings in `home`: `registry.toml`, with `ACINUS_REGISTRY_<TABLE>__<KEY>` on top.

    Thresholds of the disclosure rule that are other than before are written down first, and so is it when they are refused.

    Raises:
        InvalidInputError: `bad-setting` if the file is absent, not TOML, or a key is unknown or out of range.
        UnavailableError: `disk-full` if other thresholds cannot be written down.
        RefusedError: `audit-broken` if what was written down was changed.
    """
    path = home / SETTINGS_FILE
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInputError(
            Code.BAD_SETTING,
            f"There is no registry in {home}: {SETTINGS_FILE} is missing. Run `acinus-centre --home {home} init`.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            Code.BAD_SETTING, f"{path} is not TOML: {error}. Correct it and start again."
        ) from error
    tables = _overlaid(tables)
    try:
        settings = RegistrySettings.model_validate({**tables, "home": home.resolve()})
    except ValidationError as error:
        asked = tables.get("disclosure")
        note_refused(home, asked if isinstance(asked, dict) else {})
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            Code.BAD_SETTING, f"{path}: {where}: {first['msg']}. Correct it and start again."
        ) from error
    note_accepted(home, settings.disclosure.model_dump())
    return settings


def _overlaid(tables: dict[str, object]) -> dict[str, object]:
    """Put environment variables over the file's tables; what is no table is left for the validator to refuse."""
    merged: dict[str, object] = {name: dict(t) if isinstance(t, dict) else t for name, t in tables.items()}
    for variable, value in os.environ.items():
        prefix, _, key = variable.partition("__")
        if key and prefix.startswith("ACINUS_REGISTRY_"):
            table = merged.setdefault(prefix.removeprefix("ACINUS_REGISTRY_").lower(), {})
            if isinstance(table, dict):
                table[key.lower()] = value
    return merged
