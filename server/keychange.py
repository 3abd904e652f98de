"""Replaces the keys of the catalogue, by the word of two of three root keys: after a loss, a theft, or a few years."""

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.authority import private_pem, public_pem
from server.files import settle_folder, write_durably
from server.home import write_root_keys
from server.repository import Keys
from server.runtime import listing_keys, load_key, open_catalogue, open_registry, open_repository
from server.settings import CentreSettings


def replace_keys(settings: CentreSettings, roots: Sequence[Path], *, new_roots: Path | None) -> None:
    """Make new keys for releases and lists, have them named by root keys, and sign everything with them. Killed at any moment, it is run again.

    The registry hears of it at once if it runs, and when the centre starts otherwise.

    Args:
        settings: The centre's.
        roots: Files of at least two of the root keys.
        new_roots: A new folder for three new root keys, if one was lost or stolen.

    Raises:
        RefusedError: `signature-invalid` if these are not the root keys.
        UnavailableError: `missing-certificate` if a key cannot be read; `disk-full`; `peer-unreachable` if the registry does not answer:
            then the keys are replaced, and nodes hear of it later.
    """
    signers = [load_key(path) for path in roots]
    appointed = None
    if new_roots is not None:
        new_roots.mkdir(mode=0o700, parents=True)
        appointed = write_root_keys(new_roots)
        signers += appointed
    keys = Keys(*(_next_key(path) for path in _paths(settings)))
    repository = open_repository(settings)
    with repository.changing():
        repository.replace_keys(keys, signers, root_keys=appointed)
        open_catalogue(settings).sign_again(keys.release)
        for path in _paths(settings):
            write_durably(path.with_suffix(".pub"), public_pem(load_key(_next_path(path))))
            _next_path(path).replace(path)
            settle_folder(path.parent)
        repository.refresh(listing_keys(settings))
        open_registry(settings).publish_lists(repository.files())


def _paths(settings: CentreSettings) -> tuple[Path, Path]:
    return settings.within(settings.signing.release_key), settings.within(settings.signing.online_key)


def _next_key(path: Path) -> Ed25519PrivateKey:
    """Return the key that will take the place of the one at `path`: that of an earlier try, which a root may name already, or a new one."""
    following = _next_path(path)
    if following.exists():
        return load_key(following)
    key = Ed25519PrivateKey.generate()
    write_durably(following, private_pem(key))
    return key


def _next_path(path: Path) -> Path:
    return path.with_suffix(".next.key")
