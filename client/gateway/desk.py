"""All that the gateway's pages and routes work with. `client.wiring.doors` builds it; tests build it from fakes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from joserfc.jwk import OKPKey

from client.gateway.book import Book
from client.gateway.masks import Corrections, SegmentMaker
from client.gateway.messages import Messages
from client.gateway.reports import Reports
from client.gateway.sessions import Sessions
from client.gateway.strokes import Drawings
from client.gateway.voxels import VoxelShelf
from client.store.records import Finding
from protocol.reading import Origin
from protocol.shape import SiteId

Auditor = Callable[[str, str, str], None]
"""(event, subject, verdict): append one row to the audit chain, durably, or raise."""


class Findings(Protocol):
    """The store of studies, as far as the gateway needs it."""

    def finding(self, study_key: str) -> Finding | None:
        """Return what was measured of a study."""

    def folder(self, study_key: str) -> Path:
        """Return the folder of a study's results."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One per process; everything on it uses one database connection, in the event loop's thread."""

    site: SiteId
    origin: Origin
    grant_key: OKPKey
    book: Book
    sessions: Sessions
    reports: Reports
    messages: Messages
    corrections: Corrections
    drawings: Drawings
    segment: SegmentMaker
    findings: Findings
    audit: Auditor
    viewer: Callable[[], Path]
    """Finds the viewer's script, or says where it is missing; asked each time that a page needs it."""
    patience_seconds: float = 5.0
    """How long a grant may be ahead of the centre's word of its claim."""
    voxels: VoxelShelf = field(default_factory=VoxelShelf)
    unpacking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a volume is unpacked in another thread: two requests for one study do the work once."""

    @property
    def cookie(self) -> str:
        """The session cookie's name. Browsers share cookies between ports of one host, hence the site in it."""
        return f"__Host-acinus-{self.site}"
