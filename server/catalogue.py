"""The catalogue: signed model releases, one folder each, and which of them is promoted.

    catalogue/<name>/manifest.json          SignedManifest
    catalogue/<name>/weights.safetensors    named by the manifest's hash
    catalogue/<name>/card.md                the manifest in words
    catalogue/promoted.json                 the promoted releases, newest last
    catalogue/overrides.json                who promoted what in spite of a refusal, and when, oldest first

A release is never changed. Nodes take no older version back, so a rollback is a *new* release with the weights of an earlier one.
"""

import base64
import errno
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, TypeAdapter, ValidationError

from protocol.card import card_of
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError, UnavailableError
from protocol.release import Manifest, Provenance, Scores, SignedManifest
from protocol.shape import ReleaseName, canonical_json
from server.files import settle_folder, write_durably
from server.promotion import check_evaluation, require_no_harm

MANIFEST, WEIGHTS, CARD, PROMOTED = "manifest.json", "weights.safetensors", "card.md", "promoted.json"
SHIPPED = "ggo@0"
"""The starting weights that every wheel carries."""

_NAME = re.compile(r"(?P<lineage>[a-z][a-z0-9-]{0,30})@(?P<version>\d{1,6})")
"""As `protocol.shape.ReleaseName`; what does not look like this in the folder is no release (a draft left by a crash, say)."""


_PROMOTIONS: TypeAdapter[list[ReleaseName]] = TypeAdapter(Annotated[list[ReleaseName], Field(min_length=1)])


class Catalogue:
    """The releases in one folder.

    Args:
        folder: Exists already; `acinus-centre init` makes it.
        key: Signs releases, and verifies them when they are read.
        clock: The time, with its zone.
    """

    def __init__(self, folder: Path, key: Ed25519PrivateKey, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._key = key
        self._clock = clock

    def names(self) -> list[str]:
        """Return the names of all releases, by lineage and version."""
        found = [path.parent.name for path in self._folder.glob(f"*@*/{MANIFEST}")]
        return sorted((name for name in found if _NAME.fullmatch(name)), key=_place)

    def signed(self, name: str) -> SignedManifest:
        """Return a release's manifest, its signature verified.

        Raises:
            InvalidInputError: `not-found`.
            RefusedError: `signature-invalid`.
        """
        path = self._folder / name / MANIFEST
        if not _NAME.fullmatch(name) or not path.is_file():
            raise InvalidInputError(
                Code.NOT_FOUND, f"There is no release {name}. `acinus-centre catalogue list` shows what there is."
            )
        try:
            signed = SignedManifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise RefusedError(Code.SIGNATURE_INVALID, f"The manifest of {name} is damaged; restore it.") from error
        self._verify(signed)
        if signed.manifest.name != name:
            raise RefusedError(
                Code.SIGNATURE_INVALID, f"The manifest of {name} is that of {signed.manifest.name}; restore it."
            )
        return signed

    def weights(self, name: str) -> bytes:
        """Return a release's weights file, compared with its manifest.

        Raises:
            InvalidInputError: `not-found`.
            RefusedError: `signature-invalid`.
        """
        manifest = self.signed(name).manifest
        try:
            content = (self._folder / name / WEIGHTS).read_bytes()
        except OSError as error:
            raise InvalidInputError(Code.NOT_FOUND, f"The weights of {name} cannot be read; restore them.") from error
        if hashlib.sha256(content).hexdigest() != manifest.weights_sha256:
            raise RefusedError(
                Code.SIGNATURE_INVALID, f"The weights of {name} are not those of its manifest; restore them."
            )
        return content

    def add(self, weights: bytes, *, lineage: str, **provenance: Any) -> SignedManifest:
        """Sign and keep the next release of a lineage. Either the whole release is there afterwards, or nothing of it.

        Args:
            weights: The safetensors file.
            lineage: Whose next version it is.
            provenance: The remaining fields of `Manifest`: parent, architecture, run_id, rounds, sites, epsilon_max, scores, base_scores,
                evaluation, provenance.

        Raises:
            ConflictError: `already-exists` if somebody else added that version meanwhile.
            UnavailableError: `disk-full`.
        """
        version = self._next_version(lineage)
        manifest = Manifest(
            name=f"{lineage}@{version}",
            lineage=lineage,
            version=version,
            weights_sha256=hashlib.sha256(weights).hexdigest(),
            weights_bytes=len(weights),
            created=self._clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
            **provenance,
        )
        signed = self._signed(manifest)
        self._keep(signed, weights)
        return signed

    def promoted(self) -> str:
        """Return the release that nodes should use."""
        return self._promotions()[-1]

    def check_promotable(self, name: str, *, despite: Code | None = None) -> None:
        """Accept a release that nodes would take, for they take no older version than they have, and that its training did not harm.

        Args:
            name: The release.
            despite: The refusal of the sites' evaluation that a person overrides; it must be the very one that stands.

        Raises:
            ConflictError: `illegal-transition`.
            RefusedError: `worse-than-base`, `worse-than-present`, `evaluation-missed`.
            InvalidInputError: `bad-request` if there is no such refusal to override.
        """
        manifest = self.signed(name).manifest
        require_no_harm(manifest)
        present = self.promoted()
        check_evaluation(manifest, present, despite=despite)
        (lineage, version), (other, newest) = _place(name), _place(present)
        if lineage == other and version < newest:
            raise ConflictError(
                Code.ILLEGAL_TRANSITION,
                f"{name} is older than {present}, and nodes take no older version. `acinus-centre catalogue rollback` gives "
                "them the weights that were in use before, as a new version.",
            )

    def note_promotion(self, name: str) -> None:
        """Record that `name` was published."""
        earlier = [before for before in self._promotions() if before != name]
        self._write_promotions([*earlier, name])

    def note_cut_off(self, listed: Collection[str]) -> None:
        """Record a promotion that went as far as the lists of the releases that count, and was cut off before it was recorded.

        Args:
            listed: Who is on them. Where the promoted release is not, a rollback was cut off: that one is made again as it is.
        """
        present = self.promoted()
        lineage, version = _place(present)
        newer = [place for place in map(_place, listed) if place[0] == lineage and place[1] > version]
        if newer and present in listed:
            self.note_promotion("{}@{}".format(*max(newer)))

    def before_promoted(self) -> str:
        """Return the release that was in use before the promoted one.

        Raises:
            ConflictError: `illegal-transition` if there is none.
        """
        promotions = self._promotions()
        if len(promotions) < 2:  # noqa: PLR2004 - the present one and one before
            raise ConflictError(
                Code.ILLEGAL_TRANSITION, f"{promotions[-1]} is the first release; there is none before it."
            )
        return promotions[-2]

    def renew(self, name: str) -> SignedManifest:
        """Add the weights of the earlier release `name` again, as the newest version; one that was made so and never promoted is taken.

        Raises:
            InvalidInputError: `not-found`.
            RefusedError: `signature-invalid`.
        """
        old = self.signed(name).manifest
        newest = self.signed(f"{old.lineage}@{self._next_version(old.lineage) - 1}")
        made = (newest.manifest.parent, newest.manifest.weights_sha256) == (name, old.weights_sha256)
        if made and newest.manifest.name not in self._promotions():
            return newest
        kept = {
            "architecture", "run_id", "rounds", "sites", "epsilon_max", "scores", "base_scores", "evaluation", "provenance",
        }  # fmt: skip
        return self.add(self.weights(name), lineage=old.lineage, parent=name, **old.model_dump(include=kept))

    def same_weights(self, name: str) -> list[str]:
        """Return `name`, and what it renewed, if it was made by a rollback, and what that did: all names of its weights, the last first.

        Raises:
            InvalidInputError: `not-found`.
            RefusedError: `signature-invalid`.
        """
        one = self.signed(name).manifest
        before = None if one.parent is None else self.signed(one.parent).manifest
        if before is None or before.weights_sha256 != one.weights_sha256:
            return [name]
        return [name, *self.same_weights(before.name)]

    def sign_again(self, key: Ed25519PrivateKey) -> None:
        """Sign every manifest with the key that takes the place of the present one, and use it from now on. Twice changes nothing.

        Raises:
            RefusedError: `signature-invalid` if one is signed with neither.
            UnavailableError: `disk-full`.
        """
        present, self._key = self._key, key
        for name in self.names():
            path = self._folder / name / MANIFEST
            try:
                self.signed(name)
            except RefusedError:
                manifest = Catalogue(self._folder, present, self._clock).signed(name).manifest
                write_durably(path, canonical_json(self._signed(manifest)))

    def note_rollback(self, renewed: str) -> None:
        """Record that the promoted release was taken back; `renewed` stands where the one before it stood."""
        self._write_promotions([*self._promotions()[:-2], renewed])

    def _signed(self, manifest: Manifest) -> SignedManifest:
        return SignedManifest(manifest=manifest, signature=_encoded(self._key.sign(canonical_json(manifest))))

    def _verify(self, signed: SignedManifest) -> None:
        try:
            self._key.public_key().verify(_decoded(signed.signature), canonical_json(signed.manifest))
        except InvalidSignature as error:
            raise RefusedError(
                Code.SIGNATURE_INVALID, f"The manifest of {signed.manifest.name} is not signed with the release key."
            ) from error

    def _next_version(self, lineage: str) -> int:
        return max((version for one, version in map(_place, self.names()) if one == lineage), default=-1) + 1

    def _keep(self, signed: SignedManifest, weights: bytes) -> None:
        target = self._folder / signed.manifest.name
        draft = self._folder / f".{signed.manifest.name}.{secrets.token_hex(4)}"
        try:
            draft.mkdir(mode=0o700)
            write_durably(draft / WEIGHTS, weights)
            write_durably(draft / CARD, card_of(signed.manifest).encode())
            write_durably(draft / MANIFEST, canonical_json(signed))
            draft.rename(target)
            settle_folder(self._folder)
        except OSError as error:
            raise _not_kept(signed.manifest.name, error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _promotions(self) -> list[str]:
        try:
            return _PROMOTIONS.validate_json((self._folder / PROMOTED).read_bytes())
        except FileNotFoundError:
            return [SHIPPED]
        except (OSError, ValidationError) as error:
            raise InvalidInputError(
                Code.BAD_SETTING, f"{self._folder / PROMOTED} is damaged. Promote a release again after removing it."
            ) from error

    def _write_promotions(self, names: list[str]) -> None:
        write_durably(self._folder / PROMOTED, json.dumps(names).encode())


def add_shipped(catalogue: Catalogue) -> SignedManifest:
    """Put the weights that came with the software into an empty catalogue, as `ggo@0`.

    Raises:
        InvalidInputError: `not-found` if the wheel is incomplete.
    """
    from models.net import ARCHITECTURE
    from models.weights import STARTING

    if not STARTING.is_file():
        raise InvalidInputError(Code.NOT_FOUND, f"{STARTING} is missing. Install the software again.")
    return catalogue.add(
        STARTING.read_bytes(),
        lineage=SHIPPED.partition("@")[0],
        parent=None,
        architecture=ARCHITECTURE,
        run_id=None,
        rounds=0,
        sites=0,
        epsilon_max=None,
        scores=None,
    )


def described(signed: SignedManifest, *, promoted: bool) -> dict[str, Any]:
    """Return what `catalogue list` shows of one release."""
    manifest = signed.manifest
    scores: Scores | None = manifest.scores
    return {
        "name": manifest.name,
        "promoted": promoted,
        "parent": manifest.parent,
        "weights_sha256": manifest.weights_sha256,
        "created": manifest.created,
        "rounds": manifest.rounds,
        "sites": manifest.sites,
        "epsilon_max": manifest.epsilon_max,
        "scores": scores.model_dump() if scores else None,
        "base_scores": manifest.base_scores.model_dump() if manifest.base_scores else None,
        "evaluation": manifest.evaluation.model_dump(mode="json") if manifest.evaluation else None,
        "provenance": _made_of(manifest.provenance) if manifest.provenance else None,
    }


def _made_of(provenance: Provenance) -> dict[str, Any]:
    software = {one.name: one.version for one in provenance.software}
    return {
        "plan": json.loads(provenance.plan),
        "bundles": list(provenance.bundles),
        "software": software,
        "weights": list(provenance.weights),
    }


def _place(name: str) -> tuple[str, int]:
    """Return lineage and version of a release, in which order releases are sorted."""
    lineage, _, version = name.partition("@")
    return lineage, int(version)


def _not_kept(name: str, error: OSError) -> ConflictError | UnavailableError:
    if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
        return ConflictError(Code.ALREADY_EXISTS, f"{name} was added by somebody else meanwhile. Try again.")
    return UnavailableError(
        Code.DISK_FULL, f"{name} cannot be kept ({error.strerror}). Free some space or correct the folder's owner."
    )


def _encoded(signature: bytes) -> str:
    return base64.urlsafe_b64encode(signature).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
