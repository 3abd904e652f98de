"""The settings of the centre's federation side: `centre.toml` in its home, then environment variables. Read once, by `runtime.py`."""

import os
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import Origin
from strategies.flower import PIECE_BYTES

Port = Annotated[int, Field(ge=1, le=65_535)]

SETTINGS_FILE = "centre.toml"
_PREFIX = "ACINUS_CENTRE_"


class Section(BaseModel):
    """A table of the settings file; unknown keys are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SuperlinkSettings(Section):
    """Flower's SuperLink. It stays on loopback: two of its three APIs ask for no credentials."""

    port: Port = 8446
    certificate: Path = Path("pki/superlink.pem")
    key: Path = Path("pki/superlink.key")


class FleetSettings(Section):
    """The fleet gateway, where SuperNodes come in."""

    host: str = "127.0.0.1"
    port: Port = 8445
    certificate: Path = Path("pki/fleet.pem")
    key: Path = Path("pki/fleet.key")
    request_mb: Annotated[int, Field(gt=PIECE_BYTES >> 20, le=512)] = 32


class RegistrySettings(Section):
    """Where the registry answers, and the secret with which this side calls it."""

    origin: Origin = "https://localhost:8443"
    service_token: Path = Path("secrets/service.token")


class RelaySettings(Section):
    """The relay: one public port for the hospitals' tunnels and for readers. `tunnel_port` is the tunnel server's, on loopback."""

    host: str = "127.0.0.1"
    port: Port = 443
    tunnel_port: Port = 8447
    host_key: Path = Path("pki/relay.key")
    directory: Path = Path("relay")


class AuthoritySettings(Section):
    """The network's certificate authority; its key is the registry's to use."""

    certificate: Path = Path("pki/ca.pem")


class CatalogueSettings(Section):
    """Signed model releases."""

    directory: Path = Path("catalogue")


class SigningSettings(Section):
    """The keys (Ed25519) that say which releases count, and that this is still so."""

    release_key: Path = Path("secrets/release.key")
    online_key: Path = Path("secrets/online.key")


class EvaluationSettings(Section):
    """The public phantoms on which every round is measured."""

    phantoms: Annotated[int, Field(ge=1, le=200)] = 6


class WitnessSettings(Section):
    """When `directory` is set, every byte that the fleet gateway receives is also written there, for leak audits."""

    directory: str = ""


class CentreSettings(Section):
    """All settings of the federation side. `home` is the centre's folder; relative paths start there."""

    home: Path
    superlink: SuperlinkSettings = SuperlinkSettings()
    fleet: FleetSettings = FleetSettings()
    registry: RegistrySettings = RegistrySettings()
    relay: RelaySettings = RelaySettings()
    authority: AuthoritySettings = AuthoritySettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    signing: SigningSettings = SigningSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    witness: WitnessSettings = WitnessSettings()

    def within(self, path: Path | str) -> Path:
        """Return `path`, from the home if it is relative."""
        return self.home / path

    @property
    def superlink_address(self) -> str:
        """The SuperLink's address; loopback always."""
        return f"127.0.0.1:{self.superlink.port}"

    @property
    def runs(self) -> Path:
        """One folder per federated run."""
        return self.home / "runs"

    @property
    def pieces(self) -> Path:
        """Weights on their way through the SuperLink."""
        return self.home / "superlink" / "pieces"

    @property
    def logs(self) -> Path:
        """What each part says."""
        return self.home / "logs"


def load_settings(home: Path) -> CentreSettings:
    """Return the settings in `home`: `centre.toml`, with `ACINUS_CENTRE_<TABLE>__<KEY>` on top.

    Raises:
        InvalidInputError: `bad-setting` if the file is absent, not TOML, or a key is unknown or out of range.
    """
    path = home / SETTINGS_FILE
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInputError(
            Code.BAD_SETTING,
            f"There is no centre in {home}: {SETTINGS_FILE} is missing. Run `acinus-centre --home {home} init`.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidInputError(
            Code.BAD_SETTING, f"{path} cannot be read as TOML: {error}. Correct it and start again."
        ) from error
    try:
        return CentreSettings.model_validate({**_overlaid(tables), "home": home.resolve()})
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        raise InvalidInputError(
            Code.BAD_SETTING,
            f"{_source(where) or path}: {'.'.join(where)}: {first['msg']}. Correct it and start again.",
        ) from error


def _source(where: list[str]) -> str | None:
    """Return the environment variable that set what stands at `where`, if one did."""
    wanted = _PREFIX + "__".join(where).upper()
    return next((name for name in os.environ if name == wanted or name.startswith(wanted + "__")), None)


def _overlaid(tables: dict[str, object]) -> dict[str, object]:
    """Put environment variables over the file's tables; what is no table is left for the validator to refuse."""
    merged: dict[str, object] = {name: dict(t) if isinstance(t, dict) else t for name, t in tables.items()}
    for variable, value in os.environ.items():
        prefix, _, key = variable.partition("__")
        if key and prefix.startswith(_PREFIX):
            table = merged.setdefault(prefix.removeprefix(_PREFIX).lower(), {})
            if isinstance(table, dict):
                table[key.lower()] = value
    return merged
