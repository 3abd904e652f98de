"""What deletes: studies on request, and what has been kept long enough."""

from typing import TYPE_CHECKING

from client.rooms.pacs import open_outgoing, open_report_queue
from client.rooms.reading import open_reads
from client.settings import NodeSettings
from client.store import tables
from client.store.database import connect

if TYPE_CHECKING:
    from client.store.removal import Remover
    from client.store.retention import Housekeeper


def open_remover(settings: NodeSettings) -> "Remover":
    """Return what deletes studies on request."""
    from client.gateway.erase import forget_reports
    from client.store.removal import Others, Remover

    book, outgoing, queue = open_reads(settings)[0], open_outgoing(settings), open_report_queue(settings)

    def forget(study_key: str) -> None:
        forget_reports(book, study_key)
        queue.forget(study_key)
        outgoing.forget(study_key)

    others = Others(under_way=book.is_under_way, forget=forget)
    return Remover(connect(settings.database, tables.SCHEMA), settings, others)


def open_housekeeper(settings: NodeSettings) -> "Housekeeper":
    """Return what the worker does when it has nothing to measure."""
    from client.store.retention import Housekeeper, Retention

    book = open_reads(settings)[0]
    retention = Retention(connect(settings.database, tables.SCHEMA), settings, book.is_under_way)
    return Housekeeper(open_remover(settings), retention)
