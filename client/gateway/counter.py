"""What the hospital's staff do with reads, and what they see of them: posted, answered, taken note of; preliminary beside final."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from client.gate.policy import SitePolicy
from client.gateway.book import Book
from client.gateway.keys import ReaderKeys
from client.gateway.messages import Message, Messages
from client.gateway.priors import choose
from client.gateway.records import Request, Result
from client.gateway.reports import Kept, Reports, WayOut
from client.gateway.requests import acknowledge_read, note_report, post_read, repost_read, withdraw_read
from client.store.studies import StudyStore
from protocol.reading import Priority, Subspecialty
from protocol.shape import OpaqueId, Sha256

Earlier = Callable[[str], Sequence[tuple[str, int]]]
"""The patient's earlier measured studies, each with how many days earlier it is; the latest first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A read with all that the hospital holds of it."""

    request: Request
    result: Result | None
    reports: Sequence[Kept]
    messages: Sequence[Message]
    waiting: Sequence[OpaqueId]
    """Claims whose readers wait for an answer."""
    alarms: Sequence[str]
    """What is alarming about it now, in a word each."""
    finals: frozenset[Sha256]
    """The final report of each claim, by hash."""
    noted: frozenset[Sha256]
    """Those that staff took note of one by one."""
    readers: dict[str, str]
    """Names by thumbprint, of the keys that are approved now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One per process, in the thread of its connections."""

    book: Book
    gate: WayOut
    reports: Reports
    messages: Messages
    keys: ReaderKeys
    store: StudyStore
    policy: Callable[[], SitePolicy]
    earlier: Earlier

    def post(self, study_key: str, *, priority: str, reads: int, prior: str, subspecialty: str = "") -> OpaqueId:
        """Ask the network for a read and return its id.

        Args:
            study_key: Of a measured study.
            priority: How soon.
            reads: Readers, blind to one another.
            prior: An earlier study of the patient to show beside it, or empty.
            subspecialty: What the reader shall be trained in, or empty for any radiologist.

        Raises:
            FederationError: As `post_read`; `not-found` if the prior is no earlier study of the patient.
        """
        shown = choose(self.earlier(study_key), prior) if prior else None
        wish = self.policy().reading.model_copy(update={"reads": reads})
        posted = post_read(
            self.book, self.gate, self.store, study_key=study_key, wish=wish, priority=Priority(priority),
            subspecialty=Subspecialty(subspecialty) if subspecialty else None, prior=shown,
        )  # fmt: skip
        return posted.request_id

    def seen(self, request_id: OpaqueId) -> Seen:
        """Return a read as the hospital sees it.

        Raises:
            InvalidInputError: `not-found`.
        """
        request = self.book.request(request_id)
        return Seen(
            request=request,
            alarms=[reason.value for reason in self.book.alarms(request)],
            result=self.book.result(request_id),
            reports=self.reports.of_request(request_id),
            messages=self.messages.of_request(request_id),
            waiting=self.messages.waiting(request_id),
            finals=frozenset(self.reports.finals(request_id).values()),
            noted=self.book.noted(request_id),
            readers={key.jkt: key.name for key in self.keys.all()},
        )

    def alarming(self) -> dict[OpaqueId, list[str]]:
        """Return the reads of which something is alarming now, each with what it is."""
        found = ((one.request_id, [reason.value for reason in self.book.alarms(one)]) for one in self.book.requests())
        return {request_id: reasons for request_id, reasons in found if reasons}

    def answer(self, request_id: OpaqueId, text: str, claim_id: OpaqueId | None) -> None:
        """Answer a reader's question.

        Raises:
            FederationError: As `Messages.answer`.
        """
        self.messages.answer(request_id, text, claim_id=claim_id)

    def acknowledge(self, request_id: OpaqueId, seen: Collection[Sha256]) -> None:
        """Take note of the final reports, of which these were seen.

        Raises:
            ConflictError: `illegal-transition` if there is none yet; `stale-report` if others are here than those.
        """
        acknowledge_read(self.book, self.gate, self.reports, request_id, seen=seen)

    def note(self, request_id: OpaqueId, report_sha256: Sha256) -> None:
        """Take note of one final report while others are still to come.

        Raises:
            ConflictError: As `note_report`.
        """
        note_report(self.book, self.gate, self.reports, request_id, report_sha256=report_sha256)

    def repost(self, request_id: OpaqueId) -> None:
        """Ask anew for what nobody claimed in time.

        Raises:
            ConflictError: As `repost_read`.
        """
        repost_read(self.book, self.gate, request_id)

    def withdraw(self, request_id: OpaqueId) -> None:
        """Take a read back.

        Raises:
            ConflictError: `illegal-transition` if a report is signed already.
        """
        withdraw_read(self.book, self.gate, request_id)
