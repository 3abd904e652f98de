"""How the parts that people reach are wired: the readers' gateway and the staff page."""

import threading
from contextlib import closing
from typing import TYPE_CHECKING

from client.gate.keys import CONSOLE_TOKEN
from client.gate.trust import load_centre
from client.rooms.border import open_gate
from client.rooms.imaging import open_store
from client.rooms.reading import open_reads
from client.settings import NodeSettings
from client.staffroom import open_ward
from protocol.codes import Code
from protocol.errors import UnavailableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def run_gateway(settings: NodeSettings, stop: threading.Event) -> None:
    """Let readers in, one study at a time."""
    from client.gateway.app import create_app
    from client.gateway.desk import Desk
    from client.gateway.grant import pinned_key
    from client.gateway.masks import Corrections
    from client.gateway.messages import Messages
    from client.gateway.serve import serve
    from client.gateway.strokes import Drawings
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
        drawings=Drawings(book),
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


def run_console(settings: NodeSettings, stop: threading.Event) -> None:
    """Serve the staff page."""
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
