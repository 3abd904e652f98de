"""Who takes which kind of notice of the centre."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from client.gate.trust import load_centre, load_identity
from client.rooms.imaging import open_shelf, open_store
from client.rooms.pacs import open_report_queue, report_channels
from client.rooms.reading import open_reads
from client.settings import NodeSettings
from client.store.database import connect
from protocol.release import ReleaseAnnounced

if TYPE_CHECKING:
    from client.gateway.documents import Documents
    from client.gateway.reports import Reports


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
    documents = Documents(
        reports,
        store,
        lambda jkt: key.name if (key := keys.find(jkt)) else None,
        sender=centre.site,
        receiver=(settings.reports.application, settings.reports.facility),
    )

    def classes(claim_id: str) -> None:
        from client.infer.readings import classify

        result = reports.result(claim_id)
        if result is not None and result.report.content.interpretable:
            content = result.report.content
            classify(store, result.study_key, content.rsna_class, content.corads, content.pcr)

    also = (
        partial(corrections.hand_to, store.drawn),
        documents.write,
        sender_on(settings, reports, documents),
        classes,
    )
    return {
        **receivers(book, sessions, reports, store.labels.keep_scores, also),
        "grant-renewed": renewal_receiver(book, sessions, key=pinned_key(centre.grant_key), site=centre.site),
        "release-announced": _release_receiver(settings),
    }


def sender_on(settings: NodeSettings, reports: "Reports", documents: "Documents") -> Callable[[str], None]:
    """Return what queues the result of a request for the hospital's other systems."""
    queue, channels = open_report_queue(settings), report_channels(settings)

    def send_on(claim_id: str) -> None:
        result = reports.result(claim_id)
        if result is None or not channels:
            return
        written = documents.contents(claim_id)
        contents = {channel: written[channel] for channel in channels if channel in written}
        queue.put(claim_id, result.report_sha256, study_key=result.study_key, contents=contents)

    return send_on


def _release_receiver(settings: NodeSettings) -> Callable[[ReleaseAnnounced], None]:
    from client.train import shown

    shelf, centre = open_shelf(settings), load_centre(settings.trust)
    weights_shown = shown.ShownWeights(connect(settings.database, shown.SCHEMA))

    def take(notice: ReleaseAnnounced) -> None:
        """Fetch lists and weights by the pinned link, and use the release if it is on the list; twice changes nothing.

        Raises:
            RefusedError: `views-differ` if its run showed this site something else; what `ReleaseShelf.accept` refuses with.
        """
        from client.gate.fetch import fetch_weights
        from client.gate.listing import fetch_lists

        manifest = notice.signed.manifest
        if shelf.usable()[0] == manifest.name:
            return
        weights_shown.require_same(manifest)
        identity = load_identity(settings.trust, settings.keys)
        fetch_lists(settings.trust, centre.link_address, identity)
        weights = fetch_weights(
            centre.link_address, identity, sha256=manifest.weights_sha256, size=manifest.weights_bytes
        )
        weights_shown.require_compared(manifest, weights)
        shelf.accept(notice.signed, weights)

    return take
