"""Where people get into a network that was left up, and with what."""

from collections.abc import Iterator
from dataclasses import dataclass

from deploy.local.scene import Node, Scene


@dataclass(frozen=True, slots=True)
class Door:
    """One address, for whom it is, and what lets them in."""

    who: str
    where: str
    key: str


def doors(scene: Scene) -> Iterator[Door]:
    """Yield the doors of the centre, then those of each hospital."""
    origin = scene.centre.origin
    for role, page in (("coordinator", "/login"), ("ministry", "/login"), ("reader", "/login")):
        if role in scene.keys:
            yield Door(f"registry, {role}", origin + page, scene.keys[role])
    for node in scene.nodes:
        yield Door(f"{node.hospital.title}, staff", f"{node.console}/login", _console_token(node))
        yield Door(f"{node.hospital.title}, readers", f"{node.gateway}/reader", "a grant from the registry")
        yield Door(
            f"{node.hospital.title}, modalities",
            f"localhost:{node.dicom_port}",
            f"AE title {node.ae_title}, called by {', '.join(node.callers)}",
        )


def certificates(scene: Scene) -> Iterator[str]:
    """Yield the authorities that a browser must be told to trust, with what they vouch for."""
    yield f"{scene.centre.ca} (registry)"
    yield from (f"{node.gateway_ca} ({node.hospital.title})" for node in scene.nodes)


def _console_token(node: Node) -> str:
    return (node.home / "keys" / "console.token").read_text(encoding="ascii").strip()
