"""What a reader signed, in the case record: its next version carries the classes. Text and zones stay where the report is."""

from dataclasses import replace

from client.infer.cases import classified
from client.store.studies import StudyStore
from protocol.case import CaseRecord, PcrStatus, RsnaClass


def classify(store: StudyStore, study_key: str, rsna_class: RsnaClass, corads: int, pcr: PcrStatus) -> bool:
    """Let the record of a study say how a reader classed it; return whether it changed. The worker then offers it to the gate.

    Raises:
        UnavailableError: `disk-full`.
    """
    finding = store.finding(study_key)
    if finding is None or not finding.record:
        return False
    record = classified(CaseRecord.model_validate_json(finding.record), rsna_class, corads, pcr)
    if record is None:
        return False
    return store.findings.revise_record(
        replace(finding, record=record.model_dump_json(), version=record.version, verdict=None)
    )
