"""How the parts that take, measure and pass on studies are wired: receiver, DICOMweb receiver, worker, PACS, context."""

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from client.rooms.border import open_gate, policy_source
from client.rooms.imaging import (
    open_context_desk,
    open_mask_desk,
    open_pseudonyms,
    open_shelf,
    open_store,
    open_surroundings,
)
from client.rooms.keeping import open_housekeeper
from client.rooms.pacs import open_outgoing, open_puller, open_report_sender, open_sender, report_channels
from client.rooms.training import open_monitor
from client.settings import NodeSettings

if TYPE_CHECKING:
    from client.deidentify.pseudonyms import Pseudonyms


def run_receiver(settings: NodeSettings, stop: threading.Event) -> None:
    """Receive by C-STORE, and watch the site's folder where there is one, in a thread beside it."""
    from client.receive.scp import Receiver

    pseudonyms = open_pseudonyms(settings)
    watch = threading.Thread(target=_watch, args=(settings, pseudonyms, stop), name="watch", daemon=True)
    if settings.watch.folder is not None:
        watch.start()
    Receiver(lambda: open_store(settings), pseudonyms, settings).run(stop)
    if watch.is_alive():
        watch.join(timeout=2)


def _watch(settings: NodeSettings, pseudonyms: "Pseudonyms", stop: threading.Event) -> None:
    """Watch the site's folder, on a connection of this thread's own."""
    from client.infer.source import every_file
    from client.receive.intake import Intake, sweep
    from client.receive.watch import SPOOL, FolderWatch

    sweep(settings.instances.parent / SPOOL)
    store = open_store(settings)
    FolderWatch(store, Intake(store, pseudonyms), settings, every_file).run(stop)


def run_stow(settings: NodeSettings, stop: threading.Event) -> None:
    """Run the DICOMweb receiver, on the certificate of the gateway."""
    from client.gateway.serve import Tls, serve
    from client.pacs.door import digests_of
    from client.pacs.stow import Desk, create_app
    from client.receive.intake import Intake, Taken, sweep

    stow, spool = settings.stow, settings.instances.parent / "stowed"
    pseudonyms, threads = open_pseudonyms(settings), threading.local()

    def take(spooled: Path) -> Taken:
        if not hasattr(threads, "intake"):  # every writer is a thread of its own, and so must its connection be
            threads.intake = Intake(open_store(settings), pseudonyms)
        taken: Taken = threads.intake.take(spooled)
        return taken

    tokens = settings.home / stow.token_file if stow.token_file else None
    if tokens is not None:
        digests_of(tokens)
    sweep(spool)
    desk = Desk(
        tokens=None if tokens is None else lambda: digests_of(tokens),
        take=take,
        folder=spool,
        minimum_free_mb=settings.dicom.minimum_free_mb,
        most_bytes=stow.most_request_mb << 20,
        silence_seconds=stow.silence_seconds,
    )
    serve(
        create_app(desk),
        host=stow.host,
        port=stow.port,
        keys=settings.keys,
        stop=stop,
        setting="[stow]",
        tls=Tls(least=ssl.TLSVersion.TLSv1_2, client_ca=settings.home / stow.client_ca if stow.client_ca else None),
    )


def run_worker(settings: NodeSettings, stop: threading.Event) -> None:
    """Measure what has come; in between take masks in, tidy up and watch the release in use."""
    from client.infer.worker import Worker

    masks, housekeeper = open_mask_desk(settings), open_housekeeper(settings)
    policy, border = policy_source(settings), open_gate(settings)
    monitor = open_monitor(settings, border)

    def idle() -> None:
        masks.step()
        housekeeper.tidy()
        monitor.step()

    Worker(
        open_store(settings),
        open_shelf(settings),
        settings,
        border,
        legal_basis=lambda: policy().sharing.legal_basis,
        surroundings=open_surroundings(settings),
        last_report=open_outgoing(settings).last_report,
    ).run(stop, idle=idle)


def run_pacs(settings: NodeSettings, stop: threading.Event) -> None:
    """Send findings in this thread, fetch studies and send reports in others; each ends the part if it cannot start."""
    failed = list[BaseException]()

    def guarded(work: Callable[[NodeSettings, threading.Event], None]) -> None:
        try:
            work(settings, stop)
        except Exception as error:  # noqa: BLE001 - a thread that died alone would leave the part deaf; raised below
            failed.append(error)
            stop.set()

    for work, wanted in ((_fetch, settings.pull.rules), (_send_reports, report_channels(settings))):
        if wanted:
            threading.Thread(target=guarded, args=(work,), name=work.__name__, daemon=True).start()
    if settings.pacs.send != "off":
        open_sender(settings).run(stop)
    stop.wait()
    if failed:
        raise failed[0]


def _fetch(settings: NodeSettings, stop: threading.Event) -> None:
    pull = settings.pull
    open_puller(settings).run(pull.rules, poll_seconds=pull.poll_seconds, most_studies=pull.most_studies, stop=stop)


def _send_reports(settings: NodeSettings, stop: threading.Event) -> None:
    open_report_sender(settings).run(stop)


def run_context(settings: NodeSettings, stop: threading.Event) -> None:
    """Hear what other systems say of studies and patients: HL7 v2 and FHIR."""
    from client.context import part
    from client.gateway.serve import serve

    part.run_context(settings, lambda: open_context_desk(settings), stop, serve)
