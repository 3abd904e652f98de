"""What a hospital's own IT finds in its node: the list of studies, the files behind each, the worker's log."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage

from deploy.local.scene import Node

PICTURE = "picture.png"
_PNG = b"\x89PNG\r\n\x1a\n"
_MEASUREMENT_REPORT = "1500"
_GROUND_GLASS = "112120"
"""Ground glass opacity (DCM), by which segment and measurement are named."""
_SETTLED = {"study.measured", "study.refused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStudy:
    """One study in a node. `study_uid` is read from its instances: the node itself lists keys only."""

    study_key: str
    study_uid: str
    instances: int
    state: str
    code: str | None
    ggo_fraction: float | None
    model_release: str | None
    results: Path
    """The folder of its SEG, SR and picture."""


def stored_studies(node: Node) -> list[StoredStudy]:
    """Return every study that the node holds.

    Raises:
        StepFailed: If the node's command line does not answer.
    """
    store = node.home / "store"
    listed = [(said, _instances(store / "instances" / said["study_key"])) for said in _list(node)]
    return [
        StoredStudy(
            study_key=said["study_key"], study_uid=_study_uid(files[0]), instances=len(files), state=said["state"], code=said["code"],
            ggo_fraction=said["ggo_fraction"], model_release=said["model_release"], results=store / "studies" / said["study_key"],
        )
        for said, files in listed
    ]  # fmt: skip


def settled(log: Path) -> set[str]:
    """Return the keys of the studies that the worker's log says were measured or refused. Cheap enough to ask all the time."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return set(settled_keys(lines))


def settled_keys(lines: Iterable[str]) -> Iterable[str]:
    """Yield the study of each line that says that one was measured or refused; a line half-written at a `kill -9` says nothing."""
    for line in lines:
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(said, dict) and said.get("event") in _SETTLED and "study" in said:
            yield str(said["study"])


def objections(study: StoredStudy) -> list[str]:
    """Return what is wrong with the SEG, SR and picture of a measured study; nothing if all is well."""
    found = []
    segmentation = _read(study.results / "seg.dcm")
    if segmentation is None or segmentation.SOPClassUID != SegmentationStorage:
        found.append("no DICOM segmentation")
    elif segmentation.StudyInstanceUID != study.study_uid or _GROUND_GLASS not in _segments(segmentation):
        found.append("the segmentation is not the study's ground glass")
    report = _read(study.results / "sr.dcm")
    if report is None or report.SOPClassUID != ComprehensiveSRStorage or _template(report) != _MEASUREMENT_REPORT:
        found.append("no measurement report after TID 1500")
    elif report.StudyInstanceUID != study.study_uid or not _says(report, study.ggo_fraction):
        found.append("the report does not say what was measured")
    picture = study.results / PICTURE
    if not picture.is_file() or not picture.read_bytes().startswith(_PNG):
        found.append("no picture")
    return found


def _list(node: Node) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = node.command.json("status", "--studies")["by_study"]
    return answer


def _instances(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


def _study_uid(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def _read(path: Path) -> Dataset | None:
    return pydicom.dcmread(path, stop_before_pixels=True) if path.is_file() else None


def _segments(segmentation: Dataset) -> set[str]:
    """Return the code of each segment's property type (PS3.3 C.8.20.2)."""
    return {str(segment.SegmentedPropertyTypeCodeSequence[0].CodeValue) for segment in segmentation.SegmentSequence}


def _template(report: Dataset) -> str:
    """Return the template that the root container follows (PS3.3 C.18.8)."""
    return str(report.ContentTemplateSequence[0].TemplateIdentifier) if "ContentTemplateSequence" in report else ""


def _says(report: Dataset, ggo_fraction: float | None) -> bool:
    """Say whether the report's first number of ground glass, in percent, is what the node says."""
    numbers = [item for item in _items(report) if item.ValueType == "NUM"]
    percents = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in numbers
        if item.ConceptNameCodeSequence[0].CodeValue == _GROUND_GLASS
    ]
    return ggo_fraction is not None and bool(percents) and abs(percents[0] - 100 * ggo_fraction) < 0.01


def _items(dataset: Dataset) -> Iterable[Dataset]:
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from _items(item)
