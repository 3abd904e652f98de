"""All that the staff page works with. `client.runtime` builds it; tests build it from fakes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from client.console.entrance import Entrance
from client.gate.audit import Row
from client.gate.policy import SitePolicy
from client.store.records import Finding, Quarantined, Study


class Studies(Protocol):
    """The store of studies, as far as the page needs it."""

    def studies(self) -> list[Study]:
        """Return every study, oldest first."""

    def study(self, study_key: str) -> Study:
        """Return one study, or raise `not-found`."""

    def finding(self, study_key: str) -> Finding | None:
        """Return what was measured of a study."""

    def quarantined(self) -> list[Quarantined]:
        """Return all that is in quarantine."""

    def counts(self) -> dict[str, int]:
        """Return how many studies are in each state."""

    def folder(self, study_key: str) -> Path:
        """Return the folder of a study's results."""


class ReaderKey(Protocol):
    """An approved key."""

    @property
    def jkt(self) -> str:
        """Its thumbprint."""

    @property
    def name(self) -> str:
        """Whose it is."""

    @property
    def approved_at(self) -> datetime:
        """Since when."""


class ApprovedKeys(Protocol):
    """The list of reader keys that this hospital approved."""

    def approve(self, jkt: str, *, name: str) -> None:
        """Let the key's holder in."""

    def revoke(self, jkt: str) -> None:
        """Take the approval back."""

    def all(self) -> Sequence[ReaderKey]:
        """Return every key that is approved now."""


class Read(Protocol):
    """A read that this hospital posted."""

    @property
    def request_id(self) -> str:
        """Its id."""

    @property
    def study_key(self) -> str:
        """Its study."""

    @property
    def priority(self) -> str:
        """How soon it is needed."""

    @property
    def posted_s(self) -> int:
        """When it was posted, seconds since 1970."""

    @property
    def stage(self) -> str:
        """Where it stands."""


@dataclass(frozen=True, slots=True)
class Spent:
    """The privacy ledger in short. `epsilon` is at the policy's own δ; `broken` says that the chain does not verify.

    `course` is ε after each charge, for drawing.
    """

    epsilon: float
    charges: Sequence[Any]
    course: Sequence[float] = ()
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ward:
    """One per process; everything on it uses connections of the event loop's thread."""

    name: str
    port: int
    entrance: Entrance
    store: Studies
    keys: ApprovedKeys
    reads: Callable[[], Iterable[Read]]
    spent: Callable[[], Spent]
    policy: Callable[[], SitePolicy]
    status: Callable[[], dict[str, Any]]
    audit: Callable[[], Iterable[Row]]
    note: Callable[[str, str, str], None]
    """(event, subject, verdict): appends one row to the audit chain."""
