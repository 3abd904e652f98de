"""The node's parts: settings in, wired parts out, each run in a process of its own until it is told to stop."""

import asyncio
import logging
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.gate.keys import (
    CONSOLE_TOKEN,
    GATEWAY_CA,
    INSIDE_CERTIFICATE,
    INSIDE_KEY,
    SUPEREXEC_SECRET,
    SUPERNODE_KEY,
)
from client.gate.policy import judge_bundle
from client.gate.trust import client_context, load_centre, load_identity
from client.rooms import (
    open_contact,
    open_context_desk,
    open_evaluator,
    open_gate,
    open_housekeeper,
    open_inbox,
    open_mask_desk,
    open_monitor,
    open_outgoing,
    open_pseudonyms,
    open_puller,
    open_reads,
    open_renewals,
    open_secure_trainer,
    open_sender,
    open_shelf,
    open_store,
    open_surroundings,
    open_trainer,
    policy_source,
    tunnel_ends,
    utc_now,
)
from client.settings import NodeSettings
from client.staffroom import open_ward
from protocol.codes import Code
from protocol.errors import UnavailableError
from protocol.release import ReleaseAnnounced

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from client.deidentify.pseudonyms import Pseudonyms

log = logging.getLogger(__name__)

Part = Callable[[NodeSettings, threading.Event], None]
"""Builds one part in this process and runs it until the event is set."""


def run_part(name: str, settings: NodeSettings, stop: threading.Event) -> None:
    """Build the part called `name` and run it until `stop` is set.

    Raises:
        FederationError: If it cannot start, or cannot go on.
    """
    log.info("part.started", extra={"part": name})
    _PARTS[name](settings, stop)
    log.info("part.ended", extra={"part": name})


def _run_receiver(settings: NodeSettings, stop: threading.Event) -> None:
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


def _run_worker(settings: NodeSettings, stop: threading.Event) -> None:
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


def _run_context(settings: NodeSettings, stop: threading.Event) -> None:
    from client.context.part import run_context
    from client.gateway.serve import serve

    run_context(settings, lambda: open_context_desk(settings), stop, serve)


def _run_stow(settings: NodeSettings, stop: threading.Event) -> None:
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


def _run_pacs(settings: NodeSettings, stop: threading.Event) -> None:
    """Send findings in this thread and fetch studies in another; either ends the part if it cannot start."""
    pull, failed = settings.pull, list[BaseException]()

    def fetch() -> None:
        try:
            open_puller(settings).run(
                pull.rules, poll_seconds=pull.poll_seconds, most_studies=pull.most_studies, stop=stop
            )
        except Exception as error:  # noqa: BLE001 - a thread that died alone would leave the part deaf; raised below
            failed.append(error)
            stop.set()

    thread = threading.Thread(target=fetch, name="puller", daemon=True)
    if pull.rules:
        thread.start()
    if settings.pacs.send != "off":
        open_sender(settings).run(stop)
    stop.wait()
    if failed:
        raise failed[0]


def _run_link(settings: NodeSettings, stop: threading.Event) -> None:
    """Run the link and the forwarder in one event loop, and the dispatcher in a thread beside it."""
    from client.gate.dispatch import Dispatcher

    woken = threading.Event()

    def dispatch() -> None:
        Dispatcher(open_inbox(settings), notice_receivers(settings)).run(stop, woken)

    thread = threading.Thread(target=dispatch, name="dispatcher", daemon=True)
    thread.start()
    try:
        asyncio.run(_link(settings, stop, woken))
    finally:
        stop.set()
        woken.set()
        thread.join(timeout=2)


async def _link(settings: NodeSettings, stop: threading.Event, woken: threading.Event) -> None:
    from client.gate.forward import forward
    from client.gate.link import LinkClient
    from client.gate.listing import keep_listed
    from client.gate.renew import Renewer

    centre = load_centre(settings.trust)
    ended = asyncio.Event()
    client = LinkClient(open_gate(settings).outbox, open_inbox(settings), open_contact(settings), woken=woken.set)
    renewer = Renewer(
        settings.trust, settings.keys, open_renewals(settings), clock=utc_now, renewed=client.connect_anew
    )

    async with asyncio.TaskGroup() as group:
        group.create_task(_ended_with(stop, ended))
        group.create_task(client.run(centre.link_address, lambda: load_identity(settings.trust, settings.keys), ended))
        group.create_task(renewer.run(ended))
        group.create_task(keep_listed(settings.trust, settings.keys, ended))
        group.create_task(
            forward(
                settings.flower.forward_port,
                inside=own_tls(settings.keys),
                fleet=centre.fleet_address,
                outside=lambda: client_context(settings.trust, settings.keys),
                stop=ended,
            )
        )


def notice_receivers(settings: NodeSettings) -> dict[str, Callable[[Any], None]]:
    """Return who takes which kind of notice; built in the thread that will call them."""
    from client.gateway.documents import Documents
    from client.gateway.grant import pinned_key
    from client.gateway.masks import Corrections
    from client.gateway.notices import receivers, renewal_receiver

    centre = load_centre(settings.trust)
    book, keys, sessions, reports = open_reads(settings)
    store = open_store(settings)
    corrections = Corrections(book, store.folder)
    documents = Documents(reports, store, lambda jkt: key.name if (key := keys.find(jkt)) else None, centre.site)

    def classes(claim_id: str) -> None:
        from client.infer.readings import classify

        result = reports.result(claim_id)
        if result is not None and result.report.content.interpretable:
            content = result.report.content
            classify(store, result.study_key, content.rsna_class, content.corads)

    also = (partial(corrections.hand_to, store.drawn), documents.write, classes)
    return {
        **receivers(book, sessions, reports, store.labels.keep_scores, also),
        "grant-renewed": renewal_receiver(book, sessions, key=pinned_key(centre.grant_key), site=centre.site),
        "release-announced": _release_receiver(settings),
    }


def _release_receiver(settings: NodeSettings) -> Callable[[ReleaseAnnounced], None]:
    shelf = open_shelf(settings)
    centre = load_centre(settings.trust)

    def take(notice: ReleaseAnnounced) -> None:
        from client.gate.fetch import fetch_weights
        from client.gate.listing import fetch_lists

        manifest = notice.signed.manifest
        if shelf.current() == manifest.name:
            return
        identity = load_identity(settings.trust, settings.keys)
        fetch_lists(settings.trust, centre.link_address, identity)
        weights = fetch_weights(
            centre.link_address, identity, sha256=manifest.weights_sha256, size=manifest.weights_bytes
        )
        shelf.accept(notice.signed, weights)

    return take


def _run_supernode(settings: NodeSettings, stop: threading.Event) -> None:
    from client.gate.supernode import run_supernode

    run_supernode(supernode_command(settings), settings, stop)


def supernode_command(settings: NodeSettings) -> list[str]:
    """Return the command line of the stock SuperNode: through our forwarder, its tasks executed by our runner only.

    `-P` keeps a folder called `strategies` in the present directory out of it.
    """
    keys, flower = settings.keys, settings.flower
    return [
        sys.executable, "-P", "-m", "strategies.flower.supernode",
        "--superlink", f"127.0.0.1:{flower.forward_port}",
        "--root-certificates", str(keys / GATEWAY_CA),
        "--auth-supernode-private-key", str(keys / SUPERNODE_KEY),
        "--isolation", "process",
        "--superexec-auth-secret-file", str(keys / SUPEREXEC_SECRET),
        "--host", "127.0.0.1",
        "--port", str(flower.runtime_port),
    ]  # fmt: skip


def _run_tunnel(settings: NodeSettings, stop: threading.Event) -> None:
    """Keep the tunnel to the relay, and look at the gateway from outside, in one event loop.

    Raises:
        UnavailableError: `missing-certificate` if enrolment pinned no relay, or the key of the tunnel is missing.
    """
    asyncio.run(_tunnel(settings, stop))


async def _tunnel(settings: NodeSettings, stop: threading.Event) -> None:
    from client.gate.keys import gateway_pin
    from client.gate.outside import look_from_outside
    from client.gate.ssh import write_config
    from client.gate.tunnel import Tunnel, TunnelBook, watch_outside

    book, ended = TunnelBook(settings.home, utc_now), asyncio.Event()
    tunnel = Tunnel(lambda: write_config(settings.home / "tunnel", tunnel_ends(settings)), book)
    minutes, origin = settings.relay.check_minutes, settings.gateway.origin
    tasks = [
        asyncio.create_task(_ended_with(stop, ended)),
        asyncio.create_task(tunnel.run(ended)),
        asyncio.create_task(
            watch_outside(
                lambda: look_from_outside(origin, gateway_pin(settings.keys)), book, minutes=minutes, stop=ended
            )
        ),
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended_with(stop: threading.Event, ended: asyncio.Event) -> None:
    """Set `ended` when `stop` is set, which happens by a signal or in another thread."""
    while not stop.is_set():  # noqa: ASYNC110 - see above: it is no asyncio.Event
        await asyncio.sleep(0.1)
    ended.set()


def _run_runner(settings: NodeSettings, stop: threading.Event) -> None:
    """Take tasks from the SuperNode; the app is ours, whatever bundle comes with a task."""
    from client.app import app_of_site
    from client.runner.runner import Runner
    from strategies.flower.desk import TaskDesk

    limit_threads(settings)
    border, policy = open_gate(settings), policy_source(settings)
    secret = _superexec_secret(settings)
    trainer = open_trainer(settings, border)
    Runner(
        lambda: TaskDesk(f"127.0.0.1:{settings.flower.runtime_port}", secret),
        app=app_of_site(trainer, open_secure_trainer(settings, trainer), open_evaluator(settings, trainer)),
        approve=lambda bundle_sha256: judge_bundle(bundle_sha256, policy()),
        record=border.audit.append,
    ).run(stop)


def _superexec_secret(settings: NodeSettings) -> bytes:
    path = settings.keys / SUPEREXEC_SECRET
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            f"{path} is missing. Write long random bytes into it; SuperNode and runner share them.",
        ) from error


def _run_gateway(settings: NodeSettings, stop: threading.Event) -> None:
    from client.gateway.app import create_app
    from client.gateway.desk import Desk
    from client.gateway.grant import pinned_key
    from client.gateway.masks import Corrections
    from client.gateway.messages import Messages
    from client.gateway.serve import serve
    from client.gateway.viewer import find_bundle

    centre = load_centre(settings.trust)
    gate, store = open_gate(settings), open_store(settings)
    book, _, sessions, reports = open_reads(settings)

    def segment(study_key: str, labels: "NDArray[np.uint8]", author: str) -> bytes:
        from client.infer.corrected import corrected_segmentation

        with closing(open_store(settings)) as own:  # called in a thread of its own
            return corrected_segmentation(own, study_key, labels, author)

    desk = Desk(
        site=centre.site,
        origin=settings.gateway.origin,
        grant_key=pinned_key(centre.grant_key),
        book=book,
        sessions=sessions,
        reports=reports,
        messages=Messages(book, gate),
        corrections=Corrections(book, store.folder),
        segment=segment,
        findings=store,
        audit=gate.audit.append,
        viewer=lambda: find_bundle(settings.home),
    )
    serve(
        create_app(desk),
        host=settings.gateway.host,
        port=settings.gateway.port,
        keys=settings.keys,
        stop=stop,
        setting="[gateway]",
    )


def _run_console(settings: NodeSettings, stop: threading.Event) -> None:
    from client.console.app import create_app
    from client.gateway.serve import serve

    console = settings.console
    ward = open_ward(settings, token=_console_token(settings) if console.token_login else None)
    app = create_app(ward)
    serve(app, host=console.host, port=console.port, keys=settings.keys, stop=stop, setting="[console]")


def _console_token(settings: NodeSettings) -> str:
    path = settings.keys / CONSOLE_TOKEN
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"{path} is missing. Write a long random word into it; it is the console's token."
        ) from error


_PARTS: dict[str, Part] = {
    "receiver": _run_receiver,
    "worker": _run_worker,
    "link": _run_link,
    "supernode": _run_supernode,
    "runner": _run_runner,
    "gateway": _run_gateway,
    "console": _run_console,
    "stow": _run_stow,
    "pacs": _run_pacs,
    "context": _run_context,
    "tunnel": _run_tunnel,
}


def own_tls(keys: Path) -> ssl.SSLContext:
    """Return the forwarder's TLS context, under a certificate of the hospital's own authority.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(keys / INSIDE_CERTIFICATE, keys / INSIDE_KEY)
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"{keys / INSIDE_CERTIFICATE} or its key is missing or damaged. Restore them."
        ) from error
    return context


def limit_threads(settings: NodeSettings) -> None:
    """Let torch use as many threads as the settings say; 0 leaves it to torch."""
    if settings.compute.threads:
        import torch

        torch.set_num_threads(settings.compute.threads)
