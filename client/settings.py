"""The node's settings: one TOML file in the node's home, then environment variables. Read once, by `runtime.py` and the commands."""

import os
import tomllib
from pathlib import Path
from typing import Self

from pydantic import ValidationError, model_validator

from client.sections import (
    ComputeSettings,
    ConsoleSettings,
    ContextSettings,
    DicomSettings,
    FhirSettings,
    FlowerSettings,
    GatewaySettings,
    Hl7Settings,
    NetworkSettings,
    OidcSettings,
    PacsSettings,
    PullSettings,
    RelaySettings,
    ReportsSettings,
    RetentionSettings,
    Section,
    SiteSettings,
    StowSettings,
    WatchSettings,
)
from protocol.codes import Code
from protocol.errors import InvalidInputError

SETTINGS_FILE = "node.toml"
POLICY_FILE = "policy.toml"


class NodeSettings(Section):
    """All of a node's settings. `home` is the folder that holds everything the node keeps."""

    home: Path
    site: SiteSettings = SiteSettings()
    dicom: DicomSettings = DicomSettings()
    watch: WatchSettings = WatchSettings()
    context: ContextSettings = ContextSettings()
    hl7: Hl7Settings = Hl7Settings()
    fhir: FhirSettings = FhirSettings()
    retention: RetentionSettings = RetentionSettings()
    gateway: GatewaySettings = GatewaySettings()
    console: ConsoleSettings = ConsoleSettings()
    oidc: OidcSettings = OidcSettings()
    network: NetworkSettings = NetworkSettings()
    relay: RelaySettings = RelaySettings()
    flower: FlowerSettings = FlowerSettings()
    compute: ComputeSettings = ComputeSettings()
    stow: StowSettings = StowSettings()
    pacs: PacsSettings = PacsSettings()
    pull: PullSettings = PullSettings()
    reports: ReportsSettings = ReportsSettings()

    @model_validator(mode="after")
    def _knows_its_pacs(self) -> Self:
        """Rules need a PACS to ask, and a door needs a lock.

        Raises:
            ValueError: If the settings do not fit together.
        """
        if self.pull.rules and not self.pacs.dicomweb:
            raise ValueError("[pull] has rules, and [pacs] dicomweb is empty")
        if self.stow.enabled and not (self.stow.token_file or self.stow.client_ca):
            raise ValueError("[stow] is enabled with neither token_file nor client_ca: nobody would be refused")
        return self

    @property
    def database(self) -> Path:
        """The node's one SQLite file."""
        return self.home / "node.db"

    @property
    def keys(self) -> Path:
        """Private keys made at this site; they never leave it."""
        return self.home / "keys"

    @property
    def pieces(self) -> Path:
        """Weights on their way between SuperNode and runner."""
        return self.home / "flower" / "pieces"

    @property
    def trust(self) -> Path:
        """What enrolment brought: certificate, network CA, keys of the centre to pin."""
        return self.home / "trust"

    @property
    def instances(self) -> Path:
        """Received DICOM instances."""
        return self.home / "store" / "instances"

    @property
    def quarantine(self) -> Path:
        """Received instances that cannot be used."""
        return self.home / "store" / "quarantine"

    @property
    def studies(self) -> Path:
        """One folder of results per study key."""
        return self.home / "store" / "studies"

    @property
    def labels(self) -> Path:
        """Label masks by study key."""
        return self.home / "store" / "labels"

    @property
    def prepared(self) -> Path:
        """Labelled studies as the network reads them; made again at need."""
        return self.home / "store" / "prepared"

    @property
    def updates(self) -> Path:
        """Updates that have left, for rounds that are asked for twice."""
        return self.home / "store" / "updates"

    @property
    def outgoing(self) -> Path:
        """Findings and reports on their way to the hospital's other systems, by study key."""
        return self.home / "store" / "outgoing"

    @property
    def models(self) -> Path:
        """Verified model releases."""
        return self.home / "models"

    @property
    def logs(self) -> Path:
        """JSON lines, one file per part."""
        return self.home / "logs"

    @property
    def policy(self) -> Path:
        """The site's own limits."""
        return self.home / POLICY_FILE


def load_settings(home: Path) -> NodeSettings:
    """Return the settings of the node in `home`: `node.toml`, with `ACINUS_NODE_<TABLE>__<KEY>` on top.

    Raises:
        InvalidInputError: `bad-setting` if the file is absent, not TOML, or a key is unknown or out of range.
    """
    path = home / SETTINGS_FILE
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInputError(
            Code.BAD_SETTING,
            f"There is no node in {home}: {SETTINGS_FILE} is missing. Run `acinus-node --home {home} init`.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            Code.BAD_SETTING, f"{path} is not TOML: {error}. Correct it and start again."
        ) from error
    try:
        return NodeSettings.model_validate({**_overlaid(tables), "home": home.resolve()})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise InvalidInputError(
            Code.BAD_SETTING, f"{path}: {where}: {first['msg']}. Correct it and start again."
        ) from error


def _overlaid(tables: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Put environment variables over the file's tables."""
    merged = {name: dict(table) for name, table in tables.items()}
    for variable, value in os.environ.items():
        prefix, _, key = variable.partition("__")
        if key and prefix.startswith("ACINUS_NODE_"):
            merged.setdefault(prefix.removeprefix("ACINUS_NODE_").lower(), {})[key.lower()] = value
    return merged
