"""The centre's composition root: settings in, wired objects out. It alone builds clients, catalogues and trainers."""

import fcntl
import getpass
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.codes import Code
from protocol.errors import ConflictError, UnavailableError
from protocol.release import SignedManifest
from protocol.shape import ReleaseName
from server.catalogue import Catalogue
from server.files import unwritable
from server.promotion import OverrideBook
from server.registry import Registry
from server.repository import METADATA, Keys, Repository
from server.settings import CentreSettings

if TYPE_CHECKING:
    from server.training import Trainer
    from strategies.flower.fleet import Fleet


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def open_catalogue(settings: CentreSettings) -> Catalogue:
    """Return the catalogue of releases.

    Raises:
        UnavailableError: `missing-certificate` if the signing key cannot be read.
    """
    key = load_key(settings.within(settings.signing.release_key))
    return Catalogue(settings.within(settings.catalogue.directory), key, utc_now)


def open_repository(settings: CentreSettings) -> Repository:
    """Return the lists of the releases that count."""
    return Repository(settings.within(settings.catalogue.directory) / METADATA, utc_now)


def listing_keys(settings: CentreSettings) -> Keys:
    """Return the keys that sign the lists.

    Raises:
        UnavailableError: `missing-certificate` if one cannot be read.
    """
    signing = settings.signing
    return Keys(*(load_key(settings.within(path)) for path in (signing.release_key, signing.online_key)))


def load_key(path: Path) -> Ed25519PrivateKey:
    """Return the Ed25519 key in a PEM file.

    Raises:
        UnavailableError: `missing-certificate` if it cannot be read.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _missing(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _missing(path)
    return key


def open_overrides(settings: CentreSettings) -> OverrideBook:
    """Return the promotions in spite of a refusal."""
    return OverrideBook(settings.within(settings.catalogue.directory), utc_now)


def open_registry(settings: CentreSettings) -> Registry:
    """Return the way to the registry.

    Raises:
        UnavailableError: `missing-certificate` if token or CA cannot be read.
    """
    path = settings.within(settings.registry.service_token)
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _missing(path) from error
    return Registry(settings.registry.origin, token, settings.within(settings.authority.certificate))


def open_fleet(settings: CentreSettings) -> "Fleet":
    """Return the way to the SuperLink.

    Raises:
        UnavailableError: `missing-certificate` if the CA cannot be read.
    """
    from strategies.flower.fleet import Fleet

    path = settings.within(settings.authority.certificate)
    try:
        return Fleet(settings.superlink_address, path.read_bytes())
    except (OSError, ValueError) as error:
        raise _missing(path) from error


def open_trainer(settings: CentreSettings) -> "Trainer":
    """Return what carries out a federated run; how it goes is told on standard error."""
    from server.bundle import make_bundle
    from server.training import Trainer, phantom_measure

    return Trainer(
        catalogue=open_catalogue(settings),
        fleet=open_fleet(settings),
        bundle=make_bundle(),
        runs=settings.runs,
        measure=phantom_measure(settings.evaluation.phantoms),
        say=lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201 - this is the person's progress
        pause=time.sleep,
    )


@contextmanager
def only_run(settings: CentreSettings) -> Iterator[None]:
    """Hold the centre for one federated run. The lock dies with its holder.

    Raises:
        ConflictError: `run-in-progress`.
        UnavailableError: `disk-full` if the folder of runs cannot be written.
    """
    try:
        settings.runs.mkdir(mode=0o700, exist_ok=True)
        opened = (settings.runs / ".lock").open("w")
    except OSError as error:
        raise unwritable(settings.runs, error) from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                Code.RUN_IN_PROGRESS, "Another run is in progress at this centre. Wait until it has ended."
            ) from error
        yield


def promote(settings: CentreSettings, name: ReleaseName, *, despite: Code | None = None) -> None:
    """Publish a release; every active node will fetch it.

    Args:
        settings: The centre's.
        name: The release.
        despite: The refusal that the coordinator overrides; it is on the disk, with their account, before the release leaves.

    Raises:
        FederationError: If it is not in the catalogue, does not verify, is older than what nodes have, does worse than it must, or the
            registry does not take it.
    """
    catalogue = open_catalogue(settings)
    signed, weights = catalogue.signed(name), catalogue.weights(name)
    catalogue.check_promotable(name, despite=despite)
    if despite is not None:
        open_overrides(settings).note(name, despite, getpass.getuser())
    _publish(settings, signed, weights)
    catalogue.note_promotion(name)


def roll_back(settings: CentreSettings) -> str:
    """Publish the weights that were in use before, as a new release, and return its name.

    A promotion whose answer was lost counts as one: nodes may have heard of it, and it is what is to be taken back. With it go all releases of
    the same weights: a node whose newest one is damaged measures with the newest before it that counts.

    Raises:
        FederationError: If there is none before, or the registry does not take it.
    """
    catalogue = open_catalogue(settings)
    catalogue.note_cut_off(open_repository(settings).names())
    taken_back, renewed = catalogue.promoted(), catalogue.renew(catalogue.before_promoted())
    gone = [name for name in catalogue.same_weights(taken_back) if name != renewed.manifest.name]
    _publish(settings, renewed, catalogue.weights(renewed.manifest.name), instead_of=gone)
    catalogue.note_rollback(renewed.manifest.name)
    return renewed.manifest.name


def renew_lists(settings: CentreSettings) -> None:
    """Sign anew that the lists of releases are the newest, and hand them to the registry.

    Raises:
        FederationError: If a key is missing, or the registry does not take them.
    """
    repository = open_repository(settings)
    with repository.changing():
        repository.refresh(listing_keys(settings))
        open_registry(settings).publish_lists(repository.files())


def _publish(
    settings: CentreSettings, signed: SignedManifest, weights: bytes, *, instead_of: Sequence[str] = ()
) -> None:
    """Let a release count and hand it to the registry, the lists first: nodes take only what is on them."""
    repository, registry = open_repository(settings), open_registry(settings)
    with repository.changing():
        repository.enlist(signed, listing_keys(settings), instead_of=instead_of)
        registry.publish_lists(repository.files())
    registry.publish(signed, weights)


def _missing(path: Path) -> UnavailableError:
    return UnavailableError(
        Code.MISSING_CERTIFICATE, f"{path} is missing or damaged. Restore it from a backup of this folder."
    )
