"""How the centre is, for people and scripts: `acinus-centre status` and `acinus-centre doctor`."""

import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509

from protocol.errors import FederationError
from protocol.standing import Standing
from server.bundle import make_bundle
from server.catalogue import described
from server.home import SERVERS, SIGNING_KEYS
from server.parts import RUNNING, program, read_parts
from server.relay.files import STOCK, stock_program
from server.relay.run import relay_state
from server.runtime import open_catalogue, open_fleet, open_registry, open_repository
from server.settings import CentreSettings

_SOON = timedelta(days=30)
_LONG = timedelta(days=90)
_REMEDIES = (
    "Start the centre anew: it renews what its own authority has signed.",
    "Plan a new network authority: every site must enrol again.",
)
_LEAST_FREE_BYTES = 2 * 1024**3


def status_of(settings: CentreSettings) -> dict[str, Any]:
    """Return what `status --json` prints; works while the centre runs and while it does not."""
    parts = read_parts(settings.home)
    running = all(part.state == RUNNING for part in parts.values())
    catalogue = open_catalogue(settings)
    promoted = catalogue.promoted()
    return {
        "ok": True,
        "running": running,
        "parts": {name: part.state for name, part in parts.items()},
        "pids": {name: part.pid for name, part in parts.items()},
        "sites": _sites(settings) if running else None,
        "relay": relay_state(settings),
        "bundle_sha256": make_bundle().sha256,
        "releases": [described(catalogue.signed(name), promoted=name == promoted) for name in catalogue.names()],
        "promoted": promoted,
        "standings": _standings(settings, promoted) if running else None,
    }


def _sites(settings: CentreSettings) -> list[dict[str, Any]] | None:
    """Return the registry's sites and whether each SuperNode is connected; None if one of the two does not answer."""
    registry, fleet = open_registry(settings), open_fleet(settings)
    try:
        online = {node.name for node in fleet.nodes() if node.online}
        entries = registry.sites()
    except FederationError:
        return None
    finally:
        registry.close()
        fleet.close()
    return [
        {"site": e.site, "region": e.region, "active": e.active, "connected": e.active and e.site in online}
        for e in entries
    ]


def _standings(settings: CentreSettings, promoted: str) -> dict[str, int] | None:
    """Return how many sites say what of the promoted release, by word; None if the registry does not answer. Who says it is not shown."""
    registry = open_registry(settings)
    try:
        said = registry.standings().get(promoted, {})
    except FederationError:
        return None
    finally:
        registry.close()
    return {word.value: said.get(word, 0) for word in Standing}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `advice` says what to do if it is not well."""

    what: str
    well: bool
    advice: str = ""


def examine(settings: CentreSettings, now: datetime) -> list[Finding]:
    """Look at everything a centre needs before it runs."""
    return [
        *_certificates(settings, now),
        *_secrets(settings),
        *_programs(),
        *_relay(settings),
        _space(settings.home),
        _lists(settings, now),
        _attempt("the catalogue verifies", lambda: _verify_catalogue(settings)),
    ]


def _certificates(settings: CentreSettings, now: datetime) -> Iterator[Finding]:
    for name in ("ca", *SERVERS):
        path = settings.within(Path("pki") / f"{name}.pem")
        what = f"{path.name} is there and valid for a month at least"
        try:
            ends = x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc
        except (OSError, ValueError):
            yield Finding(what, well=False, advice=f"{path} is missing or damaged. Restore it from a backup.")
            continue
        yield Finding(what, ends - now > _SOON, f"It ends on {ends:%Y-%m-%d}. {_REMEDIES[name == 'ca']}")


def _secrets(settings: CentreSettings) -> Iterator[Finding]:
    names = [f"secrets/{name}.key" for name in SIGNING_KEYS]
    for name in (*names, "secrets/service.token", "pki/ca.key", *(f"pki/{server}.key" for server in SERVERS)):
        path = settings.within(name)
        yield Finding(f"{name} is there and closed to others", _is_closed(path), f"Restore {path}, or `chmod 600` it.")


def _is_closed(path: Path) -> bool:
    return path.is_file() and not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def _programs() -> Iterator[Finding]:
    for name in ("flower-superexec", "flwr-serverapp", "acinus-registry"):
        found = shutil.which(program(name)) is not None
        yield Finding(f"{name} is installed", found, "Install the software with its extras: centre and web.")


def _relay(settings: CentreSettings) -> Iterator[Finding]:
    """Look at what the relay needs, where there is one."""
    if not settings.within(settings.relay.directory).is_dir():
        return
    path = settings.within(settings.relay.host_key)
    yield Finding(
        "the relay's key is there and closed to others", _is_closed(path), f"Restore {path}, or `chmod 600` it."
    )
    for name, package in STOCK.items():
        yield _attempt(f"{name} is installed", partial(_find, name, package))


def _find(name: str, package: str) -> None:
    stock_program(name, package)


def _space(home: Path) -> Finding:
    free = shutil.disk_usage(home).free
    return Finding("2 GiB of disk are free", free >= _LEAST_FREE_BYTES, f"{home} has {free // 1024**2} MiB left.")


def _lists(settings: CentreSettings, now: datetime) -> Finding:
    """Say whether root and lists of the releases are good for long enough; the week of the timestamp is the running centre's to renew."""
    what = "the lists of releases are signed, and for three months at least"
    try:
        until = open_repository(settings).good_until()
    except FederationError as error:
        return Finding(what, well=False, advice=str(error))
    first = min((moment - now, role) for role, moment in until.items() if role != "timestamp")
    remedy = (
        "Run `acinus-centre keys replace` with two root keys."
        if first[1] == "root"
        else "Start the centre: it signs them anew."
    )
    return Finding(what, first[0] > _LONG, f"{first[1]} ends on {until[first[1]]:%Y-%m-%d}. {remedy}")


def _verify_catalogue(settings: CentreSettings) -> None:
    catalogue = open_catalogue(settings)
    for name in catalogue.names():
        catalogue.weights(name)


def _attempt(what: str, look: Callable[[], None]) -> Finding:
    try:
        look()
    except FederationError as error:
        return Finding(what, well=False, advice=str(error))
    return Finding(what, well=True)
