"""All that the staff page works with. `client.staffroom` builds it; tests build it from fakes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from client.console.proposals import Proposals
from client.gate.audit import AuditChain
from client.gate.policy import SitePolicy
from client.staff.accounts import Accounts
from client.staff.entrance import Entrance
from client.staff.oidc import Oidc
from client.staff.sessions import Visitor
from client.store.aside import Aside
from client.store.facts import Conclusion
from client.store.labelling import Labelling
from client.store.search import Search
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.reading import StudyKind


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


class Counter(Protocol):
    """What staff do with reads (`client.gateway.counter`)."""

    def post(self, study_key: str, *, priority: str, reads: int, prior: str, subspecialty: str = "") -> str:
        """Ask for a read and return its id."""

    def seen(self, request_id: str) -> Any:
        """Return a read with its reports and messages."""

    def alarming(self) -> Mapping[str, Sequence[str]]:
        """Return the reads of which something is alarming now, each with what it is."""

    def answer(self, request_id: str, text: str, claim_id: str | None) -> None:
        """Answer a reader's question."""

    def acknowledge(self, request_id: str, seen: Collection[str]) -> None:
        """Take note of the final reports, of which these were seen."""

    def note(self, request_id: str, report_sha256: str) -> None:
        """Take note of one final report while others are still to come."""

    def repost(self, request_id: str) -> None:
        """Ask anew for what nobody claimed in time."""

    def withdraw(self, request_id: str) -> None:
        """Take a read back."""

    def earlier(self, study_key: str, /) -> Sequence[tuple[str, int]]:
        """Return the patient's earlier studies, each with how many days earlier it is."""


class ReaderPrivileges(Protocol):
    """Which readers of the network this hospital lets read for it (`client.gateway.privileges`)."""

    def grant_through(
        self, reader_id: str, *, name: str, last_day: date | None, studies: Collection[StudyKind]
    ) -> object:
        """Let a reader read for this hospital, to the end of a day."""

    def withdraw(self, reader_id: str) -> object:
        """Take the privilege back."""

    def all(self) -> Sequence[Any]:
        """Return who may read now: `reader_id`, `name`, `until`, `studies`."""


class SentOn(Protocol):
    """Final reports on their way to the hospital's other systems (`client.pacs.reports`)."""

    def of_claims(self, claim_ids: Collection[str]) -> Sequence[Any]:
        """Return how far their reports are: `channel`, `state` and `code`."""

    def retry(self, claim_ids: Collection[str]) -> int:
        """Let what is parked or waits be tried now; return how much."""


class Retaken(Protocol):
    """What became of an instance that was taken in again."""

    @property
    def code(self) -> Code | None:
        """Why it cannot be used still; `None` if it was taken in."""


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
    origin: str
    """Where staff's browsers reach the page."""
    entrance: Entrance
    accounts: Accounts
    oidc: Oidc | None
    store: StudyStore
    search: Search
    aside: Aside
    labelling: Labelling
    proposals: Proposals
    keys: ApprovedKeys
    reads: Callable[[], Iterable[Read]]
    counter: Counter
    privileges: ReaderPrivileges
    sent_on: SentOn
    send_again: Callable[[], int]
    """Lets findings and final reports that a system of the hospital has not taken be tried now; returns how many."""
    pull_again: Callable[[], int]
    """Lets studies that could not be fetched from the PACS be tried with the next look into it; returns how many."""
    spent: Callable[[], Spent]
    policy: Callable[[], SitePolicy]
    status: Callable[[], dict[str, Any]]
    audit: AuditChain
    take_again: Callable[[str], Retaken]
    """Takes a quarantined instance in again; callable from any thread."""
    say: Callable[[str, Mapping[str, str]], int]
    """Keeps what a person says of a study, by column of a table of context; returns how many statements."""
    known: Callable[[str], Conclusion | None]
    """Returns what counts for a study beyond its images."""
    delete: Callable[[str, bool], list[str]]
    """Deletes a study, or every study of its patient, and returns their keys; callable from any thread."""

    def note(self, event: str, visitor: Visitor, what: str = "-", verdict: str = "clear") -> None:
        """Append one row to the audit chain: what a person did, under an opaque id of theirs."""
        self.audit.append(event, visitor.who if what == "-" else f"{visitor.who}:{what}", verdict)
