"""Who belongs to the network at this moment: what the registry last said, and how long ago."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.enrolment import SiteEntry

REFRESH_SECONDS = 3.0
"""How often the registry is asked; a revocation takes effect after at most so long."""

STALE_SECONDS = 60.0
"""An older answer of the registry counts for nothing: uncertain means refused."""


@dataclass(slots=True)
class Roster:
    """The registry's list of sites, kept in memory."""

    clock: Callable[[], float] = time.monotonic
    _sites: dict[str, str] = field(default_factory=dict)
    _present: frozenset[str] = frozenset()
    _heard: float | None = None

    def hear(self, entries: list[SiteEntry]) -> None:
        """Take the registry's newest answer."""
        self._sites = {serial: entry.site for entry in entries if entry.active for serial in entry.certificate_serials}
        self._present = frozenset(entry.certificate_serials[0] for entry in entries if entry.certificate_serials)
        self._heard = self.clock()

    @property
    def fresh(self) -> bool:
        """Whether the registry answered within the last minute."""
        return self._heard is not None and self.clock() - self._heard <= STALE_SECONDS

    def site_of(self, serial: str | None) -> str | None:
        """Return the active site to which a certificate belongs, if there is one."""
        return self._sites.get(serial) if serial else None

    def is_present(self, serial: str | None) -> bool:
        """Say whether it is the certificate that its site should be using: an earlier one still counts, but only for a while."""
        return serial in self._present
