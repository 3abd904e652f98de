"""The node's shelf of model releases. What is not on the centre's signed list, or older than what is here, is never loaded.

`ggo@0` comes with the wheel and needs to be on no list. Every other release lies in `models/<name>/` and is checked against its
manifest, and that against the list, each time it is loaded; the one before is kept, and taken if the present one is damaged.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from client.infer.model import Model
from client.store.files import disk_faults, make_folder, settle_folder, write_durably
from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError, RefusedError, UnavailableError
from protocol.release import Manifest, SignedManifest
from protocol.shape import canonical_json

if TYPE_CHECKING:
    from models.net import GgoNet

SHIPPED = "ggo@0"
"""The starting weights of the wheel."""

WEIGHTS, MANIFEST, CURRENT = "weights.safetensors", "manifest.json", "current.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shelved:
    """What `current.json` says: the release in use and the one before."""

    name: str = SHIPPED
    previous: str = SHIPPED


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
        """Return the name of the release in use."""
        return self._shelved().name

    def previous(self) -> str:
        """Return the name of the release that was in use before."""
        return self._shelved().previous

    def load(self) -> Model:
        """Return the release in use, or the one before if its files do not verify any more.

        Raises:
            InvalidInputError: `not-found`, `bad-shape` if not even the shipped weights can be read.
        """
        shelved = self._shelved()
        if self._loaded is not None and self._loaded.release == shelved.name:
            return self._loaded
        try:
            self._loaded = Model(shelved.name, self.net(shelved.name))
        except FederationError as error:
            if shelved.name == SHIPPED:
                raise
            log.error("release.damaged", extra={"release": shelved.name, "code": error.code.value})  # noqa: TRY400 - the code says it
            return Model(shelved.previous, self.net(shelved.previous))
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
        """Verify a release, keep it and use it from now on.

        Args:
            signed: The manifest that the centre announced.
            weights: The file that the manifest names by hash.

        Returns:
            False if it is in use already.

        Raises:
            RefusedError: `signature-invalid`, or `policy-lineage` for another lineage, an unknown network or an older version.
            InvalidInputError: `bad-shape` if the weights do not fit the network.
            ConflictError: `already-exists` if another release of that name is here.
            UnavailableError: `disk-full`.
        """
        manifest = signed.manifest
        self.verify(signed, weights)
        shelved = self._shelved()
        if manifest.name == shelved.name and self._same(manifest):
            return False
        _require_successor(manifest, shelved.name)
        self._keep(signed, weights)
        self._switch(Shelved(manifest.name, shelved.name))
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

    def roll_back(self) -> str:
        """Use the release before the present one again, and return its name."""
        shelved = self._shelved()
        self._switch(Shelved(shelved.previous, shelved.previous))
        return shelved.previous

    def _shelved(self) -> Shelved:
        """Read `current.json`; without it the shipped weights are in use.

        Raises:
            UnavailableError: `missing-certificate` if it is damaged.
        """
        path = self._folder / CURRENT
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return Shelved(str(content["name"]), str(content.get("previous", SHIPPED)))
        except FileNotFoundError:
            return Shelved()
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise UnavailableError(
                Code.MISSING_CERTIFICATE, f"{path} is damaged. Remove it to use the shipped weights."
            ) from error

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
        if (target / WEIGHTS).exists() and not self._same(signed.manifest):
            raise ConflictError(Code.ALREADY_EXISTS, f"Another release called {name} is on this node already.")
        with disk_faults():
            make_folder(self._folder)
            shutil.rmtree(draft, ignore_errors=True)
            write_durably(draft / WEIGHTS, weights)
            write_durably(draft / MANIFEST, canonical_json(signed))
            _require_loadable(draft / WEIGHTS)
            shutil.rmtree(target, ignore_errors=True)  # half of an earlier try, or the same release
            draft.replace(target)
            settle_folder(self._folder)

    def _switch(self, shelved: Shelved) -> None:
        write_durably(self._folder / CURRENT, json.dumps({"name": shelved.name, "previous": shelved.previous}).encode())
        self._loaded = None


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


def _require_loadable(path: Path) -> None:
    from models.weights import load_net

    try:
        load_net(path)
    except InvalidInputError as error:
        shutil.rmtree(path.parent, ignore_errors=True)
        raise InvalidInputError(Code.BAD_SHAPE, "The weights of the release do not fit its network.") from error
