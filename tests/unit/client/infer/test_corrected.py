"""A mask that a reader corrected becomes a DICOM SEG of theirs, and by the node's own door a label; voxel for voxel what was drawn."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from client.infer.corrected import corrected_segmentation
from client.infer.drawn import MaskDesk
from client.infer.nifti import read_mask
from client.store.drawn import SIGNATURE
from client.store.part10 import dataset_sha256
from client.store.studies import StudyStore
from protocol.codes import Code
from tests.fakes.node_home import Home, mask_of
from tests.fakes.outcomes import code_of
from tests.unit.client.infer.conftest import Measured

pytestmark = pytest.mark.usefixtures("remembered")

AUTHOR = "Dr Rita Example"


@pytest.fixture
def home(tmp_path: Path, measured: Measured) -> Home:
    return measured.copy(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> StudyStore:
    return home.store()


@pytest.fixture
def key(measured: Measured) -> str:
    """A measured study."""
    return measured.key


def redrawn(store: StudyStore, key: str) -> np.ndarray:
    """The machine's mask, (Z, Y, X), with something that lies off every axis of symmetry."""
    values, _ = read_mask(store.folder(key) / "mask.nii.gz", most=2)
    labels = np.ascontiguousarray(values.T)
    labels[1, 3:7, 5:20] = 2
    labels[2, 30, 40] = 1
    labels[labels.shape[0] // 2] = 0
    return labels


def test_the_segmentation_says_who_made_it_of_what(store: StudyStore, key: str, tmp_path: Path) -> None:
    (tmp_path / "seg.dcm").write_bytes(corrected_segmentation(store, key, redrawn(store, key), AUTHOR))
    made, machine = pydicom.dcmread(tmp_path / "seg.dcm"), pydicom.dcmread(store.folder(key) / "seg.dcm")
    assert str(made.ContentCreatorName) == AUTHOR
    assert [item.SegmentAlgorithmType for item in made.SegmentSequence] == ["SEMIAUTOMATIC"] * 2
    assert made.StudyInstanceUID == machine.StudyInstanceUID
    assert made.SeriesInstanceUID != machine.SeriesInstanceUID
    assert made.FrameOfReferenceUID == machine.FrameOfReferenceUID
    assert made.SeriesDescription == "Acinus: mask corrected by a reader"


def test_what_was_drawn_is_the_label(home: Home, store: StudyStore, key: str, tmp_path: Path) -> None:
    labels = redrawn(store, key)
    machine = (store.folder(key) / "mask.nii.gz").read_bytes()
    path = tmp_path / "seg.dcm"
    path.write_bytes(corrected_segmentation(store, key, labels, AUTHOR))
    assert store.drawn.keep(key, path, dataset_sha256(path), decided_by=SIGNATURE)
    assert MaskDesk(store, home.pseudonyms).step() == 1
    kept, _ = read_mask(mask_of(store, key), most=2)
    assert np.array_equal(kept.T, labels)
    assert [label.source for label in store.labels.masks()] == [AUTHOR]
    assert (store.folder(key) / "mask.nii.gz").read_bytes() == machine


def test_the_same_mask_twice_is_one_label(home: Home, store: StudyStore, key: str, tmp_path: Path) -> None:
    path = tmp_path / "seg.dcm"
    path.write_bytes(corrected_segmentation(store, key, redrawn(store, key), AUTHOR))
    assert store.drawn.keep(key, path, dataset_sha256(path), decided_by=SIGNATURE)
    assert not store.drawn.keep(key, path, dataset_sha256(path), decided_by=SIGNATURE)
    assert MaskDesk(store, home.pseudonyms).step() == 1


def test_without_instances_nothing_can_be_corrected(store: StudyStore, key: str) -> None:
    labels = redrawn(store, key)
    (store.folder(key) / "seg.dcm").unlink()
    assert code_of(lambda: corrected_segmentation(store, key, labels, AUTHOR)) is Code.NOT_FOUND
