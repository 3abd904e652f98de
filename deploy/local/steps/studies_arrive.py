"""Step 3: phantom studies are written, sent by C-STORE, and a receiver is killed in the middle of it."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path

from deploy.local.failures import StepFailed
from deploy.local.phantoms import PhantomStudy, occasions, write_study
from deploy.local.planted import file_identifiers
from deploy.local.scene import Node, Scene
from deploy.local.sender import RealStudy, Receiver, dicom_files, send, uids

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
    ending = threading.Event()
    with ThreadPoolExecutor(len(scene.nodes)) as pool:
        send_site = partial(_send_site, scene, ending=ending)
        sendings = {node.site: pool.submit(send_site, node, kill=node is victim) for node in scene.nodes}
        try:
            again = {site: sending.result() for site, sending in sendings.items()}
        except BaseException:
            ending.set()
            raise
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
    with _two_processes() as pool:
        written = [
            pool.submit(write_study, node.hospital, scene.cast, occasion, folder=node.folder / "pacs")
            for index, node in enumerate(scene.nodes)
            for occasion in occasions(node.hospital, today=scene.today, seed=_SEED + index)
        ]
        return [_written(scene, future) for future in written]


@contextmanager
def _two_processes() -> Iterator[ProcessPoolExecutor]:
    """Yield two processes that leave Ctrl-C to the story; if the body fails, they end at once. What they need is imported once, before they part."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["deploy.local.phantoms"])
    with ProcessPoolExecutor(2, mp_context=context, initializer=_leave_ctrl_c) as pool:
        try:
            yield pool
        except BaseException:
            for process in active_children():
                process.terminate()
            raise


def _leave_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _written(scene: Scene, future: Future[PhantomStudy]) -> PhantomStudy:
    study = future.result()
    scene.stage.advance()
    return study


def _send_site(scene: Scene, node: Node, *, kill: bool, ending: threading.Event) -> int:
    """Send the site's studies one after the other, until `ending`, and return how often an answer did not come."""
    studies = [study for study in scene.studies if study.site == node.site]
    total, acknowledged, unanswered = sum(study.instances for study in studies), 0, 0
    for study in studies:
        for _path, status in send(sorted(study.folder.iterdir()), Receiver(node.dicom_port, node.ae_title)):
            if ending.is_set():
                return unanswered
            unanswered += status is None
            acknowledged += status is not None
            _refuse_loss(study, status, node)
            if status is not None:
                scene.stage.advance()
            if kill and acknowledged > _KILL_AFTER * total:
                kill = False
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
