"""Step 4: each node measures or refuses what it received; a worker and a link are killed; labels enter; records leave through the gate."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.phantoms import PhantomStudy
from deploy.local.scene import Node, Scene
from deploy.local.stored import PICTURE, StoredStudy, objections, settled, stored_studies

_STILL_SECONDS = 5.0
"""A worker killed between its row and its line in the log never writes that line; after this long without news the node is asked."""
_SECONDS_EACH = 30
_PICTURES_REAL, _PICTURES = 2, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One study as it was sent: what the node must hold, and what it should make of it."""

    site: str
    study_uid: str
    instances: int
    phantom: PhantomStudy | None


def play(scene: Scene) -> None:
    """Wait until all is measured, and look at what every node made of every study.

    Raises:
        StepFailed: If a study is lost, is measured where it should be refused (or the reverse), or leaves less than it should.
    """
    sent = sent_studies(scene)
    _kill_link(scene, scene.nodes[-1])
    _await_measured(scene, sent)
    held = {node.site: {study.study_uid: study for study in stored_studies(node)} for node in scene.nodes}
    check_nothing_lost(scene, sent, held)
    check_outcomes(scene, sent, held)
    _check_results(scene, sent, held)
    _import_labels(scene, held)
    scene.facts["cases"] = [case(one, held[one.site][one.study_uid]) for one in sent]
    scene.pictures = pictures(scene, sent, held)
    await_records_gone(scene)


def sent_studies(scene: Scene) -> list[Sent]:
    """Return every study that was sent, phantoms first."""
    phantoms = [
        Sent(site=one.site, study_uid=one.study_uid, instances=one.instances, phantom=one) for one in scene.studies
    ]
    real = [
        Sent(site=scene.nodes[0].site, study_uid=one.study_uid, instances=one.instances, phantom=None)
        for one in scene.real
    ]
    return phantoms + real


def case(sent: Sent, study: StoredStudy) -> dict[str, Any]:
    """Return what the summary says of one study. It holds the node's key of the study, and nothing that was in its header."""
    phantom = sent.phantom
    return {
        "site": sent.site, "study": study.study_key, "source": "phantom" if phantom else "real", "week": phantom.week if phantom else None,
        "outcome": study.state, "code": study.code, "ggo_fraction": study.ggo_fraction,
        "truth_fraction": phantom.truth_fraction if phantom and not phantom.expected else None, "model_release": study.model_release,
    }  # fmt: skip


def await_records_gone(scene: Scene) -> None:
    """Wait until every case record has left through the gate and the registry has taken it.

    Raises:
        StepFailed: If a record stays, or the registry does not want one.
    """
    scene.stage.say("the last case records leave")
    scene.until_each(
        lambda node: node.status()["outbox"] == 0, what="every case record has reached the registry", seconds=60
    )
    parked = {node.site: node.status()["parked"] for node in scene.nodes}
    scene.check(not any(parked.values()), "every case record left through its gate and was taken by the registry")


def _kill_link(scene: Scene, node: Node) -> None:
    """Kill a link while records come up for it; they wait in the outbox until it is back."""
    scene.await_back(node, "link", killed=scene.kill(node, "link"))
    scene.note(f"the link of {node.site} was killed and came back")


def _await_measured(scene: Scene, sent: list[Sent]) -> None:
    """Follow the workers by their logs, kill one of them in the middle, and end when every node says that nothing waits."""
    scene.stage.expect(len(sent))
    logs = {node.site: node.home / "logs" / "worker.jsonl" for node in scene.nodes}
    to_do = {node.site: sum(one.site == node.site for one in sent) for node in scene.nodes}
    progress = Progress()

    def nothing_waits() -> bool:
        return all(node.status()["studies"]["received"] == 0 for node in scene.nodes)

    def all_settled() -> bool:
        left = {site: count - len(settled(logs[site])) for site, count in to_do.items()}
        scene.stage.advance(len(sent) - sum(left.values()))
        scene.stage.say(", ".join(f"{site} {count}" for site, count in left.items() if count > 0))
        if not progress.killed and sum(left.values()) <= len(sent) * 2 / 3:
            progress.killed = True
            _kill_worker(scene, left)
        return progress.is_time_to_ask(sum(left.values())) and nothing_waits()

    scene.network.until(all_settled, what="every study is measured or refused", seconds=60 + _SECONDS_EACH * len(sent))


@dataclass
class Progress:
    """When the number of studies to go last changed, and whether a worker has been killed yet."""

    left: int = -1
    since: float = 0.0
    killed: bool = False

    def is_time_to_ask(self, left: int) -> bool:
        """Say whether all seems done, or nothing has moved for a while."""
        if left != self.left:
            self.left, self.since = left, time.monotonic()
        if left <= 0:
            return True
        still = time.monotonic() - self.since > _STILL_SECONDS
        self.since = time.monotonic() if still else self.since
        return still


def _kill_worker(scene: Scene, left: dict[str, int]) -> None:
    """Kill the worker that has most to do."""
    node = scene.node(max(left, key=lambda site: left[site]))
    scene.await_back(node, "worker", killed=scene.kill(node, "worker"))
    scene.note(f"the worker of {node.site} was killed with {left[node.site]} studies to go, and came back")


def check_nothing_lost(scene: Scene, sent: list[Sent], held: dict[str, dict[str, StoredStudy]]) -> None:
    """Every instance that was acknowledged is a file in its node."""
    lost = [
        one
        for one in sent
        if one.study_uid not in held[one.site] or held[one.site][one.study_uid].instances != one.instances
    ]
    total = sum(one.instances for one in sent)
    scene.check(not lost, f"no received study is lost: all {total} acknowledged instances are in their nodes")


def check_outcomes(scene: Scene, sent: list[Sent], held: dict[str, dict[str, StoredStudy]]) -> None:
    """Sound phantoms are measured, odd ones refused with their own code; of real studies either is told."""
    phantoms = [(one.phantom, held[one.site][one.study_uid]) for one in sent if one.phantom]
    unlike = [f"{study.state} {study.code}" for phantom, study in phantoms if not _as_expected(phantom, study)]
    sound = sum(phantom.expected is None for phantom, _ in phantoms)
    scene.check(not unlike, f"all {sound} sound phantoms were measured, none refused", ", ".join(unlike))
    for phantom, study in phantoms:
        if phantom.expected:
            scene.note(f"an odd study at {phantom.site} was refused with {study.code}")
    for one in sent:
        if one.phantom is None:
            scene.note(f"a real study at {one.site}: {_told(held[one.site][one.study_uid])}")


def _as_expected(phantom: PhantomStudy, study: StoredStudy) -> bool:
    return study.code == phantom.expected and study.state == ("refused" if phantom.expected else "measured")


def _told(study: StoredStudy) -> str:
    if study.ggo_fraction is None:
        return f"{study.state} with {study.code}"
    return f"{100 * study.ggo_fraction:.1f} % ground glass, from {study.instances} slices"


def _check_results(scene: Scene, sent: list[Sent], held: dict[str, dict[str, StoredStudy]]) -> None:
    """Every measured study has its SEG, SR and picture."""
    measured = [held[one.site][one.study_uid] for one in sent if held[one.site][one.study_uid].state == "measured"]
    wrong = {study.results: found for study in measured if (found := objections(study))}
    scene.check(
        not wrong,
        f"all {len(measured)} measured studies have their DICOM SEG, their TID 1500 SR and their picture",
        f"{wrong}",
    )


def _import_labels(scene: Scene, held: dict[str, dict[str, StoredStudy]]) -> None:
    """Take the truth masks in at every site; each must find its own study by its grid."""
    scene.stage.expect(len(scene.nodes))
    for node in scene.nodes:
        labels = {study.label.name: study for study in scene.studies if study.site == node.site and study.label}
        answer = node.command.json("label", "import", node.folder / "pacs" / "labels")
        found = {one["file"]: one["study_key"] for one in answer["imported"]}
        expected = {name: held[node.site][study.study_uid].study_key for name, study in labels.items()}
        scene.check(found == expected, f"{len(found)} truth masks became labels of their own studies at {node.site}")
        scene.stage.advance()


def pictures(scene: Scene, sent: Iterable[Sent], held: dict[str, dict[str, StoredStudy]]) -> list[tuple[str, Path]]:
    """Choose pictures for the report: real studies, the most affected phantom of each site, one in the middle and the least affected."""
    looked = [(one, held[one.site][one.study_uid]) for one in sent]
    measured = [(one, study) for one, study in looked if study.ggo_fraction is not None]
    measured.sort(key=lambda pair: pair[1].ggo_fraction or 0.0, reverse=True)
    real = [pair for pair in measured if pair[0].phantom is None][:_PICTURES_REAL]
    phantoms = [pair for pair in measured if pair[0].phantom]
    worst = {one.site: (one, study) for one, study in reversed(phantoms)}
    ordered = [*real, *(worst[node.site] for node in scene.nodes if node.site in worst)]
    ordered += [phantoms[len(phantoms) // 2], phantoms[-1]] if phantoms else []
    chosen = list({study.study_key: (one, study) for one, study in ordered}.values())[:_PICTURES]
    return [(caption(scene, one, study), study.results / PICTURE) for one, study in chosen]


def caption(scene: Scene, sent: Sent, study: StoredStudy) -> str:
    """Return what stands below a picture."""
    found = f"{scene.node(sent.site).hospital.title}: {100 * (study.ggo_fraction or 0.0):.1f} % ground glass"
    return (
        f"{found} (a real study)"
        if sent.phantom is None
        else f"{found}, truth {100 * sent.phantom.truth_fraction:.1f} %"
    )
