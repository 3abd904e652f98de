"""Watches the release in use, a little whenever the worker has nothing else to do: scores held-out studies, judges, says one word."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from client.gate.policy import Clearance, SitePolicy, Verdict
from client.store.monitoring import MonitorBook
from client.store.records import HeldOutCase
from client.train.look import figures_of
from client.train.standing import Figures, Releases, key_of
from protocol.errors import FederationError
from protocol.parcel import Parcel
from protocol.standing import ReleaseStanding, Standing

LOOK_SECONDS, TELL_SECONDS = 600.0, 86_400.0
"""How often the figures are looked at while nothing is missing; how often a new word may leave at most, but for a new release."""

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Monitor:
    """Everything that watching needs of its node.

    Attributes:
        book: Scores, scans, words.
        releases: Returns which releases there are to compare. Those that do not verify any more are not among them.
        cases: Returns the held-out studies.
        score: Returns how well a release finds the opacity of one of them; torch is loaded when it is first called.
        policy: Reads the site's policy.
        submit: Hands a parcel to the gate.
    """

    book: MonitorBook
    releases: Callable[[], Releases]
    cases: Callable[[], list[HeldOutCase]]
    score: Callable[[str, HeldOutCase], float]
    policy: Callable[[], SitePolicy]
    submit: Callable[[Parcel], Verdict]
    _due: float = field(default=0.0, init=False)

    def step(self) -> None:
        """Score one study that has no score yet; with none missing, look at the figures when that is due.

        Raises:
            FederationError: If the database, the shelf or the policy cannot be read.
        """
        if self.book.now() < self._due:
            return
        releases, cases = self.releases(), self.cases()
        for release in dict.fromkeys((releases.used, releases.before)):
            known = self.book.scores(release)
            missing = next((case for case in cases if key_of(case) not in known), None)
            if missing is not None:
                self.book.keep_score(release, key_of(missing), self._scored(release, missing))
                return
        self._due = self.book.now() + LOOK_SECONDS
        self.tell(figures_of(self.book, releases, cases, self.policy()))

    def tell(self, found: Figures) -> None:
        """Let the standing leave if it is new and the site shares it; the gate judges it once more."""
        last, now = self.book.told(), self.book.now()
        if found.standing is None or not self.policy().sharing.standing:
            return
        same_release = last is not None and last.release == found.taken
        if last is not None and same_release and (last.standing == found.standing or now - last.at < TELL_SECONDS):
            return
        version = last.version + 1 if last is not None else 1
        word = ReleaseStanding(release=found.taken, standing=Standing(found.standing), version=version)
        if isinstance(self.submit(word), Clearance):
            self.book.note_told(found.taken, found.standing.value, version)

    def _scored(self, release: str, case: HeldOutCase) -> float | None:
        """Return a study's score; None if it cannot be read, so that one damaged study does not stop the others."""
        try:
            return self.score(release, case)
        except FederationError as error:
            log.warning("monitor.unreadable", extra={"study": case.case.study_key, "code": error.code.value})
            return None
