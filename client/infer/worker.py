"""The worker: takes complete studies, measures them, keeps the results, hands the case records to the gate.

A study's state moves only after its files are on the disk, and a record counts as sent only after the gate has it in its own
transaction. Killed at any moment, the worker repeats work; it loses none.
"""

import json
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydicom.dataset import Dataset

from client.gate.backoff import Backoff
from client.gate.policy import Refusal
from client.infer.cases import case_record, circumstances_of, classes_kept, declared, withdrawn
from client.infer.earlier import earlier_scans
from client.infer.grids import grid_name
from client.infer.outputs import write_study
from client.infer.quantify import Result, measure_scan
from client.infer.releases import ReleaseShelf
from client.infer.scan import dicom_scan
from client.infer.series import shows_less
from client.infer.surroundings import CONTEXT_TAGS, Surroundings, View
from client.logs import fault_of
from client.settings import NodeSettings
from client.store.files import write_durably
from client.store.part10 import read_part10
from client.store.records import Finding, ScanInput, Study, StudyState
from client.store.results import DOCUMENT
from client.store.studies import StudyStore
from protocol.case import CaseRecord, LegalBasis
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, UnavailableError
from protocol.parcel import Parcel

CLEAR, NO_WEEK = "clear", "no-week"
"""Verdicts beside the gate's codes: it may leave; there is nothing to send because the study has no date."""

_IDLE_SECONDS = 0.5
_NEXT_TRY = Backoff(first=1.0, ceiling=60.0)
"""While the node itself is at fault: a measurement that cannot be kept costs as much as one that can."""

_OF_NODE = frozenset({Code.BAD_SETTING, Code.NOT_FOUND, Code.BAD_SHAPE})
"""What device and weights say when they cannot be used; no scan is refused so."""

log = logging.getLogger(__name__)

_Done = TypeVar("_Done")


class CaseGate(Protocol):
    """Where parcels ask to leave (`client.gate`)."""

    def submit(self, parcel: Parcel) -> object:
        """Judge, audit and queue a parcel in one transaction; the same parcel may come twice. Returns the verdict."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a study: `document` if it was measured, `code` if it was refused, neither if more of it has just come."""

    study_key: str
    state: StudyState
    code: str | None = None
    document: dict[str, object] | None = None


class Worker:
    """Measures the studies of one store, one at a time."""

    def __init__(  # noqa: PLR0913 - all of it is handed in by the composition root
        self,
        store: StudyStore,
        shelf: ReleaseShelf,
        settings: NodeSettings,
        gate: CaseGate | None = None,
        *,
        legal_basis: Callable[[], LegalBasis] = lambda: LegalBasis.PUBLIC_HEALTH_LAW,
        surroundings: Surroundings | None = None,
        last_report: Callable[[str], Dataset | None] = lambda _study_key: None,
    ) -> None:
        """Prepare the worker.

        Args:
            store: The studies.
            shelf: The model releases.
            settings: The node's.
            gate: Takes the case records; without one they wait in the store for a worker that has one.
            legal_basis: Returns the basis on which the site shares records now, by its policy.
            surroundings: What others say of the studies; without it a record holds what the header says.
            last_report: Returns the last SR of a study that went to the PACS or waits to: the new one says that it follows it.
        """
        self._store = store
        self._shelf = shelf
        self._settings = settings
        self._gate = gate
        self._legal_basis = legal_basis
        self._surroundings = surroundings
        self._last_report = last_report
        self._faults = 0

    def run(self, stop: threading.Event, idle: Callable[[], None] | None = None) -> None:
        """Work until `stop` is set; `idle` is what else there is to do when nothing is to be measured."""
        while not stop.is_set():
            if not self._step_safely(idle):
                stop.wait(self._pause())

    def step(self) -> bool:
        """Measure what is complete and hand over what is waiting; return whether there was anything to do.

        Raises:
            FederationError: The node is at fault (`measure`, `revise`, `hand_over`).
        """
        dicom = self._settings.dicom
        due = self._store.due(dicom.quiet_seconds, dicom.patience_seconds)
        fault: FederationError | None = None
        try:
            for study in _turned(due, self._faults):
                self.measure(study.study_key)
        except FederationError as error:
            fault = error
        revised = self.revise()
        judged = self.hand_over()
        if fault is not None:  # only now: what was measured before need not wait
            raise fault
        return judged > 0 or revised > 0 or bool(due)

    def revise(self) -> int:
        """Look again at measured studies of which something was said since; return how many.

        Raises:
            UnavailableError: `disk-full`.
        """
        if self._surroundings is None or not self._surroundings.context.due():
            return 0
        with self._store.measuring():
            return self._surroundings.revise(self._store)

    def measure(self, study_key: str) -> Outcome:
        """Measure one study now, if it has not been settled yet, and keep the result (`StudyStore.reopen` asks for a new one).

        Raises:
            InvalidInputError: `not-found`; `bad-setting`, `bad-shape` if device or weights cannot be used: the study stays as it was.
            UnavailableError: `disk-full`; the study stays as it was.
        """
        with self._store.measuring():
            settled = self._settled(study_key)
            if settled is not None:
                return settled
            study = self._store.begin(study_key)
            if study is None:
                return self._give_up(study_key)
            try:
                return self._keep(study, self._quantify(study))
            except UnavailableError:
                self._store.take_back(study)
                raise
            except InvalidInputError as error:  # it cannot be measured, or its headers cannot carry SEG and SR
                if error.code in _OF_NODE:
                    self._store.take_back(study)
                    raise
                return self._refuse(study, error.code)

    def hand_over(self) -> int:
        """Offer every record that the gate has not judged; return how many were judged.

        Raises:
            UnavailableError: If the gate's audit cannot be written.
            InvalidInputError: `bad-setting` if the policy cannot be read; the records wait.
        """
        judged = 0
        for finding in self._store.findings.unsent():
            if not finding.record:
                self._store.findings.mark_sent(finding, NO_WEEK)
            elif self._gate is not None:
                record = declared(CaseRecord.model_validate_json(finding.record), self._legal_basis())
                verdict = self._gate.submit(record)
                self._store.findings.mark_sent(finding, verdict.code.value if isinstance(verdict, Refusal) else CLEAR)
                judged += 1
        return judged

    def _step_safely(self, idle: Callable[[], None] | None = None) -> bool:
        """Take one step; the loop outlives any fault, and `StudyStore.begin` keeps one study from being tried for ever."""
        busy = _safely(self.step)
        self._faults = self._faults + 1 if busy is None else 0
        if not busy and idle is not None:
            _safely(idle)
        return bool(busy)

    def _pause(self) -> float:
        """Return how long to wait when there was nothing to do, or nothing that could be done."""
        return _NEXT_TRY.delay(self._faults, random.random()) if self._faults else _IDLE_SECONDS  # noqa: S311 - jitter

    def _quantify(self, study: Study) -> Result:
        scan = dicom_scan(self._store.instances(study.study_key))
        before = self._store.findings.outlasting(study.study_key)
        if before is not None and shows_less(scan.series, json.loads(before.document).get("series", {})):
            raise InvalidInputError(
                Code.MISSING_SLICES, "Only some slices of a study have come whose others are kept no more."
            )
        compute = self._settings.compute
        return measure_scan(scan, self._shelf.load, device=compute.device, threads=compute.threads)

    def _keep(self, study: Study, result: Result) -> Outcome:
        """Write the files, then make them count."""
        folder = self._store.folder(study.study_key)
        header = self._header(result)
        earlier = earlier_scans(self._store, study.study_key, header) if header is not None else []
        write_study(result, folder, previous=self._last_report(study.study_key), earlier=earlier)
        view = self._surroundings.view(study.study_key, header) if self._surroundings and header is not None else None
        finding = self._finding(study, result, self._record(study, result, header, view))
        write_durably(folder / DOCUMENT, finding.document.encode())
        grid = grid_name(result.scan.volume.hu.shape, result.scan.affine)
        if not self._store.findings.settle_measured(study, finding, grid):
            return Outcome(study.study_key, StudyState.RECEIVED)
        if self._surroundings is not None and view is not None:
            self._surroundings.keep(study.study_key, view)
        if result.scan.stack is not None:
            self._store.findings.note_input(
                study.study_key, _input_of(result, result.scan.stack.slices[0].manufacturer)
            )
        log.info("study.measured", extra={"study": study.study_key, "release": finding.model_release})
        return Outcome(study.study_key, StudyState.MEASURED, document=json.loads(finding.document))

    def _finding(self, study: Study, result: Result, record: CaseRecord | None) -> Finding:
        return Finding(
            study_key=study.study_key, model_release=str(result.document["model_release"]),
            document=json.dumps(result.document), record=record.model_dump_json() if record is not None else "",
            version=self._store.findings.next_version(study.study_key), verdict=None, measured_at=self._store.now(),
        )  # fmt: skip

    @staticmethod
    def _header(result: Result) -> Dataset | None:
        stack = result.scan.stack
        return None if stack is None else read_part10(stack.slices[0].content, pixels=False, tags=CONTEXT_TAGS)

    def _record(self, study: Study, result: Result, header: Dataset | None, view: View | None) -> CaseRecord | None:
        if header is None:
            return None
        circumstances = view.circumstances if view is not None else circumstances_of(header)
        version = self._store.findings.next_version(study.study_key)
        record = case_record(study.case_id, version, circumstances, result.document)
        if record is not None:
            first = self._store.history.is_first_in_week(study.study_key, record.epi_week)
            record = record.model_copy(update={"first_in_week": first})
        before = self._store.findings.latest(study.study_key)
        known = CaseRecord.model_validate_json(before.record) if before is not None and before.record else None
        return classes_kept(record, known)

    def _refuse(self, study: Study, code: Code) -> Outcome:
        """Refuse a study; a record of it that left earlier is withdrawn. What was measured of files that are gone by now stays."""
        if self._store.findings.settle_as_before(study):
            log.info("study.kept", extra={"study": study.study_key, "code": code.value})
            return Outcome(study.study_key, StudyState.MEASURED, code=code.value)
        if not self._store.findings.settle_refused(study, code, self._withdrawal(study)):
            return Outcome(study.study_key, StudyState.RECEIVED)
        log.info("study.refused", extra={"study": study.study_key, "code": code.value})
        return Outcome(study.study_key, StudyState.REFUSED, code=code.value)

    def _withdrawal(self, study: Study) -> Finding | None:
        before = self._store.findings.latest(study.study_key)
        if before is None or not before.record or before.verdict not in {None, CLEAR}:
            return None
        record = CaseRecord.model_validate_json(before.record)
        if record.withdrawn:
            return None
        gone = withdrawn(record)
        return Finding(
            study_key=study.study_key, model_release=before.model_release, document=before.document,
            record=gone.model_dump_json(), version=gone.version, verdict=None, measured_at=self._store.now(),
        )  # fmt: skip

    def _settled(self, study_key: str) -> Outcome | None:
        """Return what another process has made of the study meanwhile, if anything."""
        study, finding = self._store.study(study_key), self._store.finding(study_key)
        if study.state is StudyState.RECEIVED:
            return None
        document = json.loads(finding.document) if finding is not None else None
        return Outcome(study_key, study.state, study.code, document)

    def _give_up(self, study_key: str) -> Outcome:
        return self._refuse(self._store.study(study_key), Code.NODE_FAULT)


def _safely(work: Callable[[], _Done]) -> _Done | None:
    """Do something and return what it returns; `None` after a fault, which is logged."""
    try:
        return work()
    except FederationError as error:
        log.error("worker.waits", extra={"code": error.code.value})  # noqa: TRY400 - the code says it
    except Exception as error:  # noqa: BLE001 - the rim of the process: a traceback could quote a header
        log.error("worker.fault", extra=fault_of(error))  # noqa: TRY400
    return None


def _turned(due: list[Study], faults: int) -> list[Study]:
    """Begin with another study after each fault: a folder that cannot be written keeps nobody else from being measured."""
    first = faults % len(due) if due else 0
    return [*due[first:], *due[:first]]


def _input_of(result: Result, maker: str) -> ScanInput:
    volume, lungs = result.scan.volume, result.measurement.lungs
    return ScanInput(maker, round(volume.spacing_mm[0], 2), round(float(volume.hu[lungs > 0].mean()), 1))
