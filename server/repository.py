"""Which releases count: The Update Framework's signed lists, which go out of date, under keys that can be replaced.

    catalogue/metadata/1.root.json        who may sign what; signed by two of three root keys, which belong into three safes
    catalogue/metadata/7.targets.json     the releases that nodes may use, by the hash of their manifest; the release key
    catalogue/metadata/7.snapshot.json    which list belongs to which; the online key
    catalogue/metadata/timestamp.json     which snapshot is the newest, good for a week; the online key

What a release *is* stands in its manifest, once and for ever. What stands here changes: which of them count, and who says so.
"""

import fcntl
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from protocol.release import TIMESTAMP, MetadataFiles, SignedManifest, manifest_path, metadata_name
from protocol.shape import canonical_json
from server.files import unwritable, write_durably

METADATA = "metadata"
"""The lists' folder in the catalogue's."""

ROOT_KEYS, ROOT_THRESHOLD = 3, 2
"""One root key may be lost, and one may be stolen."""

LIFE = {
    Root.type: timedelta(days=3 * 365),
    Targets.type: timedelta(days=365),
    Snapshot.type: timedelta(days=365),
    Timestamp.type: timedelta(days=7),
}
"""For how long each is good. The timestamp alone says that nobody withholds what is newer, so it alone is short."""

Role = TypeVar("Role", Root, Targets, Snapshot, Timestamp)
Listed = TypeVar("Listed", Targets, Snapshot, Timestamp)

_LISTS = (Targets, Snapshot, Timestamp)
_FILE = re.compile(r"(?P<version>\d+)\.(?P<role>root|targets|snapshot)\.json")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that a running centre holds: `release` says which releases count, `online` that this is still so."""

    release: Ed25519PrivateKey
    online: Ed25519PrivateKey

    def of(self, role: str) -> Ed25519PrivateKey:
        """Return the key of a role."""
        return self.release if role == Targets.type else self.online


class Repository:
    """The lists in one folder. Whoever changes them holds `changing()`.

    Args:
        folder: Holds them; made by `make_repository`.
        clock: The time, with its zone.
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._clock = clock

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes of this centre from changing the lists meanwhile."""
        try:
            opened = (self._folder / ".lock").open("w")
        except OSError as error:
            raise unwritable(self._folder, error) from error
        with opened as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def files(self) -> MetadataFiles:
        """Return all that a node may ask for: every root, and the newest of the lists."""
        names = [metadata_name(Root.type, version) for version in range(1, self._newest(Root.type) + 1)]
        names += [metadata_name(role, self._newest(role)) for role in (Targets.type, Snapshot.type)]
        return {name: self._read(name).decode() for name in [*names, TIMESTAMP]}

    def names(self) -> list[str]:
        """Return the names of the releases that count."""
        return [path.partition("/")[0] for path in self._load(Targets).signed.targets]

    def enlist(self, signed: SignedManifest, keys: Keys, *, instead_of: Sequence[str] = ()) -> None:
        """Let a release count from now on, and those of `instead_of` no longer.

        Raises:
            RefusedError: `signature-invalid` if `keys` are not those that the root names.
        """
        content = canonical_json(signed.manifest)
        path = manifest_path(signed.manifest.name)
        listed = self._load(Targets)
        listed.signed.targets[path] = TargetFile.from_data(path, content, ["sha256"])
        for name in instead_of:
            listed.signed.targets.pop(manifest_path(name), None)
        self._sign(listed, keys)
        self.refresh(keys)

    def refresh(self, keys: Keys) -> None:
        """Sign the timestamp anew, and whatever else is half-way to its end, belongs to an earlier root or was left behind by a crash.

        Raises:
            RefusedError: `signature-invalid` if `keys` are not those that the root names.
        """
        targets = self._load(Targets)
        if self._wants_signing(targets):
            self._sign(targets, keys)
        snapshot = self._load(Snapshot)
        listed = snapshot.signed.meta["targets.json"]
        if listed.version != targets.signed.version or self._wants_signing(snapshot):
            listed.version = targets.signed.version
            self._sign(snapshot, keys)
        timestamp = self._load(Timestamp)
        timestamp.signed.snapshot_meta.version = snapshot.signed.version
        self._sign(timestamp, keys)

    def replace_keys(
        self, keys: Keys, roots: Sequence[Ed25519PrivateKey], *, root_keys: Sequence[Ed25519PrivateKey] | None = None
    ) -> None:
        """Name other keys, by the word of enough root keys, and sign the lists with them. Whatever the old ones sign counts no more.

        Args:
            keys: The new ones.
            roots: Root keys, old and (if there are other ones) new, that sign.
            root_keys: The root keys from now on, if they change.

        Raises:
            RefusedError: `signature-invalid` if `roots` are too few of the present root keys, or of the next.
        """
        before = self._load(Root)
        after = Metadata[Root].from_bytes(before.to_bytes())
        after.signed.version += 1
        if root_keys is not None:
            _appoint(after.signed, Root.type, [_public(key) for key in root_keys])
        for role in _LISTS:
            _appoint(after.signed, role.type, [_public(keys.of(role.type))])
        after.signed.expires = self._clock() + LIFE[Root.type]
        after.signatures.clear()
        for key in roots:
            after.sign(CryptoSigner(key), append=True)
        try:
            before.signed.verify_delegate(Root.type, after.signed_bytes, after.signatures)
            after.signed.verify_delegate(Root.type, after.signed_bytes, after.signatures)
        except UnsignedMetadataError as error:
            raise RefusedError(
                Code.SIGNATURE_INVALID,
                f"These are not {ROOT_THRESHOLD} of the {ROOT_KEYS} root keys. Nothing was changed; bring the keys from their safes.",
            ) from error
        self._write(after)
        self.refresh(keys)

    def good_until(self) -> dict[str, datetime]:
        """Return until when each of the four is good."""
        return {
            Root.type: self._load(Root).signed.expires,
            Targets.type: self._load(Targets).signed.expires,
            Snapshot.type: self._load(Snapshot).signed.expires,
            Timestamp.type: self._load(Timestamp).signed.expires,
        }

    def _wants_signing(self, one: Metadata[Listed]) -> bool:
        """Say whether the present root does not know its signature, or half of its time has gone."""
        try:
            self._load(Root).signed.verify_delegate(one.signed.type, one.signed_bytes, one.signatures)
        except UnsignedMetadataError:
            return True
        return one.signed.expires - self._clock() < LIFE[one.signed.type] / 2

    def _sign(self, one: Metadata[Listed], keys: Keys) -> None:
        """Write the next version of a list."""
        role = one.signed.type
        one.signed.version += 1
        one.signed.expires = self._clock() + LIFE[role]
        one.sign(CryptoSigner(keys.of(role)))
        try:
            self._load(Root).signed.verify_delegate(role, one.signed_bytes, one.signatures)
        except UnsignedMetadataError as error:
            raise RefusedError(
                Code.SIGNATURE_INVALID,
                f"The centre's key for {role} is not the one that the root names. Restore secrets/ as it was when the root was last signed.",
            ) from error
        self._write(one)

    def _newest(self, role: str) -> int:
        found = (_FILE.fullmatch(path.name) for path in self._folder.iterdir())
        return max((int(one["version"]) for one in found if one and one["role"] == role), default=1)

    def _load(self, role: type[Role]) -> Metadata[Role]:
        name = TIMESTAMP if role is Timestamp else metadata_name(role.type, self._newest(role.type))
        try:
            return Metadata[Role].from_bytes(self._read(name))
        except (RepositoryError, DeserializationError) as error:
            raise _damaged(self._folder / name) from error

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise _damaged(self._folder / name) from error

    def _write(self, one: Metadata[Role]) -> None:
        signed = one.signed
        name = TIMESTAMP if signed.type == Timestamp.type else metadata_name(signed.type, signed.version)
        write_durably(self._folder / name, one.to_bytes())


def make_repository(
    folder: Path, keys: Keys, roots: Sequence[Ed25519PrivateKey], clock: Callable[[], datetime]
) -> Repository:
    """Make the first root and empty lists in a new folder."""
    folder.mkdir(mode=0o700)
    now = clock()
    root = Root(expires=now + LIFE[Root.type], consistent_snapshot=True)
    _appoint(root, Root.type, [_public(key) for key in roots])
    root.roles[Root.type].threshold = ROOT_THRESHOLD
    for role in _LISTS:
        _appoint(root, role.type, [_public(keys.of(role.type))])
    signed = Metadata(root)
    for key in roots:
        signed.sign(CryptoSigner(key), append=True)
    write_durably(folder / metadata_name(Root.type, 1), signed.to_bytes())
    timestamp = Timestamp(expires=now + LIFE[Timestamp.type], snapshot_meta=MetaFile(1))
    _begin(folder, Targets(expires=now + LIFE[Targets.type]), keys)
    _begin(folder, Snapshot(expires=now + LIFE[Snapshot.type]), keys)
    _begin(folder, timestamp, keys)
    return Repository(folder, clock)


def _begin(folder: Path, first: Listed, keys: Keys) -> None:
    """Write the first version of a list."""
    signed = Metadata(first)
    signed.sign(CryptoSigner(keys.of(first.type)))
    name = TIMESTAMP if first.type == Timestamp.type else metadata_name(first.type, 1)
    write_durably(folder / name, signed.to_bytes())


def _appoint(root: Root, role: str, keys: Sequence[Key]) -> None:
    """Let exactly these keys speak for a role."""
    for old in list(root.roles[role].keyids):
        root.revoke_key(old, role)
    for key in keys:
        root.add_key(key, role)


def _public(key: Ed25519PrivateKey) -> Key:
    return CryptoSigner(key).public_key


def _damaged(path: Path) -> InvalidInputError:
    return InvalidInputError(
        Code.BAD_SETTING, f"{path} is missing or damaged. Restore it from a backup of the catalogue."
    )
