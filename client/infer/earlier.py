"""A patient's earlier scans in this node, for the report. Whoever is not told apart by a number has none: strangers are never compared."""

import json

from pydicom.dataset import Dataset

from client.infer.cases import day_of
from client.report.page import MOST_EARLIER, Earlier
from client.store.studies import StudyStore


def earlier_scans(store: StudyStore, study_key: str, header: Dataset) -> list[Earlier]:
    """Return the earlier scans of the patient of a study, the latest first.

    Args:
        store: The studies.
        study_key: The study that is being measured.
        header: Of one of its slices, with `client.infer.surroundings.CONTEXT_TAGS`.
    """
    day = day_of(header)
    if day is None or not str(header.get("PatientID") or "").strip():
        return []
    found = store.history.earlier_of_subject(study_key, day.toordinal())[:MOST_EARLIER]
    return [
        Earlier(days, json.loads(finding.document))
        for other, days in found
        if (finding := store.finding(other)) is not None
    ]


def earlier_studies(store: StudyStore, study_key: str) -> list[tuple[str, int]]:
    """Return the measured studies of the patient that are earlier than a study, each with how many days; the latest first."""
    day = store.history.day_of(study_key)
    return [] if day is None else store.history.earlier_of_subject(study_key, day)
