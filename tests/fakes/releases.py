"""A release of invented weights, for tests that do not load them."""

import hashlib

from protocol.release import Manifest, SignedManifest


def a_release(name: str = "ggo@1", weights: bytes = b"weights, not looked into") -> SignedManifest:
    """A manifest with a signature of the right shape."""
    manifest = Manifest(
        name=name, lineage="ggo", version=int(name.split("@")[1]), parent="ggo@0", architecture="lite-2p5d",
        weights_sha256=hashlib.sha256(weights).hexdigest(), weights_bytes=len(weights), created="2026-03-04T12:00:00Z",
        run_id=None, rounds=0, sites=0, epsilon_max=None, scores=None,
    )  # fmt: skip
    return SignedManifest(manifest=manifest, signature="A" * 86)
