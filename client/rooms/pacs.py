"""The exchange with the PACS: what goes there, what was fetched."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from client.rooms.border import local_now
from client.rooms.imaging import open_pseudonyms, open_store
from client.settings import NodeSettings
from client.store.database import connect

if TYPE_CHECKING:
    from client.pacs.outgoing import Outgoing
    from client.pacs.pull import Puller
    from client.pacs.pulled import Pulled
    from client.pacs.reports import ReportQueue, ReportSender
    from client.pacs.send import Sender


def open_outgoing(settings: NodeSettings) -> "Outgoing":
    """Return the findings on their way to the PACS."""
    from client.pacs.outgoing import SCHEMA, Outgoing

    return Outgoing(connect(settings.database, SCHEMA), settings.outgoing, time.time)


def open_report_queue(settings: NodeSettings) -> "ReportQueue":
    """Return the final reports on their way to the hospital's other systems."""
    from client.pacs.reports import SCHEMA, ReportQueue

    return ReportQueue(connect(settings.database, SCHEMA), settings.outgoing, time.time)


def report_channels(settings: NodeSettings) -> tuple[str, ...]:
    """Return by which ways final reports leave the node for the hospital's other systems: `oru`, `sr`."""
    to_pacs = settings.pacs.send != "off" and "report" in settings.pacs.objects
    return (*(("oru",) if settings.reports.host else ()), *(("sr",) if to_pacs else ()))


def open_report_sender(settings: NodeSettings) -> "ReportSender":
    """Return what sends final reports on."""
    from client.pacs.lines import Line, open_line
    from client.pacs.mllp import MllpLine
    from client.pacs.reports import ORU, SR, ReportSender

    ways: dict[str, Callable[[], Line]] = {
        ORU: lambda: MllpLine(settings.reports, settings.home),
        SR: lambda: open_line(settings),
    }
    return ReportSender(open_report_queue(settings), {name: ways[name] for name in report_channels(settings)})


def retry_sending(settings: NodeSettings) -> int:
    """Let findings and final reports that are parked or wait for their next try be tried now; return how many objects."""
    return open_outgoing(settings).retry_parked() + open_report_queue(settings).retry()


def open_pulled(settings: NodeSettings) -> "Pulled":
    """Return what was fetched from the PACS."""
    from client.pacs.pulled import SCHEMA, Pulled

    return Pulled(connect(settings.database, SCHEMA), time.time)


def retry_pulling(settings: NodeSettings) -> int:
    """Let studies that could not be fetched be tried with the next look into the PACS; return how many."""
    return open_pulled(settings).retry() if settings.pull.rules else 0


def open_sender(settings: NodeSettings) -> "Sender":
    """Return what sends findings to the PACS."""
    from client.pacs.lines import open_line
    from client.pacs.send import Sender

    return Sender(open_store(settings), open_outgoing(settings), lambda: open_line(settings), settings.pacs.objects)


def open_puller(settings: NodeSettings) -> "Puller":
    """Return what fetches studies from the PACS into the store."""
    from client.pacs.peer import Peer
    from client.pacs.pull import Puller
    from client.receive.intake import Intake

    store, pseudonyms = open_store(settings), open_pseudonyms(settings)
    return Puller(
        lambda: Peer(settings.pacs, settings.home),
        open_pulled(settings),
        Intake(store, pseudonyms).take,
        pseudonyms,
        folder=settings.instances.parent / "pulled",
        minimum_free_mb=settings.dicom.minimum_free_mb,
        today=lambda: local_now().date(),
        expect=lambda study, series, instances: store.arrivals.expect(study, instances, series_key=series),
        known_as=store.known_as,
        is_held=store.holds,
        is_deleted=lambda study_keys: any(store.is_deleted(key) for key in study_keys),
    )
