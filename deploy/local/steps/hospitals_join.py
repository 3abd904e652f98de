"""Step 2: each hospital makes its keys, uses its invite once, writes its policy and starts its node."""

import base64
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deploy.local.commands import CommandLine
from deploy.local.network import listens, program_path
from deploy.local.probes import knock
from deploy.local.scene import Node, Scene
from deploy.local.sender import CALLING
from deploy.local.settings_file import set_key

_CONFLICT, _REFUSED = 3, 4
_QUIET_SECONDS = 1.5
_PARTS = ("receiver", "worker", "link", "supernode", "runner", "gateway", "console")


def play(scene: Scene) -> None:
    """Invite, initialise, enrol and start every hospital; try a used and a wrong invite.

    Raises:
        StepFailed: If a hospital cannot join, or if an invite works that should not.
    """
    scene.stage.expect(len(scene.nodes) + 1)
    invites = {node.site: _invite(scene, node) for node in scene.nodes}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda node: _enrol(scene, node, invites[node.site]), scene.nodes))
    scene.note(f"{len(scene.nodes)} hospitals enrolled with keys made at home")
    _try_bad_invites(scene, invites[scene.nodes[0].site])
    for node in scene.nodes:
        scene.network.start(node.site, [program_path("acinus-node"), "--home", node.home, "run"])
    scene.until_each(lambda node: _is_up(scene, node), what="every node runs all its parts", seconds=120)
    _knock_as_node(scene)


def _invite(scene: Scene, node: Node) -> str:
    answer: dict[str, Any] = scene.centre.registry.json(
        "invite", "create", "--site", node.site, "--region", node.hospital.region
    )
    return str(answer["invite"])


def _enrol(scene: Scene, node: Node, invite: str) -> None:
    """Set the node up as the hospital's IT would, its limits before its first connection."""
    words = ("--base-port", str(node.base_port), "--site-name", node.hospital.title, "--caller", CALLING)
    node.command("init", *words)
    set_key(node.home / "node.toml", "dicom", "quiet_seconds", _QUIET_SECONDS)
    policy = node.home / "policy.toml"
    set_key(policy, "training", "allowed", value=True)
    set_key(policy, "training", "bundles", [scene.facts["bundle_sha256"]])
    set_key(policy, "training", "epsilon_total", node.hospital.epsilon_total)
    set_key(policy, "training", "epsilon_per_run", node.hospital.epsilon_total)
    set_key(policy, "training", "whole_plan", value=node.hospital.whole_plan)
    node.command("enrol", invite)
    scene.stage.advance()


def _try_bad_invites(scene: Scene, used: str) -> None:
    """A second hospital tries an invite that was used, and one that nobody wrote."""
    folder = scene.out / "impostor"
    impostor = CommandLine("acinus-node", folder / "home", folder / "commands.log")
    impostor("init", "--base-port", str(scene.network.port_range()), "--site-name", "Impostor")
    code, _ = impostor.attempt("enrol", used)
    scene.check(code == _CONFLICT, "an invite that was used is refused (exit code 3)", impostor.log)
    code, _ = impostor.attempt("enrol", _altered(used))
    scene.check(code == _REFUSED, "an invite that nobody wrote is refused (exit code 4)", impostor.log)
    scene.check(
        not (impostor.home / "trust" / "node.pem").exists(), "a refused hospital holds no certificate", impostor.home
    )
    scene.stage.advance()


def _altered(invite: str) -> str:
    """Return the invite with another token, well formed: base64url of JSON."""
    content = json.loads(base64.urlsafe_b64decode(invite + "=" * (-len(invite) % 4)))
    forged = json.dumps({**content, "token": secrets.token_urlsafe(32)}).encode()
    return base64.urlsafe_b64encode(forged).decode().rstrip("=")


def _is_up(scene: Scene, node: Node) -> bool:
    if not all(listens(node.base_port + offset) for offset in (0, 1, 2)):
        return False
    parts: dict[str, Any] = node.status()["parts"]
    scene.stage.say(f"{node.site}: {parts}")
    return all(parts.get(part) == "running" for part in _PARTS)


def _knock_as_node(scene: Scene) -> None:
    """An enrolled node may use the fleet API and nothing else of the SuperLink."""
    node = scene.nodes[0]
    identity: tuple[Path, Path] = (node.home / "trust" / "node.pem", node.home / "keys" / "node.key")
    fleet = f"https://localhost:{scene.centre.base_port + 2}"
    closed = [
        knock(fleet + path, ca=scene.centre.ca, identity=identity)
        for path in ("/v1/control/list-nodes", "/v1/runtime/acquire-task", "/docs")
    ]
    scene.check(
        all(answer.status in {403, 404} for answer in closed),
        "control, runtime and other paths are refused to an enrolled node too",
    )
    opened = knock(f"{fleet}/v1/fleet/pull-messages", ca=scene.centre.ca, identity=identity)
    scene.check(opened.status not in {None, 404}, "the fleet API is there for an enrolled node")
