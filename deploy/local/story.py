"""The story: nine steps in their order, what they need, and what is written whether they hold or not."""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from deploy.local.commands import CommandLine
from deploy.local.failures import StepFailed
from deploy.local.network import Network
from deploy.local.report import write_report, write_summary
from deploy.local.scene import Centre, Node, Scene
from deploy.local.sites import Cast, Hospital
from deploy.local.stage import Stage
from deploy.local.steps import (
    centre_comes_up,
    hospitals_join,
    leaks_are_sought,
    ministry_asks,
    nodes_measure,
    release_travels,
    sites_train,
    studies_arrive,
    study_is_read,
)

Step = tuple[str, str, Callable[[Scene], None]]
"""Its name in the summary, its title, and what it does."""

STEPS: tuple[Step, ...] = (
    ("centre", "1 The centre comes up", centre_comes_up.play),
    ("join", "2 Hospitals join", hospitals_join.play),
    ("studies", "3 Studies arrive by DICOM", studies_arrive.play),
    ("measure", "4 Each node measures", nodes_measure.play),
    ("train", "5 Sites train together", sites_train.play),
    ("release", "6 A release travels", release_travels.play),
    ("counts", "7 The ministry asks", ministry_asks.play),
    ("read", "8 A study is read across sites", study_is_read.play),
    ("leaks", "9 The leak check", leaks_are_sought.play),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How the story is to be played. `data` holds real DICOM studies to be sent as well."""

    cast: Cast
    out: Path
    data: Path | None = None
    keep: bool = False


def play(setting: Setting, stage: Stage, *, when_kept: Callable[[Scene], None]) -> dict[str, Any]:
    """Play all steps and return the facts that `summary.json` holds; `ok` says whether every step held.

    All programs have ended when this returns. With `keep` and all steps held, `when_kept` is called before they do.

    Raises:
        KeyboardInterrupt: After everything has been ended, if a person pressed Ctrl-C.
    """
    fresh_folder(setting.out)
    started = time.monotonic()
    with Network(setting.out) as network, stage:
        scene = set_scene(setting, network, stage)
        failure = _play_steps(scene)
        facts = _facts(scene, failure, seconds=time.monotonic() - started)
        _write(scene, facts)
        if setting.keep and failure is None:
            when_kept(scene)
    return facts


def fresh_folder(folder: Path) -> None:
    """Make `folder` empty. A folder that holds something else than an earlier story is left alone.

    Raises:
        StepFailed: If the folder holds anything but an earlier story.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise StepFailed(f"{folder} holds something else than an earlier demo; name another folder with --out", folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).write_text("The demo writes here and empties this folder before it starts.\n", encoding="utf-8")


_MARK = "MADE-BY-THE-DEMO.txt"


def set_scene(setting: Setting, network: Network, stage: Stage) -> Scene:
    """Give every program its folder, its ports and its command line; nothing is started."""
    out = setting.out
    centre_folder = out / "centre"
    lines = [
        CommandLine(program, centre_folder / "home", centre_folder / "commands.log")
        for program in ("acinus-centre", "acinus-registry")
    ]
    return Scene(
        cast=setting.cast, out=out, today=_today(), network=network, stage=stage,
        centre=Centre(centre_folder, network.port_range(), *lines),
        nodes=tuple(_node(hospital, out / hospital.site, network) for hospital in setting.cast.hospitals),
        data=setting.data,
    )  # fmt: skip


def _node(hospital: Hospital, folder: Path, network: Network) -> Node:
    return Node(
        hospital, folder, network.port_range(), CommandLine("acinus-node", folder / "home", folder / "commands.log")
    )


def _play_steps(scene: Scene) -> dict[str, str] | None:
    """Play the steps until one fails; return what failed, or nothing."""
    for name, title, step in STEPS:
        try:
            with scene.stage.step(name, title):
                step(scene)
                scene.network.check()
        except StepFailed as failure:
            return {"step": title, "what": failure.what, "logs": failure.where}
    return None


def _facts(scene: Scene, failure: dict[str, str] | None, *, seconds: float) -> dict[str, Any]:
    """Gather what `summary.json` holds; what a failed story did not reach stays empty."""
    reached: dict[str, Any] = {
        "rounds_completed": 0, "rounds": [], "training_start": None, "refused_sites": {}, "epsilon": {}, "release": None, "cases": [], "counts": {},
        "read": {"state": None, "slots": [], "timeline": [], "report_sha256": None}, "leaks": None, "leak_search": None, "killed": [],
    }  # fmt: skip
    reached.update(scene.facts)
    return {
        "ok": failure is None,
        "failure": failure,
        "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sites": [_site(node.hospital) for node in scene.nodes],
        **reached,
        "held": [asdict(one) for one in scene.held],
        "seconds": scene.stage.seconds,
        "total_seconds": round(seconds, 1),
    }


def _site(hospital: Hospital) -> dict[str, Any]:
    return {
        "site": hospital.site, "title": hospital.title, "region": hospital.region, "scanner": hospital.scanner, "studies": hospital.studies,
        "epsilon_total": hospital.epsilon_total,
    }  # fmt: skip


def _write(scene: Scene, facts: dict[str, Any]) -> None:
    write_summary(facts, scene.out / "summary.json")
    write_report(
        facts, scene.out / "report.html", pictures=scene.pictures, screenshot=scene.out / "reader" / "viewer.png"
    )


def _today() -> date:
    return datetime.now(UTC).date()
