"""Step 3: phantom studies are written, sent by C-STORE, and a receiver is killed in the middle of it."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path

from deploy.local.failures import StepFailed
from deploy.local.phantoms import PhantomStudy, write_hospital
from deploy.local.planted import file_identifiers
from deploy.local.scene import Node, Scene
from deploy.local.sender import RealStudy, Receiver, dicom_files, send, uids
from deploy.local.sites import Cast, Hospital

_SEED = 20_000
_KILL_AFTER = 0.4
"""The receiver dies when this share of its site's instances has been acknowledged."""


def play(scene: Scene) -> None:
    """Write, send and label all studies.

    Raises:
        StepFailed: If an instance is never acknowledged, or if one that was acknowledged is lost.
    """
    scene.studies = _write_all(scene)
    for study in scene.studies:
        scene.planted.add(study.identifiers)
    scene.stage.expect(sum(study.instances for study in scene.studies))
    victim = scene.nodes[1]
    with ThreadPoolExecutor(len(scene.nodes)) as pool:
        sendings = {node.site: pool.submit(_send_site, scene, node, kill=node is victim) for node in scene.nodes}
        again = {site: sending.result() for site, sending in sendings.items()}
    scene.note(
        f"{sum(study.instances for study in scene.studies)} instances acknowledged by C-STORE at {len(scene.nodes)} receivers",
    )
    scene.check(
        again[victim.site] > 0,
        f"the receiver of {victim.site} was killed while it received; the sender tried again until it was back",
    )
    if scene.data is not None:
        _send_real(scene, scene.data)


def _write_all(scene: Scene) -> list[PhantomStudy]:
    """Write the studies of all sites, two at a time."""
    scene.stage.expect(sum(node.hospital.studies + len(node.hospital.oddities) for node in scene.nodes))
    scene.stage.say("writing phantoms")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        written = [
            pool.submit(_write_site, node.hospital, scene.cast, node.folder / "pacs", scene.today, _SEED + index)
            for index, node in enumerate(scene.nodes)
        ]
        return [study for studies in _as_written(scene, written) for study in studies]


def _as_written(scene: Scene, written: list[Future[list[PhantomStudy]]]) -> Iterator[list[PhantomStudy]]:
    for future in written:
        studies = future.result()
        for _ in studies:
            scene.stage.advance()
        yield studies


def _write_site(hospital: Hospital, cast: Cast, folder: Path, today: date, seed: int) -> list[PhantomStudy]:
    return list(write_hospital(hospital, cast, folder=folder, today=today, seed=seed))


def _send_site(scene: Scene, node: Node, *, kill: bool) -> int:
    """Send the site's studies one after the other and return how often an answer did not come."""
    studies = [study for study in scene.studies if study.site == node.site]
    total, acknowledged, unanswered = sum(study.instances for study in studies), 0, 0
    killing = threading.Event()
    for study in studies:
        for _path, status in send(sorted(study.folder.iterdir()), Receiver(node.dicom_port, node.ae_title)):
            unanswered += status is None
            acknowledged += status is not None
            _refuse_loss(study, status, node)
            if status is not None:
                scene.stage.advance()
            if kill and not killing.is_set() and acknowledged > _KILL_AFTER * total:
                killing.set()
                scene.kill(node, "receiver")
    return unanswered


def _refuse_loss(study: PhantomStudy, status: int | None, node: Node) -> None:
    """A sound instance is stored; a damaged one may be refused, but never silently."""
    if status not in {None, 0} and study.expected != "unreadable":
        raise StepFailed(f"the receiver of {node.site} answered {status:#06x} to a sound instance", node.home / "logs")


def _send_real(scene: Scene, source: Path) -> None:
    """Send the studies in `source` to the first hospital and remember what their headers say."""
    node = scene.nodes[0]
    files = dicom_files(source, node.folder / "pacs" / "real")
    if not files:
        raise StepFailed(f"there is no DICOM file in {source}", source)
    scene.stage.expect(len(files))
    for path in files:
        scene.planted.add(file_identifiers(path))
    stored: dict[str, set[str]] = {}
    refused = 0
    for path, status in send(files, Receiver(node.dicom_port, node.ae_title)):
        if status == 0:
            study_uid, instance_uid = uids(path)
            stored.setdefault(study_uid, set()).add(instance_uid)
        refused += status not in {None, 0}
        if status is not None:
            scene.stage.advance()
    scene.real = [RealStudy(study_uid, len(instances)) for study_uid, instances in sorted(stored.items())]
    scene.facts["real_instances"] = {"sent": len(files), "refused": refused}
    scene.check(
        stored,
        f"{len(files) - refused} instances of {len(stored)} real studies from {source.name} acknowledged, {refused} refused",
    )
