"""The exchange with the PACS: what goes there, what was fetched."""

import time
from typing import TYPE_CHECKING

from client.rooms.border import local_now
from client.rooms.imaging import open_pseudonyms, open_store
from client.settings import NodeSettings
from client.store.database import connect

if TYPE_CHECKING:
    from client.pacs.outgoing import Outgoing
    from client.pacs.pull import Puller
    from client.pacs.pulled import Pulled
    from client.pacs.send import Sender


def open_outgoing(settings: NodeSettings) -> "Outgoing":
    """Return the findings on their way to the PACS."""
    from client.pacs.outgoing import SCHEMA, Outgoing

    return Outgoing(connect(settings.database, SCHEMA), settings.outgoing, time.time)


def open_pulled(settings: NodeSettings) -> "Pulled":
    """Return what was fetched from the PACS."""
    from client.pacs.pulled import SCHEMA, Pulled

    return Pulled(connect(settings.database, SCHEMA), time.time)


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
