"""Step 1: the centre makes its keys, starts, and refuses whoever has nothing but the CA certificate."""

from deploy.local.network import listens, program_path
from deploy.local.probes import knock, listens_beyond_loopback, tls_answers
from deploy.local.scene import Scene
from deploy.local.settings_file import set_key

_HTTP, _LINK, _FLEET, _SUPERLINK = range(4)
_CLOSED_PATHS = (
    "/v1/control/list-nodes",
    "/v1/control/start-run",
    "/v1/runtime/acquire-task",
    "/docs",
    "/openapi.json",
    "/health",
)


def play(scene: Scene) -> None:
    """Initialise and start the centre, then knock on its doors as a stranger.

    Raises:
        StepFailed: If it does not come up, or if a door opens that should not.
    """
    centre, network = scene.centre, scene.network
    centre.centre("init", "--base-port", str(centre.base_port))
    for name in ("centre.toml", "registry.toml"):
        set_key(centre.home / name, "witness", "directory", "witness")
    set_key(centre.home / "centre.toml", "evaluation", "phantoms", scene.cast.phantoms)
    network.start("centre", [program_path("acinus-centre"), "--home", centre.home, "run"])
    ports = [centre.base_port + offset for offset in (_HTTP, _LINK, _FLEET, _SUPERLINK)]
    network.until(lambda: all(listens(port) for port in ports), what="the centre listens on its four ports", seconds=90)
    scene.note("registry, link, fleet gateway and SuperLink are up, TLS on every port that faces the network")
    scene.facts["bundle_sha256"] = centre.centre.json("status")["bundle_sha256"]
    _knock_as_stranger(scene)


def _knock_as_stranger(scene: Scene) -> None:
    """Try every door of the centre with the CA certificate alone."""
    centre = scene.centre
    fleet = f"https://localhost:{centre.base_port + _FLEET}"
    answers = [
        knock(fleet + path, ca=centre.ca)
        for path in (*_CLOSED_PATHS, "/v1/fleet/activate-node", "/v1/fleet/pull-messages")
    ]
    scene.check(
        all(answer.refused for answer in answers),
        "a peer with only the CA certificate gets nothing from the fleet gateway",
    )
    scene.check(
        not tls_answers(centre.base_port + _LINK, ca=centre.ca), "the link answers no peer without a node certificate"
    )
    sites = knock(f"{centre.origin}/v1/sites", ca=centre.ca, method="GET")
    scene.check(sites.status in {401, 403}, "the registry lists no sites to a caller without a key")
    scene.check(
        not listens_beyond_loopback(centre.base_port + _SUPERLINK), "the SuperLink itself listens on loopback only"
    )
