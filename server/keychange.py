"""Replaces the keys of the catalogue, by the word of two of three root keys: after a loss, a theft, or a few years."""

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.codes import Code
from protocol.errors import ConflictError
from server.authority import private_pem, public_pem
from server.files import settle_folder, unwritable, write_durably
from server.home import root_paths
from server.repository import Keys
from server.runtime import listing_keys, load_key, open_catalogue, open_registry, open_repository
from server.settings import CentreSettings

UNFINISHED = ".unfinished"
"""In the folder of new root keys until they and all else have taken the place of the old."""


def replace_keys(settings: CentreSettings, roots: Sequence[Path], *, new_roots: Path | None) -> None:
    """Make new keys for releases and lists, have them named by root keys, and sign everything with them. Killed at any moment, it is run again.

    The registry hears of it at once if it runs, and when the centre starts otherwise.

    Args:
        settings: The centre's.
        roots: Files of at least two of the root keys.
        new_roots: A new folder for three new root keys, if one was lost or stolen; the same again after a try that was killed.

    Raises:
        ConflictError: `already-exists` if that folder is there and no try was killed that made it.
        RefusedError: `signature-invalid` if these are not the root keys.
        UnavailableError: `missing-certificate` if a key cannot be read; `disk-full`; `peer-unreachable` if the registry does not answer:
            then the keys are replaced, and nodes hear of it later.
    """
    signers = [load_key(path) for path in roots]
    appointed = None if new_roots is None else _root_keys_in(new_roots)
    signers += appointed or []
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
        if new_roots is not None:
            (new_roots / UNFINISHED).unlink()
        open_registry(settings).publish_lists(repository.files())


def _paths(settings: CentreSettings) -> tuple[Path, Path]:
    return settings.within(settings.signing.release_key), settings.within(settings.signing.online_key)


def _next_key(path: Path) -> Ed25519PrivateKey:
    """Return the key that will take the place of the one at `path`: that of an earlier try, which a root may name already, or a new one."""
    return _kept_or_made(_next_path(path))


def _root_keys_in(folder: Path) -> list[Ed25519PrivateKey]:
    """Return three new root keys; those of an earlier try are taken again, since a root may name them already and no others from then on.

    Raises:
        ConflictError: `already-exists` for any other folder that is there: whatever keys lie in it may be the ones that were stolen.
        UnavailableError: `disk-full`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
        write_durably(folder / UNFINISHED, b"")
    except FileExistsError as error:
        if not (folder / UNFINISHED).exists():
            raise ConflictError(
                Code.ALREADY_EXISTS,
                f"{folder} is there already. Nothing was changed; name a new folder for new root keys.",
            ) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    return [_kept_or_made(path) for path in root_paths(folder)]


def _kept_or_made(path: Path) -> Ed25519PrivateKey:
    if path.exists():
        return load_key(path)
    key = Ed25519PrivateKey.generate()
    write_durably(path, private_pem(key))
    return key


def _next_path(path: Path) -> Path:
    return path.with_suffix(".next.key")
