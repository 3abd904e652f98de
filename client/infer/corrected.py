"""A mask that a reader corrected, as a DICOM SEG on the slices that were measured: by the reader, semi-automatic, beside the machine's own."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.infer.labels import study_grid
from client.infer.outputs import software_version
from client.store.part10 import as_part10, coded, read_part10
from client.store.results import SEG
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import InvalidInputError


def corrected_segmentation(store: StudyStore, study_key: str, labels: NDArray[np.uint8], author: str) -> bytes:
    """Return a DICOM SEG file.

    Args:
        store: The studies.
        study_key: Of a measured study.
        labels: 1 ground glass, 2 consolidation, (Z, Y, X) on the grid of its `ct.nii.gz`.
        author: Who drew them.

    Raises:
        InvalidInputError: `not-found` if the study's instances or its own SEG are kept no more; `unreadable`.
    """
    from client.report.seg import make_corrected_segmentation

    finding, own = store.finding(study_key), store.folder(study_key) / SEG
    headers = _measured_slices(store, study_key) if finding is not None and own.exists() else []
    if not headers or finding is None:
        raise InvalidInputError(Code.NOT_FOUND, "The study's instances are kept no more; a mask cannot be corrected.")
    with coded("The header of the series"):
        segmentation = make_corrected_segmentation(
            headers, labels, study_grid(store, study_key).affine, author=author, release=finding.model_release,
            software=software_version(),
        )  # fmt: skip
        return as_part10(segmentation)


def _measured_slices(store: StudyStore, study_key: str) -> list[Dataset]:
    """Return the headers of the instances that the machine's own SEG refers to."""
    machine = read_part10(store.folder(study_key) / SEG, pixels=False, tags=["ReferencedSeriesSequence"])
    with coded("The study's own SEG"):
        measured = {
            str(instance.ReferencedSOPInstanceUID)
            for series in machine.ReferencedSeriesSequence
            for instance in series.ReferencedInstanceSequence
        }
    headers = [read_part10(path, pixels=False) for path in store.instances(study_key)]
    return [header for header in headers if str(header.get("SOPInstanceUID")) in measured]
