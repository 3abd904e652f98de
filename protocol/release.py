"""A model release: a manifest that the centre signs, and weights that the manifest names by hash."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from protocol.shape import Lineage, OpaqueId, ReleaseName, Sha256, Shape, Timestamp

Architecture = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
"""A network that the site's own wheel knows how to build (`models.net`)."""


class Scores(Shape):
    """How a release did on the centre's public evaluation set of phantoms."""

    cases: Annotated[int, Field(ge=1)]
    dice: Annotated[float, Field(ge=0, le=1)]
    ggo_error_points: Annotated[float, Field(ge=0, le=100)]
    false_opacity_points: Annotated[float, Field(ge=0, le=100)]


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


class SignedManifest(Shape):
    """`signature` is Ed25519 over `canonical_json(manifest)`, base64url without padding."""

    manifest: Manifest
    signature: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{86}$")]


class ReleaseAnnounced(Shape):
    """The centre has promoted a release; nodes fetch the weights by hash over the link."""

    kind: Literal["release-announced"] = "release-announced"
    signed: SignedManifest
