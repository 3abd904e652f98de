"""A mask that a person corrected and saved as DICOM SEG comes in by the node's doors, is a draft, and a label once it is approved; a program's own is not."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid
from pynetdicom import AE

from client.deidentify.ring import KeyRing
from client.infer.drawn import MaskDesk
from client.infer.labels import study_grid
from client.infer.nifti import read_mask, read_volume, write_nifti
from client.infer.worker import Worker
from client.receive.again import take_again
from client.receive.intake import Intake, Taken, take_bytes
from client.sections import RetentionSettings
from client.store.aside import Aside
from client.store.database import connect
from client.store.drawn import SIGNATURE
from client.store.labelling import Labelling
from client.store.part10 import as_part10, dataset_sha256
from client.store.records import Admission, StudyState
from client.store.removal import Remover
from client.store.retention import Retention
from client.store.studies import StudyStore
from client.store.tables import SCHEMA
from protocol.codes import Code
from protocol.plan import LabelUse
from tests.fakes.ct_series import as_bytes
from tests.fakes.dicom_peer import CALLER, receiving
from tests.fakes.node_home import Home, mask_of
from tests.fakes.outcomes import code_of
from tests.fakes.ports import free_port
from tests.fakes.scans import chest_series
from tests.unit.client.infer.conftest import Measured
from tests.unit.client.infer.test_worker import Shelf

pytestmark = pytest.mark.usefixtures("remembered")

AUTHOR = "Example^Rita"


@pytest.fixture
def home(tmp_path: Path, measured: Measured) -> Home:
    return measured.copy(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])


@pytest.fixture
def store(home: Home) -> StudyStore:
    return home.store()


@pytest.fixture
def key(measured: Measured) -> str:
    """A measured study."""
    return measured.key


def corrected(
    store: StudyStore, key: str, *, author: str = AUTHOR, by: str = "SEMIAUTOMATIC", slices: int = 1
) -> Dataset:
    """The node's own SEG of a study as a reader saves it after clearing the first frames that show something."""
    dataset = pydicom.dcmread(store.folder(key) / "seg.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.ContentCreatorName = author
    for segment in dataset.SegmentSequence:
        segment.SegmentAlgorithmType = by
    size = int(dataset.NumberOfFrames) * int(dataset.Rows) * int(dataset.Columns)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little", count=size)
    frames = bits.reshape(int(dataset.NumberOfFrames), -1)
    frames[np.flatnonzero(frames.any(axis=1))[:slices]] = 0
    packed = np.packbits(frames, axis=None, bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    return dataset


def take(home: Home, store: StudyStore, dataset: Dataset) -> Taken:
    home.clock.now += 10
    return take_bytes(Intake(store, home.pseudonyms), as_part10(dataset), home.settings.home / "spool")


def desk(home: Home, store: StudyStore) -> MaskDesk:
    return MaskDesk(store, home.pseudonyms)


def approved(home: Home, store: StudyStore) -> int:
    """Look, let a radiologist approve whatever waits, and look again; return how many became labels."""
    assert desk(home, store).step() == 0, "nothing is a label without a word"
    for draft in store.drawn.drafts():
        store.drawn.approve(draft.sha256, by="r1")
    return desk(home, store).step()


def label_of(store: StudyStore, key: str) -> tuple[str, str] | None:
    found = Labelling(store._connection).of(key)
    return None if found is None else (found.kind.value, found.source)


def drawn_files(home: Home) -> list[Path]:
    return list((home.settings.labels / "drawn").glob("*"))


def test_a_corrected_mask_becomes_a_label_under_its_authors_name(home: Home, store: StudyStore, key: str) -> None:
    taken = take(home, store, corrected(store, key))
    assert (taken.study_key, taken.admission, taken.code) == (key, Admission.STORED, None)
    assert label_of(store, key) is None, "the worker makes it"
    assert approved(home, store) == 1
    assert label_of(store, key) == ("mask", "Example Rita")
    assert drawn_files(home) == []
    assert store.study(key).state is StudyState.MEASURED, "a mask is no new slice"
    found, _ = read_mask(store.folder(key) / "mask.nii.gz", most=2)
    label, _ = read_mask(mask_of(store, key), most=2)
    assert 0 < (label > 0).sum() < (found > 0).sum()


def test_it_is_a_draft_until_a_person_approves_it(home: Home, store: StudyStore, key: str) -> None:
    """Whoever can send to the node could say otherwise what is learnt."""
    take(home, store, corrected(store, key))
    for _ in range(2):
        assert desk(home, store).step() == 0
    (draft,) = store.drawn.drafts()
    assert (draft.study_key, draft.author, draft.present) == (key, "Example Rita", None)
    values, _ = read_mask(store.folder(key) / "mask.nii.gz", most=2)
    assert 0 < draft.ground_glass_ml + draft.consolidation_ml < (values > 0).sum() * voxel_ml(store, key)
    assert label_of(store, key) is None
    assert store.labels.training_cases(LabelUse.MASKS) == []
    assert len(drawn_files(home)) == 1


def voxel_ml(store: StudyStore, key: str) -> float:
    return abs(float(np.linalg.det(study_grid(store, key).affine[:3, :3]))) / 1000


def test_a_draft_says_whose_label_it_would_take_the_place_of(home: Home, store: StudyStore, key: str) -> None:
    take(home, store, corrected(store, key))
    approved(home, store)
    take(home, store, corrected(store, key, author="Second^B", slices=5))
    desk(home, store).step()
    assert [(one.author, one.present) for one in store.drawn.drafts()] == [("Second B", "Example Rita")]
    assert label_of(store, key) == ("mask", "Example Rita")


def test_a_discarded_draft_is_gone_and_not_asked_about_again(home: Home, store: StudyStore, key: str) -> None:
    seg = corrected(store, key)
    take(home, store, seg)
    desk(home, store).step()
    (draft,) = store.drawn.drafts()
    store.drawn.discard(draft.sha256, by="r1")
    assert (store.drawn.drafts(), drawn_files(home)) == ([], [])
    assert take(home, store, seg).admission is Admission.KNOWN
    assert approved(home, store) == 0
    assert label_of(store, key) is None


@pytest.mark.parametrize("decision", ["approve", "discard"])
def test_what_was_decided_is_decided_once(home: Home, store: StudyStore, key: str, decision: str) -> None:
    take(home, store, corrected(store, key))
    assert code_of(lambda: store.drawn.approve("0" * 64, by="r1")) is Code.NOT_FOUND
    desk(home, store).step()
    (draft,) = store.drawn.drafts()
    getattr(store.drawn, decision)(draft.sha256, by="r1")
    assert code_of(lambda: store.drawn.approve(draft.sha256, by="r2")) is Code.NOT_FOUND
    assert code_of(lambda: store.drawn.discard(draft.sha256, by="r2")) is Code.NOT_FOUND


def test_a_draft_that_fits_its_study_no_more_when_it_is_approved_is_refused(
    home: Home, store: StudyStore, key: str
) -> None:
    take(home, store, corrected(store, key))
    desk(home, store).step()
    volume, affine = read_volume(store.folder(key) / "ct.nii.gz")
    affine[1, 3] += 40
    write_nifti(store.folder(key) / "ct.nii.gz", volume, affine)
    assert approved(home, store) == 0
    assert [one.code for one in store.quarantined()] == ["no-label-match"]
    assert label_of(store, key) is None


def test_a_signed_readers_mask_needs_no_other_word(home: Home, store: StudyStore, key: str, tmp_path: Path) -> None:
    path = tmp_path / "seg.dcm"
    path.write_bytes(as_part10(corrected(store, key)))
    store.drawn.keep(key, path, dataset_sha256(path), decided_by=SIGNATURE)
    assert store.drawn.drafts() == []
    assert desk(home, store).step() == 1


def test_a_draft_that_comes_again_with_a_signature_is_approved_by_it(
    home: Home, store: StudyStore, key: str, tmp_path: Path
) -> None:
    """As when the PACS sends back what a reader drew before the notice of the signature arrives."""
    path = tmp_path / "seg.dcm"
    path.write_bytes(as_part10(corrected(store, key)))
    store.drawn.keep(key, path, dataset_sha256(path))
    desk(home, store).step()
    assert not store.drawn.keep(key, path, dataset_sha256(path), decided_by=SIGNATURE)
    assert store.drawn.drafts() == []
    assert desk(home, store).step() == 1


def test_it_waits_on_the_disk_until_its_study_is_measured(home: Home, store: StudyStore, key: str) -> None:
    seg = corrected(store, key)
    store.reopen(key)
    take(home, store, seg)
    assert desk(home, store).step() == 0
    assert len(drawn_files(home)) == 1
    Worker(store, Shelf(home.settings.models, lambda _: False), home.settings).measure(key)
    assert approved(home, home.store()) == 1, "another process, after a restart"


def test_sent_again_it_changes_nothing(home: Home, store: StudyStore, key: str) -> None:
    seg = corrected(store, key)
    take(home, store, seg)
    assert take(home, store, seg).admission is Admission.KNOWN
    approved(home, store)
    assert take(home, store, seg).admission is Admission.KNOWN
    assert desk(home, store).step() == 0
    assert store.labels.history(key) == []


def test_a_later_correction_takes_its_place_and_the_earlier_is_kept(home: Home, store: StudyStore, key: str) -> None:
    for author, slices in (("First^A", 1), ("Second^B", 5)):
        take(home, store, corrected(store, key, author=author, slices=slices))
        approved(home, store)
    assert label_of(store, key) == ("mask", "Second B")
    (before,) = store.labels.history(key)
    assert before.source == "First A"
    assert before.labelled_at < before.superseded_at
    earlier, _ = read_mask(store.labels.place(key, before.sha256), most=2)
    present, _ = read_mask(mask_of(store, key), most=2)
    assert (earlier > 0).sum() > (present > 0).sum()


def test_what_a_person_decided_on_the_study_stays_decided(home: Home, store: StudyStore, key: str) -> None:
    take(home, store, corrected(store, key))
    approved(home, store)
    labelling = Labelling(store._connection)
    labelling.hold_out(key, held_out=True)
    take(home, store, corrected(store, key, slices=3))
    approved(home, store)
    found = labelling.of(key)
    assert found is not None
    assert found.held_out


def test_the_nodes_own_segmentation_that_comes_back_is_no_label(home: Home, store: StudyStore, key: str) -> None:
    """A PACS that forwards everything must not let the network learn from itself."""
    taken = take(home, store, pydicom.dcmread(store.folder(key) / "seg.dcm"))
    assert taken.code is Code.MACHINE_MADE
    assert desk(home, store).step() == 0
    assert [one.code for one in store.quarantined()] == ["machine-made"]


@pytest.mark.parametrize("kind", ["study", "series"])
def test_a_mask_of_what_the_node_does_not_hold_is_refused(home: Home, store: StudyStore, key: str, kind: str) -> None:
    seg = corrected(store, key)
    if kind == "study":
        seg.StudyInstanceUID = generate_uid()
    else:
        seg.ReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()
    assert take(home, store, seg).code is Code.NO_LABEL_MATCH
    assert drawn_files(home) == []


def test_a_mask_that_does_not_fit_goes_to_quarantine_and_may_be_tried_again(
    home: Home, store: StudyStore, key: str
) -> None:
    seg = corrected(store, key)
    position = seg.PerFrameFunctionalGroupsSequence
    for frame in position:
        z = frame.PlanePositionSequence[0].ImagePositionPatient
        z[1] = float(z[1]) + 40
    take(home, store, seg)
    assert desk(home, store).step() == 0
    (aside,) = store.quarantined()
    assert aside.code == "no-label-match"
    assert drawn_files(home) == []
    again = take_again(
        aside.sha256, aside=Aside(connect(home.settings.database, SCHEMA), home.settings.quarantine),
        intake=Intake(store, home.pseudonyms), folder=home.settings.home / "again",
    )  # fmt: skip
    assert again.code is None
    assert desk(home, store).step() == 0
    assert [one.code for one in store.quarantined()] == ["no-label-match"]


def test_a_mask_of_a_deleted_study_is_refused_and_nothing_of_it_is_kept(
    home: Home, store: StudyStore, key: str
) -> None:
    first, second, late = (corrected(store, key, slices=slices) for slices in (1, 2, 3))
    for seg in (first, second):
        take(home, store, seg)
        approved(home, store)
    waiting = corrected(store, key, slices=4)
    take(home, store, waiting)
    desk(home, store).step()
    assert len(store.drawn.drafts()) == 1
    remover = Remover(connect(home.settings.database, SCHEMA), home.settings, None, home.clock)
    remover.delete(key)
    assert store.drawn.drafts() == []
    assert [path for path in home.settings.labels.rglob("*") if path.is_file()] == []
    taken = take(home, store, late)
    assert (taken.admission, taken.code) == (Admission.DELETED, Code.STUDY_DELETED)
    assert store.quarantined() == []
    assert [path for path in home.settings.labels.rglob("*") if path.is_file()] == []


def test_a_mask_finds_its_study_after_the_key_was_rotated(home: Home, store: StudyStore, key: str) -> None:
    ring = KeyRing(home.settings.keys / "pseudonym.key", connect(home.settings.database, SCHEMA))
    home.pseudonyms = ring.rotate()
    assert take(home, store, corrected(store, key)).study_key == key
    assert approved(home, store) == 1


def test_instances_may_have_gone_after_their_period(home: Home, store: StudyStore, key: str) -> None:
    store._connection.execute("DELETE FROM instance")
    take(home, store, corrected(store, key))
    assert approved(home, store) == 1


def test_earlier_masks_go_when_their_period_ends(home: Home, store: StudyStore, key: str) -> None:
    for slices in (1, 2):
        take(home, store, corrected(store, key, slices=slices))
        approved(home, store)
    home.clock.now += 40 * 86_400
    for path in home.settings.labels.rglob("*.nii.gz"):
        os.utime(path, (0, 0))
    settings = home.settings.model_copy(update={"retention": RetentionSettings(labels_days=30)})
    Retention(connect(home.settings.database, SCHEMA), settings, lambda _: False, home.clock).sweep()
    assert store.labels.history(key) == []
    assert list(home.settings.labels.rglob("*.nii.gz")) == []


def test_an_authors_name_is_plain_words(home: Home, store: StudyStore, key: str) -> None:
    for slices, author, plain in ((1, "Example^Rita^^Dr", "Example Rita Dr"), (2, "x" * 64 + "=" + "y" * 20, "x" * 64)):
        take(home, store, corrected(store, key, author=author, slices=slices))
        approved(home, store)
        assert label_of(store, key) == ("mask", plain)


def test_it_comes_by_c_store(home: Home, store: StudyStore, key: str) -> None:
    entity = AE(ae_title=CALLER)
    entity.add_requested_context(SegmentationStorage, ExplicitVRLittleEndian)
    with receiving(home):
        association = entity.associate("127.0.0.1", home.settings.dicom.port, ae_title="ACINUS")
        assert association.is_established
        good, own = corrected(store, key), pydicom.dcmread(store.folder(key) / "seg.dcm")
        statuses = [int(association.send_c_store(one).Status) for one in (good, own)]
        association.release()
    assert statuses[0] == 0x0000
    assert statuses[1] != 0x0000, "a program's own"
    assert approved(home, store) == 1


def test_a_ct_is_taken_as_ever(home: Home, store: StudyStore) -> None:
    taken = take_bytes(
        Intake(store, home.pseudonyms), as_bytes(chest_series(study="another").dataset(0)), home.settings.home / "spool"
    )
    assert (taken.admission, taken.code) == (Admission.STORED, None)
