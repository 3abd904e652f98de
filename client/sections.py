"""The tables of the settings file, one class each: what each key may be, and which keys go together."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from protocol.reading import Origin

Port = Annotated[int, Field(ge=1, le=65_535)]
AeTitle = Annotated[str, StringConstraints(pattern=r"^[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]{0,15}$")]
"""DICOM VR AE: 1 to 16 characters, no backslash (PS3.5 section 6.2)."""

AccessionField = Annotated[str, StringConstraints(pattern=r"^(ORC|OBR|IPC|ZDS)-[1-9][0-9]?$")]
"""A field of an HL7 v2 order."""


def _checked_network(text: str) -> str:
    ip_network(text, strict=False)
    return text


Network = Annotated[str, AfterValidator(_checked_network)]
"""An address, or a network such as 10.1.0.0/16."""


class Section(BaseModel):
    """A table of the settings file; unknown keys are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteSettings(Section):
    """What the hospital calls itself; shown on its own pages only. The network knows it by the name in its invite."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "this hospital"


class DicomSettings(Section):
    """The receiver. Paths are taken from the node's home unless they are absolute."""

    host: str = "127.0.0.1"
    port: Port = 11112
    ae_title: AeTitle = "ACINUS"
    allowed_callers: tuple[AeTitle, ...] = ()
    quiet_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    patience_seconds: Annotated[float, Field(ge=0, le=86_400)] = 900.0
    minimum_free_mb: Annotated[int, Field(ge=1)] = 1024
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_callers_ca: Path | None = None

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        """A certificate without its key, or callers to check without TLS, is a mistake and not a choice."""
        if (self.tls_certificate is None) is not (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if self.tls_callers_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_callers_ca needs tls_certificate and tls_key")
        return self


class WatchSettings(Section):
    """A folder into which files are put for the node. Without `folder` nothing is watched."""

    folder: Path | None = None
    settle_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    after: Literal["remove", "move"] = "remove"
    moved_to: Path | None = None

    @model_validator(mode="after")
    def _has_its_places(self) -> Self:
        if self.after == "move" and self.moved_to is None:
            raise ValueError('after = "move" needs moved_to')
        if self.folder is not None and self.moved_to is not None and self._is_inside():
            raise ValueError("moved_to must not lie inside folder")
        return self

    def _is_inside(self) -> bool:
        return self.moved_to is not None and self.folder is not None and self.moved_to.is_relative_to(self.folder)


class ContextSettings(Section):
    """How the hospital's other systems speak, and which tests say something of a scan."""

    own_issuers: tuple[str, ...] = ()
    pcr_days_before: Annotated[int, Field(ge=0, le=365)] = 14
    pcr_days_after: Annotated[int, Field(ge=0, le=365)] = 7
    pcr_codes: tuple[str, ...] = ()
    positive_words: tuple[str, ...] = ()
    negative_words: tuple[str, ...] = ()
    intensive_units: tuple[str, ...] = ()
    accession_fields: tuple[AccessionField, ...] = ("OBR-18", "IPC-1")
    keep_question: bool = True


Days = Annotated[int, Field(ge=0, le=36_500)]
"""A period; 0 is for ever."""


class RetentionSettings(Section):
    """How long things are kept, in days; 0 keeps for ever."""

    instances_days: Days = 0
    results_days: Days = 0
    pictures_days: Days = 0
    labels_days: Days = 0
    quarantine_days: Days = 0
    context_days: Days = 0
    updates_days: Days = 0
    logs_days: Days = 0


class Hl7Settings(Section):
    """The HL7 v2 port (MLLP); off until it is switched on. An empty list of senders admits nobody."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 2575
    senders: tuple[Network, ...] = ()
    most_kb: Annotated[int, Field(ge=16, le=16_384)] = 1024
    tls: bool = False
    senders_ca: str = ""


class FhirSettings(Section):
    """The FHIR port (HTTPS); off until it is switched on. An empty list of senders admits nobody."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 9448
    senders: tuple[Network, ...] = ()
    most_kb: Annotated[int, Field(ge=16, le=65_536)] = 4096


class GatewaySettings(Section):
    """Where readers' browsers reach this hospital."""

    host: str = "127.0.0.1"
    port: Port = 9443
    origin: Origin = "https://localhost:9443"


class ConsoleSettings(Section):
    """The staff page; stays on loopback. `origin` is where staff's browsers see it, if a reverse proxy stands before it."""

    host: Literal["127.0.0.1", "localhost"] = "127.0.0.1"
    port: Port = 9444
    origin: Origin | None = None
    token_login: bool = True
    idle_minutes: Annotated[int, Field(ge=1, le=480)] = 30
    session_hours: Annotated[int, Field(ge=1, le=24)] = 8
    proposal_hours: Annotated[int, Field(ge=1, le=720)] = 72

    @property
    def address(self) -> str:
        """Where staff's browsers reach the page."""
        return self.origin or f"https://localhost:{self.port}"


class OidcRoles(Section):
    """Which words of the provider's claim give which role."""

    viewer: tuple[str, ...] = ()
    technician: tuple[str, ...] = ()
    radiologist: tuple[str, ...] = ()
    administrator: tuple[str, ...] = ()


class OidcSettings(Section):
    """The hospital's identity provider; off without an issuer. File names count from the home."""

    issuer: Annotated[str, StringConstraints(pattern=r"^(https://[^\s?#]+)?$")] = ""
    client_id: Annotated[str, Field(max_length=200)] = ""
    client_secret_file: str = ""
    ca_file: str = ""
    scopes: tuple[str, ...] = ("openid", "profile")
    role_claim: str = "groups"
    name_claim: str = "preferred_username"
    roles: OidcRoles = OidcRoles()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer and (not self.client_id or "openid" not in self.scopes):
            raise ValueError("an issuer wants a client_id, and openid among the scopes")
        return self


def _checked_proxy(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme != "http" or not parts.hostname or parts.port is None):
        raise ValueError("must be http://HOST:PORT")
    return text


class NetworkSettings(Section):
    """The way out of the hospital. Without `proxy` the environment's `HTTPS_PROXY` counts, and without that the way is direct."""

    proxy: Annotated[str, AfterValidator(_checked_proxy)] = ""


class RelaySettings(Section):
    """The relay by which readers reach this hospital without an open port; none without an `address`. Its key was pinned at enrolment."""

    address: Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9.-]{1,253}:\d{1,5})?$")] = ""
    check_minutes: Annotated[int, Field(ge=1, le=1440)] = 10


class FlowerSettings(Section):
    """Loopback ports between the stock SuperNode, our runner and our forwarder."""

    forward_port: Port = 9445
    runtime_port: Port = 9446


class ComputeSettings(Section):
    """How images are measured and models trained."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=0, le=256)] = 0


class StowSettings(Section):
    """The DICOMweb receiver (STOW-RS). Files are named from the home; one of `token_file` and `client_ca` at least must be."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 9447
    token_file: str = ""
    client_ca: str = ""
    most_request_mb: Annotated[int, Field(ge=1, le=1_000_000)] = 16_384
    silence_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 60.0


class PacsSettings(Section):
    """Where the hospital's PACS is, and what goes back to it. Files are named from the home."""

    dicomweb: Annotated[str, StringConstraints(pattern=r"^(https?://[^\s?#]+)?$")] = ""
    token_file: str = ""
    password_file: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    host: str = ""
    port: Port = 104
    ae_title: AeTitle = "PACS"
    tls: bool = False
    send: Literal["off", "c-store", "stow"] = "off"
    objects: Annotated[tuple[Literal["seg", "sr", "picture", "report"], ...], Field(min_length=1)] = (
        "seg",
        "sr",
        "report",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """A way to send needs its address, and no password travels in the open.

        Raises:
            ValueError: If the settings do not fit together.
        """
        if self.send == "c-store" and not self.host:
            raise ValueError("send is c-store, and host is empty")
        if self.send == "stow" and not self.dicomweb:
            raise ValueError("send is stow, and dicomweb is empty")
        if self.token_file and self.password_file:
            raise ValueError("name a token_file or a password_file, not both")
        inside = urlsplit(self.dicomweb).hostname in {"localhost", "127.0.0.1", "::1"}
        if (self.token_file or self.password_file) and self.dicomweb.startswith("http://") and not inside:
            raise ValueError("a token or password needs https in dicomweb")
        return self


class ReportsSettings(Section):
    """Which system of the hospital gets final reports as HL7 v2 ORU by MLLP; off without a host. Files are named from the home."""

    host: str = ""
    port: Port = 2575
    application: Annotated[str, Field(max_length=180)] = ""
    facility: Annotated[str, Field(max_length=180)] = ""
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=600)] = 30.0


class PullRule(Section):
    """Which series are fetched from the PACS. An empty word asks for nothing; several rules widen what is fetched."""

    modality: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_ ]{1,16}$")] = "CT"
    body_part: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_ ]{0,16}$")] = ""
    description: Annotated[str, Field(max_length=64)] = ""
    days: Annotated[int, Field(ge=0, le=36_500)] = 3


class PullSettings(Section):
    """What the node fetches by itself from the PACS of `[pacs] dicomweb`; nothing without a rule."""

    rules: tuple[PullRule, ...] = ()
    poll_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 300.0
    most_studies: Annotated[int, Field(ge=1, le=10_000)] = 20
