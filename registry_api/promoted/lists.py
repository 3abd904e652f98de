"""The signed lists of the releases that count (The Update Framework): checked as nodes will check them, kept for nodes to ask for."""

from typing import TypeVar

from sqlmodel import Session, select
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.release import TIMESTAMP, MetadataFiles, MetadataName, SignedManifest, manifest_path, metadata_name
from protocol.shape import canonical_json
from registry_api.promoted.tables import ListRow

Listed = TypeVar("Listed", Root, Targets, Snapshot, Timestamp)


def hold_lists(session: Session, *, alone: bool) -> ListRow | None:
    """Let whoever changes what counts, or tells sites of it, have the lists alone until the end of the transaction; others may share them.

    On PostgreSQL two transactions do not see each other's rows: of a release that was published while a site enrolled, neither would tell it.
    SQLite has one writer anyway.
    """
    return session.get(ListRow, TIMESTAMP, with_for_update=True if alone else {"read": True})


def take_lists(session: Session, files: MetadataFiles, *, first_root: bytes) -> None:
    """Keep a set of lists that is newer than the one that is here, or the same.

    Args:
        session: Of the registry.
        files: All roots from the first one on, and the newest of the other lists.
        first_root: The root that this registry trusts.

    Raises:
        RefusedError: `signature-invalid` if they do not follow from that root, or are older than what is here.
    """
    try:
        root = _follow(files, first_root)
        timestamp = _verified(Timestamp, files[TIMESTAMP], root)
        snapshot = _verified(Snapshot, files[metadata_name("snapshot", timestamp.snapshot_meta.version)], root)
        targets = snapshot.meta["targets.json"].version
        _verified(Targets, files[metadata_name("targets", targets)], root)
    except (RepositoryError, DeserializationError, KeyError) as error:
        raise RefusedError(
            Code.SIGNATURE_INVALID,
            "The lists of releases are incomplete, or do not follow from the root that release_root names. Nodes would refuse them.",
        ) from error
    present = hold_lists(session, alone=True)
    if present is not None and _parsed(Timestamp, present.body).version > timestamp.version:
        raise RefusedError(
            Code.SIGNATURE_INVALID, "The lists of releases are older than those that nodes have been given."
        )
    for name, body in files.items():
        session.merge(ListRow(name=name, body=body))


def read_list(session: Session, name: MetadataName) -> str | None:
    """Return one file of the lists."""
    row = session.get(ListRow, name)
    return None if row is None else row.body


def newest_root(session: Session, first_root: bytes) -> str:
    """Return the root that a node should start with: the last that came, or the one that this registry was given."""
    names = session.exec(select(ListRow.name)).all()
    versions = [int(name.partition(".")[0]) for name in names if name.endswith(".root.json")]
    newest = read_list(session, metadata_name("root", max(versions))) if versions else None
    return newest or first_root.decode()


def require_listed(session: Session, signed: SignedManifest) -> None:
    """Refuse a release that is not on the list: no node would take it.

    Raises:
        RefusedError: `signature-invalid`.
    """
    name = _newest_targets(session)
    listed = (
        None
        if name is None
        else _parsed(Targets, str(read_list(session, name))).targets.get(manifest_path(signed.manifest.name))
    )
    try:
        if listed is None:
            raise RefusedError(
                Code.SIGNATURE_INVALID,
                f"{signed.manifest.name} is not on the lists that this registry was given. Hand those over first.",
            )
        listed.verify_length_and_hashes(canonical_json(signed.manifest))
    except RepositoryError as error:
        raise RefusedError(
            Code.SIGNATURE_INVALID, f"The manifest of {signed.manifest.name} is not the one that the lists name."
        ) from error


def _newest_targets(session: Session) -> MetadataName | None:
    timestamp = read_list(session, TIMESTAMP)
    if timestamp is None:
        return None
    snapshot = read_list(session, metadata_name("snapshot", _parsed(Timestamp, timestamp).snapshot_meta.version))
    return metadata_name("targets", _parsed(Snapshot, str(snapshot)).meta["targets.json"].version)


def _follow(files: MetadataFiles, first_root: bytes) -> Root:
    """Return the last root, after following every step from the first: each is signed by the one before and by itself."""
    root = Metadata[Root].from_bytes(first_root).signed
    while (text := files.get(metadata_name("root", root.version + 1))) is not None:
        following = Metadata[Root].from_bytes(text.encode())
        if following.signed.version != root.version + 1:
            raise RepositoryError("a root under another version's name")
        for judge in (root, following.signed):
            judge.verify_delegate(Root.type, following.signed_bytes, following.signatures)
        root = following.signed
    return root


def _verified(role: type[Listed], text: str, root: Root) -> Listed:
    one = Metadata[Listed].from_bytes(text.encode())
    root.verify_delegate(role.type, one.signed_bytes, one.signatures)
    if not isinstance(one.signed, role):
        raise RepositoryError("another kind of list under this name")
    return one.signed


def _parsed(role: type[Listed], text: str) -> Listed:
    """Return one list without looking at its signatures.

    Raises:
        RepositoryError, DeserializationError: If it is none of that kind.
    """
    one = Metadata[Listed].from_bytes(text.encode()).signed
    if not isinstance(one, role):
        raise RepositoryError("another kind of list under this name")
    return one
