import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.doors import certificates, doors
from deploy.local.failures import StepFailed
from deploy.local.network import Network, part_pid
from deploy.local.scene import Scene
from deploy.local.sites import SMALL
from deploy.local.stage import Stage
from deploy.local.story import Setting, set_scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return set_scene(Setting(cast=SMALL, out=tmp_path), Network(tmp_path), Stage(Console(stderr=True, quiet=True)))


def test_a_node_that_has_said_yes_is_not_asked_again(scene: Scene) -> None:
    asked: list[str] = []

    def third_time(node) -> bool:
        asked.append(node.site)
        return asked.count(node.site) == 3

    scene.until_each(third_time, what="all say yes", seconds=30)
    assert asked == ["northport"] * 3 + ["highfell"] * 3 + ["southbay"] * 3


def test_a_node_that_never_says_yes_ends_in_a_sentence(scene: Scene) -> None:
    with pytest.raises(StepFailed, match="all say yes: not within 0 s"):
        scene.until_each(lambda node: node.site == "northport", what="all say yes", seconds=0)


def test_a_part_is_killed_noted_and_awaited(scene: Scene) -> None:
    node = scene.nodes[0]
    acts = [sys.executable, "-c", "import time; time.sleep(60)", str(node.home), "--only", "worker"]
    with subprocess.Popen(acts) as first:
        scene.network.until(lambda: part_pid(node.home, "worker") == first.pid, what="it acts", seconds=30)
        assert part_pid(node.home, "link") is None
        assert scene.kill(node, "worker") == first.pid
        assert first.wait() == -9
    assert scene.facts["killed"] == [{"site": "northport", "part": "worker", "pid": first.pid}]
    with pytest.raises(StepFailed, match="no process plays the part worker"):
        scene.kill(node, "worker")
    with subprocess.Popen(acts) as second:
        scene.await_back(node, "worker", killed=first.pid)
        second.kill()


def test_every_door_has_an_address_and_a_key(scene: Scene) -> None:
    scene.keys = {"ministry": "acn_m", "reader": "acn_r"}
    for node in scene.nodes:
        (node.home / "keys").mkdir(parents=True)
        (node.home / "keys" / "console.token").write_text(f"token-of-{node.site}\n")
        (node.home / "node.toml").write_text('[dicom]\nae_title = "LUNGS"\nallowed_callers = ["CT1", "CT2"]\n')
    found = {door.who: door for door in doors(scene)}
    assert found["registry, ministry"].where == f"{scene.centre.origin}/login"
    assert found["registry, ministry"].key == "acn_m"
    assert "registry, coordinator" not in found
    assert found["Northport General, staff"].key == "token-of-northport"
    assert found["Highfell Infirmary, modalities"].key == "AE title LUNGS, called by CT1, CT2"
    assert len({door.where for door in found.values()}) == 1 + 3 * 3
    assert len(list(certificates(scene))) == 1 + 3
