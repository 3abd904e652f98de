"""Publishing a model release: manifest held against the lists, weights stored by hash, every active node told, and every node that joins later."""

from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import ConflictError
from protocol.release import ReleaseAnnounced, SignedManifest
from protocol.shape import canonical_json
from registry_api.enrolment.sites import active_sites
from registry_api.link.outbox import send_notice
from registry_api.promoted.lists import hold_lists, require_listed
from registry_api.promoted.shelf import Shelf
from registry_api.promoted.tables import PromotedRow


def publish(
    session: Session,
    signed: SignedManifest,
    weights: Iterable[bytes],
    *,
    shelf: Shelf,
    now: datetime,
) -> list[str]:
    """Store a promoted release and announce it to every active node; return the sites told.

    The weights are on the disk before the row is. Publishing the same release again announces it again: nodes that
    hold it ignore that, and a rollback reaches them that way.

    Raises:
        RefusedError: `signature-invalid` if the release is on no list, or manifest or weights are not what was listed.
        ConflictError: `already-exists` if another release has that name.
    """
    hold_lists(session, alone=True)
    require_listed(session, signed)
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
    hold_lists(session, alone=False)
    newest: dict[str, SignedManifest] = {}
    for row in session.exec(select(PromotedRow).order_by(col(PromotedRow.promoted_at))):
        signed = SignedManifest.model_validate_json(row.signed_manifest)
        newest[signed.manifest.lineage] = signed
    for signed in newest.values():
        send_notice(session, site, ReleaseAnnounced(signed=signed))
    return [signed.manifest.name for signed in newest.values()]
