"""Step 6: the trained model is promoted; every node fetches it over the link, verifies it and measures a study with it.

A federated evaluation needs a hundred held-out patients, and the cast has a few dozen in all. So its plan has none, `promote` refuses what
nobody compared, and the coordinator overrides that, which is written down.
"""

import base64
import hashlib
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from deploy.local.scene import Node, Scene
from deploy.local.steps.nodes_measure import await_records_gone


def play(scene: Scene) -> None:
    """Promote the run's release and wait until every node uses it.

    Raises:
        StepFailed: If the release does not reach a node, or if what a node holds is not what the centre signed.
    """
    name = str(scene.facts["trained_release"])
    _promote(scene, name)
    scene.until_each(
        lambda node: bool(node.status()["model_release"] == name), what=f"every node has {name}", seconds=60
    )
    manifests = [_verified_manifest(scene, node, name) for node in scene.nodes]
    scene.check(
        len({manifest["weights_sha256"] for manifest in manifests}) == 1,
        "every node holds the same weights, by their hash",
    )
    scene.facts["release"] = {
        "name": name, "version": manifests[0]["version"], "sha256": manifests[0]["weights_sha256"], "signature_verified": True,
        "scores": manifests[0]["scores"], "rounds": manifests[0]["rounds"], "epsilon_max": manifests[0]["epsilon_max"],
    }  # fmt: skip
    _measure_again(scene, scene.nodes[0], name)
    await_records_gone(scene)


def _promote(scene: Scene, name: str) -> None:
    """Promote the release in spite of the one refusal that stands, and find that in the centre's record."""
    centre, code = scene.centre.centre, "evaluation-missed"
    exit_code, output = centre.attempt("catalogue", "promote", name, "--json")
    refused = centre.document(output, verb="promote")
    scene.check(
        (exit_code, refused.get("code")) == (4, code),
        f"{name} is not promoted just so ({refused.get('code', 'promoted')}): no hospital has compared it",
    )
    centre("catalogue", "promote", name, "--despite", code)
    [override] = centre.json("catalogue", "list")["overrides"]
    scene.check((override["release"], override["code"]) == (name, code), "the coordinator's override is on record")


def _measure_again(scene: Scene, node: Node, name: str) -> None:
    """Measure the most affected study of a site with the new release; its case in the facts follows."""
    case = scene.most_affected(node)
    scene.stage.say(f"{node.site} measures a study again")
    [again] = node.command.json("ingest", "--remeasure", case["study"])["studies"]
    before = case["ggo_fraction"]
    case.update(ggo_fraction=again["ggo_fraction"], model_release=again["model_release"])
    scene.check(
        case["model_release"] == name,
        f"{node.site} measured a study again with {name}: {100 * case['ggo_fraction']:.1f} % ground glass, {100 * before:.1f} % before",
    )


def _verified_manifest(scene: Scene, node: Node, name: str) -> dict[str, Any]:
    """Check the node's copy against the centre's public key, with nothing but standard cryptography."""
    folder = node.home / "models" / name
    signed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest: dict[str, Any] = signed["manifest"]
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    scene.check(digest == manifest["weights_sha256"], f"{node.site} holds {name} as its manifest names it", folder)
    scene.check(
        _signed_by_centre(scene, manifest, signed["signature"]),
        f"the signature of {name} at {node.site} verifies",
        folder,
    )
    return manifest


def _signed_by_centre(scene: Scene, manifest: dict[str, Any], signature: str) -> bool:
    """Ed25519 (RFC 8032) over the manifest as canonical JSON: sorted keys, no spaces."""
    key = load_pem_public_key((scene.centre.home / "secrets" / "release.pub").read_bytes())
    content = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(base64.urlsafe_b64decode(signature + "=="), content)
    except InvalidSignature:
        return False
    return True
