"""The node's shelf of model releases. What is not on the centre's signed list, or older than what is here, is never loaded.

`ggo@0` comes with the wheel and needs to be on no list. Every other release lies in `models/<name>/` and is checked against its
manifest, and that against the list, each time it is loaded. Earlier ones are kept: the newest that still verifies takes the place of a
present one that does not.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from client.infer.model import Model
from client.store.files import disk_faults, make_folder, settle_folder, write_durably
from protocol.card import card_of
from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError, RefusedError, UnavailableError
from protocol.release import Manifest, SignedManifest
from protocol.shape import canonical_json

if TYPE_CHECKING:
    from models.net import GgoNet

SHIPPED = "ggo@0"
"""The starting weights of the wheel."""

WEIGHTS, MANIFEST, CARD, CURRENT = "weights.safetensors", "manifest.json", "card.md", "current.json"

log = logging.getLogger(__name__)


class ReleaseShelf:
    """The releases in one `models` folder."""

    def __init__(self, folder: Path, listed: Callable[[Manifest], bool]) -> None:
        """Open the shelf.

        Args:
            folder: The node's `models`; need not exist.
            listed: Says whether the centre's signed list names exactly this release (`client/gate/lists.py`); nothing else is added or
                loaded, but for the shipped weights.
        """
        self._folder = folder
        self._listed = listed
        self._loaded: Model | None = None

    def current(self) -> str:
        """Return the name of the newest release that was taken; without one, that of the shipped weights.

        Raises:
            UnavailableError: `missing-certificate` if `current.json` is damaged.
        """
        path = self._folder / CURRENT
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["name"])
        except FileNotFoundError:
            return SHIPPED
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnavailableError(
                Code.MISSING_CERTIFICATE, f"{path} is damaged. Remove it to use the shipped weights."
            ) from error

    def usable(self) -> tuple[str, str]:
        """Return which release is in use and which would take its place, as far as files and list say. Loads no network.

        The first is another than `current` if that one does not verify any more; both are the shipped weights if nothing else does.
        """
        found = [name for name in self._line() if self._stands(name)]
        return found[0], found[1] if len(found) > 1 else found[0]

    def load(self) -> Model:
        """Return the present release, or the newest one before it that verifies.

        Raises:
            InvalidInputError: `not-found`, `bad-shape` if not even the shipped weights can be read.
        """
        present, *earlier = self._line()
        if self._loaded is not None and self._loaded.release == present:
            return self._loaded
        try:
            self._loaded = Model(present, self.net(present))
        except FederationError as error:
            if present == SHIPPED:
                raise
            log.error("release.damaged", extra={"release": present, "code": error.code.value})  # noqa: TRY400 - the code says it
            stands = next(name for name in earlier if self._stands(name))
            return Model(stands, self.net(stands))
        return self._loaded

    def weights(self, name: str) -> Path:
        """Return the weights file of a release on the shelf.

        Raises:
            RefusedError: `policy-lineage` if there is no such release here.
        """
        if name == SHIPPED:
            from models.weights import STARTING

            return STARTING
        if not (self._folder / name / WEIGHTS).is_file():
            raise RefusedError(Code.POLICY_LINEAGE, f"The release {name} is not on this node; fetch it first.")
        return self._folder / name / WEIGHTS

    def net(self, name: str) -> "GgoNet":
        """Return the network of a release on the shelf, after checking its files once more.

        Raises:
            RefusedError: `signature-invalid`, `policy-lineage`.
            InvalidInputError: `bad-shape`, `not-found`.
        """
        from models.weights import load_net

        path = self.weights(name)
        if name != SHIPPED:
            self.verify(self._manifest(name), path.read_bytes())
        return load_net(path)

    def accept(self, signed: SignedManifest, weights: bytes) -> bool:
        """Verify a release, keep it and use it from now on. The present one is taken again where its files are damaged.

        Args:
            signed: The manifest that the centre announced.
            weights: The file that the manifest names by hash.

        Returns:
            False if it is in use already, undamaged.

        Raises:
            RefusedError: `signature-invalid`, or `policy-lineage` for another lineage, an unknown network or an older version.
            InvalidInputError: `bad-shape` if the weights do not fit the network, or no numbers come out of it.
            ConflictError: `already-exists` if another release of that name is here.
            UnavailableError: `disk-full`.
        """
        manifest = signed.manifest
        self.verify(signed, weights)
        present = self.current()
        if manifest.name != present:
            _require_successor(manifest, present)
        elif self._stands(present) and self._same(manifest):
            return False
        self._keep(signed, weights)
        write_durably(self._folder / CURRENT, json.dumps({"name": manifest.name}).encode())
        self._loaded = None
        log.info("release.current", extra={"release": manifest.name})
        return True

    def verify(self, signed: SignedManifest, weights: bytes) -> None:
        """Check the list, the hash, the size and the name.

        Raises:
            RefusedError: `signature-invalid`.
        """
        manifest = signed.manifest
        if not self._listed(manifest):
            raise RefusedError(
                Code.SIGNATURE_INVALID, f"{manifest.name} is not on the list of releases that the centre signed."
            )
        named = manifest.name == f"{manifest.lineage}@{manifest.version}"
        same = len(weights) == manifest.weights_bytes and hashlib.sha256(weights).hexdigest() == manifest.weights_sha256
        if not (named and same):
            raise RefusedError(
                Code.SIGNATURE_INVALID, "The weights are not those that the manifest names. Fetch them again."
            )

    def _line(self) -> list[str]:
        """Return the present release and what may take its place: earlier ones of its lineage, the newest first, then the shipped weights."""
        present = self.current()
        lineage, _, version = present.partition("@")
        kept = (path.name.partition("@")[2] for path in self._folder.glob(f"{lineage}@*"))
        earlier = sorted((int(one) for one in kept if one.isdecimal() and int(one) < int(version)), reverse=True)
        return list(dict.fromkeys([present, *(f"{lineage}@{one}" for one in earlier), SHIPPED]))

    def _stands(self, name: str) -> bool:
        """Say whether a release is here, undamaged and on the list."""
        if name == SHIPPED:
            return True
        try:
            self.verify(self._manifest(name), self.weights(name).read_bytes())
        except (FederationError, OSError):
            return False
        return True

    def _manifest(self, name: str) -> SignedManifest:
        try:
            return SignedManifest.model_validate_json((self._folder / name / MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise RefusedError(Code.SIGNATURE_INVALID, f"The manifest of {name} is missing or damaged.") from error

    def _same(self, manifest: Manifest) -> bool:
        return self._manifest(manifest.name).manifest.weights_sha256 == manifest.weights_sha256

    def _keep(self, signed: SignedManifest, weights: bytes) -> None:
        """Write the release beside its place and move it in as a whole."""
        name = signed.manifest.name
        target, draft = self._folder / name, self._folder / f".{name}.part"
        if self._stands(name) and not self._same(signed.manifest):
            raise ConflictError(Code.ALREADY_EXISTS, f"Another release called {name} is on this node already.")
        with disk_faults():
            make_folder(self._folder)
            shutil.rmtree(draft, ignore_errors=True)
            write_durably(draft / WEIGHTS, weights)
            write_durably(draft / MANIFEST, canonical_json(signed))
            write_durably(draft / CARD, card_of(signed.manifest).encode())
            _require_working(draft / WEIGHTS)
            shutil.rmtree(target, ignore_errors=True)  # half of an earlier try, or a damaged one
            draft.replace(target)
            settle_folder(self._folder)


def shipped_model() -> Model:
    """Return the weights of the wheel.

    Raises:
        InvalidInputError: `not-found`, `bad-shape` if they are damaged.
    """
    from models.weights import STARTING, load_net

    return Model(SHIPPED, load_net(STARTING))


def _require_successor(manifest: Manifest, present: str) -> None:
    """Refuse what is not a later version of the same lineage for a network that this wheel can build.

    Raises:
        RefusedError: `policy-lineage`.
    """
    from models.net import ARCHITECTURE

    lineage, _, version = present.partition("@")
    if manifest.architecture != ARCHITECTURE:
        raise RefusedError(
            Code.POLICY_LINEAGE, "The release needs a network that this version cannot build. Update it."
        )
    if manifest.lineage != lineage or manifest.version <= int(version):
        raise RefusedError(
            Code.POLICY_LINEAGE, f"The release is not newer than {present}; an old one is not taken back."
        )


def _require_working(path: Path) -> None:
    """Refuse, and remove, weights that no measurement could be made with.

    Raises:
        InvalidInputError: `bad-shape`.
    """
    if not _works(path):
        shutil.rmtree(path.parent, ignore_errors=True)
        raise InvalidInputError(
            Code.BAD_SHAPE, "The weights of the release do not fit its network, or it gives no numbers with them."
        )


def _works(path: Path) -> bool:
    import torch

    from models.net import CONTEXT, STRIDE
    from models.weights import load_net

    try:
        net = load_net(path)
    except InvalidInputError:
        return False
    with torch.inference_mode():
        answer = net(torch.linspace(-1, 1, CONTEXT * STRIDE**2).reshape(1, CONTEXT, STRIDE, STRIDE))
    return bool(torch.isfinite(answer).all())
