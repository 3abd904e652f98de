"""A patient's earlier scans in this node, for the report. Whoever is not told apart by a number has none: strangers are never compared."""

import json
from datetime import date

from pydicom.dataset import Dataset

from client.infer.cases import day_of
from client.report.page import MOST_EARLIER, Earlier
from client.store.part10 import read_part10
from client.store.studies import StudyStore
from protocol.errors import InvalidInputError

TAGS = ["PatientID", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"]


def earlier_scans(store: StudyStore, study_key: str, header: Dataset) -> list[Earlier]:
    """Return the earlier scans of the patient of a study, the latest first.

    Args:
        store: The studies.
        study_key: The study that is being measured.
        header: Of one of its slices, with `TAGS`.
    """
    day = day_of(header)
    if day is None or not str(header.get("PatientID") or "").strip():
        return []
    found = [
        earlier
        for other in store.history.others_of_subject(study_key)
        if (earlier := _earlier(store, other, day)) is not None
    ]
    return sorted(found, key=lambda one: one.days_before)[:MOST_EARLIER]


def earlier_studies(store: StudyStore, study_key: str) -> list[tuple[str, int]]:
    """Return the measured studies of the patient that are earlier than a study, each with how many days; the latest first."""
    instances = store.instances(study_key)
    if not instances:
        return []
    header = read_part10(instances[0], pixels=False, tags=TAGS)
    day = day_of(header)
    if day is None or not str(header.get("PatientID") or "").strip():
        return []
    found = [(other, _earlier(store, other, day)) for other in store.history.others_of_subject(study_key)]
    return sorted(((key, one.days_before) for key, one in found if one is not None), key=lambda pair: pair[1])


def _earlier(store: StudyStore, study_key: str, day: date) -> Earlier | None:
    """Return another study as seen from `day`; `None` if it is not measured, not earlier, or has no date."""
    finding, instances = store.finding(study_key), store.instances(study_key)
    if finding is None or not instances:
        return None
    try:
        before = day_of(read_part10(instances[0], pixels=False, tags=TAGS))
    except InvalidInputError:
        return None
    if before is None or before >= day:
        return None
    return Earlier((day - before).days, json.loads(finding.document))
