"""Publishing a model release: manifest verified, weights stored by hash, every active node told, and every node that joins later."""

import base64
from collections.abc import Iterable
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError
from protocol.release import ReleaseAnnounced, SignedManifest
from protocol.shape import canonical_json
from registry_api.enrolment.sites import active_sites
from registry_api.link.outbox import send_notice
from registry_api.promoted.shelf import Shelf
from registry_api.promoted.tables import PromotedRow


def publish(
    session: Session,
    signed: SignedManifest,
    weights: Iterable[bytes],
    *,
    shelf: Shelf,
    key: Ed25519PublicKey,
    now: datetime,
) -> list[str]:
    """Store a promoted release and announce it to every active node; return the sites told.

    The weights are on the disk before the row is. Publishing the same release again announces it again: nodes that
    hold it ignore that, and a rollback reaches them that way.

    Raises:
        RefusedError: `signature-invalid` if the manifest or the weights are not what was signed.
        ConflictError: `already-exists` if another release has that name.
    """
    verify(signed, key)
    name, sha256 = signed.manifest.name, signed.manifest.weights_sha256
    before = session.get(PromotedRow, name)
    if before is not None and before.weights_sha256 != sha256:
        raise ConflictError(
            Code.ALREADY_EXISTS, f"{name} was published with other weights. A new release needs a new version."
        )
    shelf.put(weights, sha256=sha256)
    session.merge(
        PromotedRow(name=name, weights_sha256=sha256, signed_manifest=canonical_json(signed), promoted_at=now)
    )
    told = active_sites(session)
    for site in told:
        send_notice(session, site, ReleaseAnnounced(signed=signed))
    return told


def greet(session: Session, site: str) -> list[str]:
    """Announce to one site what it may have missed: the newest release of each lineage; return their names."""
    newest: dict[str, SignedManifest] = {}
    for row in session.exec(select(PromotedRow).order_by(col(PromotedRow.promoted_at))):
        signed = SignedManifest.model_validate_json(row.signed_manifest)
        newest[signed.manifest.lineage] = signed
    for signed in newest.values():
        send_notice(session, site, ReleaseAnnounced(signed=signed))
    return [signed.manifest.name for signed in newest.values()]


def verify(signed: SignedManifest, key: Ed25519PublicKey) -> None:
    """Check the centre's own signature, so that a slip is found here and not at every node.

    Raises:
        RefusedError: `signature-invalid`.
    """
    try:
        key.verify(base64.urlsafe_b64decode(signed.signature + "=="), canonical_json(signed.manifest))
    except InvalidSignature as error:
        raise RefusedError(
            Code.SIGNATURE_INVALID, "The manifest is not signed with the key whose public half is in release_public."
        ) from error
