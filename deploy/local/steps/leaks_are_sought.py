"""Step 9: every planted identifier is looked for in all that the centre stored, logged or received."""

from dataclasses import asdict

from deploy.local.leaks import Search, search
from deploy.local.planted import Identifier, Kind
from deploy.local.scene import Scene


def play(scene: Scene) -> None:
    """Search the centre's folder; first make sure that the search sees what is there.

    Raises:
        StepFailed: If one identifier is found, if nothing was witnessed, or if the search is blind.
    """
    folder = scene.centre.folder
    witnessed = sum(path.stat().st_size for path in (scene.centre.home / "witness").rglob("*") if path.is_file())
    scene.check(
        witnessed > 0,
        f"the centre kept every byte it received for this check ({witnessed / 1e6:.1f} MB)",
        scene.centre.home / "witness",
    )
    control = search(folder, [Identifier(Kind.TEXT, node.site) for node in scene.nodes])
    scene.check(
        {hit.value for hit in control.hits} == {node.site for node in scene.nodes},
        "the search finds what should be there: every site's name",
    )
    scene.planted.save(scene.out / "planted.json")
    found = search(folder, scene.planted)
    scene.facts["leaks"] = len(found.hits)
    scene.facts["leak_search"] = _told(scene, found, control)
    scene.check(not found.hits, f"0 of {found.identifiers} planted identifiers are at the centre", folder)


def _told(scene: Scene, found: Search, control: Search) -> dict[str, object]:
    """Return the search as the summary tells it; hits say where and in which form, never what."""
    hits = [{name: value for name, value in asdict(hit).items() if name != "value"} for hit in found.hits]
    return {
        "identifiers": found.identifiers,
        "too_common_to_search": len(scene.planted.unsearchable),
        "forms": found.forms,
        "files": found.files,
        "searched_bytes": found.searched_bytes,
        "control": f"{len(control.hits)} places with a site's name",
        "hits": hits,
    }
