import json
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ComprehensiveSRStorage, CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage

from deploy.local.stored import StoredStudy, objections, settled, settled_keys

UID = "2.25.4711"


def line(event: str, **more: str) -> str:
    return json.dumps({"time": "2026-01-14T10:00:00Z", "event": event, **more})


def test_a_study_counts_once_however_often_it_was_settled() -> None:
    lines = [
        line("part.started"),
        line("study.measured", study="a"),
        line("study.refused", study="b", code="localizer"),
        line("study.measured", study="a"),
    ]
    assert set(settled_keys(lines)) == {"a", "b"}


def test_a_line_cut_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "worker.jsonl"
    assert settled(log) == set()
    log.write_text(line("study.measured", study="a") + "\n" + line("study.measured", study="bb")[:-9] + "\n[1]\n")
    assert settled(log) == {"a"}


def code(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", "x"
    return item


def segmentation(*, uid: str = UID, finding: str = "112120") -> Dataset:
    segment = Dataset()
    segment.SegmentedPropertyTypeCodeSequence = Sequence([code(finding)])
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = SegmentationStorage, uid
    made.SegmentSequence = Sequence([segment])
    return made


def number(concept: str, value: float) -> Dataset:
    measured, item = Dataset(), Dataset()
    measured.NumericValue = f"{value}"
    item.ValueType = "NUM"
    item.ConceptNameCodeSequence, item.MeasuredValueSequence = Sequence([code(concept)]), Sequence([measured])
    return item


def report(percent: float = 12.34, *, uid: str = UID, template: str = "1500") -> Dataset:
    followed, group = Dataset(), Dataset()
    followed.TemplateIdentifier = template
    group.ValueType = "CONTAINER"
    group.ContentSequence = Sequence([number("118565006", 4000.0), number("112120", percent), number("112120", 99.0)])
    made = Dataset()
    made.SOPClassUID, made.StudyInstanceUID = ComprehensiveSRStorage, uid
    made.ContentTemplateSequence, made.ContentSequence = Sequence([followed]), Sequence([group])
    return made


def objected(folder: Path, *, seg: Dataset | None, sr: Dataset | None, picture: bytes | None) -> list[str]:
    for name, dataset in (("seg.dcm", seg), ("sr.dcm", sr)):
        if dataset is not None:
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
            dataset.save_as(folder / name, enforce_file_format=True)
    if picture is not None:
        (folder / "picture.png").write_bytes(picture)
    study = StoredStudy(
        study_key="k", study_uid=UID, instances=1, state="measured", code=None, ggo_fraction=0.12342, model_release="ggo@0", results=folder,
    )  # fmt: skip
    return objections(study)


PNG = b"\x89PNG\r\n\x1a\n...."


def test_a_study_with_all_its_results_gives_no_objection(tmp_path: Path) -> None:
    assert objected(tmp_path, seg=segmentation(), sr=report(), picture=PNG) == []


def test_everything_that_is_missing_is_named(tmp_path: Path) -> None:
    assert len(objected(tmp_path, seg=None, sr=None, picture=None)) == 3


def other_class(dataset: Dataset) -> Dataset:
    dataset.SOPClassUID = CTImageStorage
    return dataset


@pytest.mark.parametrize(
    ("seg", "sr", "picture", "named"),
    [
        (segmentation(uid="2.25.1"), report(), PNG, "not the study's"),
        (segmentation(finding="52988006"), report(), PNG, "not the study's"),
        (other_class(segmentation()), report(), PNG, "no DICOM segmentation"),
        (segmentation(), report(12.5), PNG, "does not say"),
        (segmentation(), report(uid="2.25.1"), PNG, "does not say"),
        (segmentation(), report(template="2000"), PNG, "TID 1500"),
        (segmentation(), report(), b"GIF89a", "no picture"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, seg: Dataset, sr: Dataset, picture: bytes, named: str) -> None:
    [only] = objected(tmp_path, seg=seg, sr=sr, picture=picture)
    assert named in only
