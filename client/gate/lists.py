"""Which model releases count, by the centre's signed lists (The Update Framework), as far as this node has them. Asks nobody.

trust/root.json    what enrolment brought: who may say which releases count
trust/releases/    what followed from it; `client/gate/listing.py` fetches it
"""

from datetime import datetime
from pathlib import Path

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.release import TIMESTAMP, Manifest, manifest_path
from protocol.shape import canonical_json

FOLDER = "releases"
"""In `trust`; `tuf` keeps it."""


class ReleaseList:
    """The lists of one node. `tuf` is imported where it is needed: most nodes' commands do without.

    Args:
        trust: The node's folder of what it pins.
    """

    def __init__(self, trust: Path) -> None:
        self._folder = trust / FOLDER

    def holds(self, manifest: Manifest) -> bool:
        """Say whether the newest list that this node has names exactly this release."""
        from tuf.api.exceptions import RepositoryError
        from tuf.api.metadata import Metadata, Root, Targets
        from tuf.api.serialization import DeserializationError

        try:
            root = Metadata[Root].from_bytes((self._folder / "root.json").read_bytes()).signed
            targets = Metadata[Targets].from_bytes((self._folder / "targets.json").read_bytes())
            root.verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
            targets.signed.targets[manifest_path(manifest.name)].verify_length_and_hashes(canonical_json(manifest))
        except (OSError, RepositoryError, DeserializationError, KeyError):
            return False
        return True

    def good_until(self) -> datetime | None:
        """Return until when the centre's word is good that nothing newer exists; `None` if there is none yet."""
        from tuf.api.metadata import Metadata, Timestamp
        from tuf.api.serialization import DeserializationError

        try:
            return Metadata[Timestamp].from_bytes((self._folder / TIMESTAMP).read_bytes()).signed.expires
        except (OSError, DeserializationError):
            return None


def check_root(text: str) -> None:
    """Refuse a root that is not even signed by itself.

    Raises:
        RefusedError: `signature-invalid`.
    """
    from tuf.api.metadata import Metadata, Root
    from tuf.api.serialization import DeserializationError

    try:
        root = Metadata[Root].from_bytes(text.encode())
        own = root.signed.type == Root.type and bool(
            root.signed.get_verification_result(Root.type, root.signed_bytes, root.signatures)
        )
    except DeserializationError:
        own = False
    if not own:
        raise RefusedError(
            Code.SIGNATURE_INVALID, "The centre sent no valid root of its lists of releases. Tell the coordinator."
        )
