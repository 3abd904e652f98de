"""Brings together a study and what is said of it: when it is measured, and again when something is said later."""

from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from client.deidentify.orders import ORDER_TAGS, orders_of
from client.deidentify.pseudonyms import Pseudonyms
from client.infer.cases import TAGS, Circumstances, circumstances_of, revised
from client.infer.context import Window, as_circumstances, conclude, header_of
from client.store.context import ContextStore
from client.store.facts import Conclusion
from client.store.part10 import coded, read_part10
from client.store.records import Finding
from client.store.studies import StudyStore
from protocol.case import CaseRecord
from protocol.errors import InvalidInputError

CONTEXT_TAGS = [*TAGS, *ORDER_TAGS, "PatientID", "IssuerOfPatientID"]
"""All that is read of a header for the record and for finding what is said of the study."""


@dataclass(frozen=True, slots=True)
class View:
    """What counts for a study at one moment: the record's part of it, all of it, and how much had been heard by then."""

    circumstances: Circumstances
    conclusion: Conclusion
    mark: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is said of the studies of one node."""

    context: ContextStore
    pseudonyms: Pseudonyms
    window: Window

    def view(self, study_key: str, header: Dataset) -> View:
        """Return what counts for a study with this header. Names that lead to it are noted where they were not yet.

        Raises:
            InvalidInputError: `unreadable`.
            UnavailableError: `disk-full`.
        """
        with coded():
            names = self.pseudonyms.study_names(
                orders=orders_of(header),
                patient_id=str(header.get("PatientID") or ""),
                issuer=str(header.get("IssuerOfPatientID") or ""),
            )
            circumstances = circumstances_of(header)
        self.context.remember(study_key, names)
        return self._view(study_key, circumstances)

    def keep(self, study_key: str, view: View) -> None:
        """Make a view count that a measurement has used.

        Raises:
            UnavailableError: `disk-full`; the study stays due, and the same conclusion is drawn again.
        """
        self.context.conclude(study_key, view.conclusion, view.mark)

    def revise(self, store: StudyStore) -> int:
        """Draw conclusions anew where something was said since; a record that changes gets a new version for the gate.

        Returns:
            How many studies were looked at.

        Raises:
            UnavailableError: `disk-full`.
        """
        due = self.context.due()
        for study_key in due:
            finding = store.finding(study_key)
            if finding is not None:
                view = self._view_again(store, finding)
                self.context.conclude(study_key, view.conclusion, view.mark, _next_finding(finding, view, store.now()))
        return len(due)

    def _view(self, study_key: str, header: Circumstances) -> View:
        hearing = self.context.about(study_key)
        conclusion = conclude(header, hearing, self.window)
        return View(as_circumstances(header, conclusion), conclusion, hearing.mark)

    def _view_again(self, store: StudyStore, finding: Finding) -> View:
        """Look at a measured study again. Where it was measured before the node drew conclusions, its instances still have the header."""
        before = self.context.conclusion(finding.study_key)
        if before is not None:
            return self._view(finding.study_key, header_of(before))
        for path in store.instances(finding.study_key):
            try:
                return self.view(finding.study_key, read_part10(path, pixels=False, tags=CONTEXT_TAGS))
            except InvalidInputError:
                continue  # one damaged slice does not hide what the next one says
        return self._view(finding.study_key, _of_record(finding))


def _of_record(finding: Finding) -> Circumstances:
    """Return what a record says of the header, for want of instances."""
    nothing = circumstances_of(Dataset())
    if not finding.record:
        return nothing
    record = CaseRecord.model_validate_json(finding.record)
    return replace(nothing, sex=record.sex, age_band=record.age_band)


def _next_finding(finding: Finding, view: View, now: float) -> Finding | None:
    if not finding.record:
        return None
    record = revised(CaseRecord.model_validate_json(finding.record), view.circumstances)
    if record is None:
        return None
    return replace(finding, record=record.model_dump_json(), version=record.version, verdict=None, measured_at=now)
