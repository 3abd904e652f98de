"""A model release: a manifest that the centre signs, and weights that the manifest names by hash."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer

from protocol.evaluation import Evaluation
from protocol.shape import Lineage, OpaqueId, ReleaseName, Sha256, Shape, Timestamp

METADATA_CHARACTERS_MAX = 500_000
"""Of one list; nodes read no longer ones."""

TIMESTAMP = "timestamp.json"

Architecture = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
"""A network that the site's own wheel knows how to build (`models.net`)."""


class Scores(Shape):
    """How a release did on the centre's public evaluation set of phantoms."""

    cases: Annotated[int, Field(ge=1)]
    dice: Annotated[float, Field(ge=0, le=1)]
    ggo_error_points: Annotated[float, Field(ge=0, le=100)]
    false_opacity_points: Annotated[float, Field(ge=0, le=100)]


PlanText = Annotated[str, StringConstraints(pattern=r'^\{[A-Za-z0-9_":,.@{}\[\]+-]{2,8000}\}$')]
"""A run plan as canonical JSON. As text, for a plan of another version would be written otherwise, and its signature would not hold."""


class Software(Shape):
    """A program or library, and its version."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
    version: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}\.[0-9A-Za-z.+]{1,30}$")]


class Provenance(Shape):
    """How a release came about, beyond the numbers of its manifest.

    Attributes:
        plan: As it was frozen when the run began, with the number of its sites in the place of their names.
        bundles: The app bundles, in order: more than one where the run was taken up again by another version.
        software: What ran at the centre when the release was signed.
        weights: What each round began from, the first to the last that was played, by `arrays_sha256`. Sites compare it with what they were
            shown (`client.train.shown`). Empty in a manifest of before it was kept.
    """

    plan: PlanText
    bundles: tuple[Sha256, ...] = Field(max_length=100)
    software: tuple[Software, ...] = Field(max_length=20)
    weights: tuple[Sha256, ...] = Field(default=(), max_length=1000)

    @model_serializer(mode="wrap")
    def _without_what_was_not_kept(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what there was none of, as `Manifest` does."""
        content: dict[str, Any] = write(self)
        if not self.weights:
            content.pop("weights", None)
        return content


class Manifest(Shape):
    """All that a node must know before it loads weights: what, from which run, at what privacy cost."""

    name: ReleaseName
    lineage: Lineage
    version: Annotated[int, Field(ge=0, le=999_999)]
    parent: ReleaseName | None
    architecture: Architecture
    weights_sha256: Sha256
    weights_bytes: Annotated[int, Field(ge=1, le=512 * 1024 * 1024)]
    created: Timestamp
    run_id: OpaqueId | None
    rounds: Annotated[int, Field(ge=0)]
    sites: Annotated[int, Field(ge=0)]
    epsilon_max: Annotated[float, Field(ge=0)] | None
    scores: Scores | None
    base_scores: Scores | None = None
    """Those of the weights that the run started from, on the same phantoms."""
    evaluation: Evaluation | None = None
    """What the sites said of it beside the release that was in use, on patients whom they held out."""

    provenance: Provenance | None = None
    """How it came about, where it came out of a run."""

    @model_serializer(mode="wrap")
    def _without_what_was_not_done(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what there was none of: manifests that were signed before there was such a field verify as they are."""
        content: dict[str, Any] = write(self)
        for name in ("evaluation", "provenance"):
            if getattr(self, name) is None:
                content.pop(name, None)
        return content


class SignedManifest(Shape):
    """`signature` is Ed25519 over `canonical_json(manifest)`, base64url without padding."""

    manifest: Manifest
    signature: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{86}$")]


MetadataName = Annotated[
    str, StringConstraints(pattern=r"^(?:[1-9][0-9]{0,8}\.(?:root|targets|snapshot)|timestamp)\.json$")
]
"""A file of The Update Framework with consistent snapshots (specification 1.0.33, section 6.2)."""

MetadataFiles = dict[MetadataName, Annotated[str, StringConstraints(max_length=METADATA_CHARACTERS_MAX)]]
"""The centre's lists of the releases that count, and of who may sign them, by file name."""


def metadata_name(role: str, version: int) -> MetadataName:
    """Return the file name of one version of a list."""
    return f"{version}.{role}.json"


def manifest_path(name: ReleaseName) -> str:
    """Return under which path the lists name a release: by the hash of its `Manifest` as canonical JSON."""
    return f"{name}/manifest.json"


class ReleaseAnnounced(Shape):
    """The centre has promoted a release; nodes fetch the weights by hash over the link."""

    kind: Literal["release-announced"] = "release-announced"
    signed: SignedManifest
