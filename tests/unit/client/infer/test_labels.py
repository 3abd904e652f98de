"""Labels: NIfTI by geometry, SEG by its study and geometry; everything else is refused, or resampled where a person asks."""

import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image

from client.infer.labels import import_label, read_label, study_grid
from client.infer.nifti import read_mask, write_nifti, zyx_to_nifti
from client.infer.releases import ReleaseShelf
from client.infer.worker import Worker
from client.store.labelling import Labelling
from client.store.labels import Labels
from client.store.leftovers import sweep_leftovers
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.plan import LabelUse
from tests.fakes.node_home import Home, mask_of
from tests.fakes.outcomes import code_of
from tests.fakes.scans import chest, chest_series
from tests.unit.client.infer.test_worker import Shelf, send

pytestmark = pytest.mark.usefixtures("remembered")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two measured studies on different grids."""
    home = Home(tmp_path_factory.mktemp("labels") / "home")
    store = home.store()
    worker = Worker(store, Shelf(home.settings.models, lambda _: False), home.settings)
    for name, origin in (("first", (-100.0, -120.0, -300.0)), ("second", (-101.5, -120.0, -300.0))):
        worker.measure(send(home, store, chest_series(study=name, origin_mm=origin)))
    return home


@pytest.fixture
def store(home: Home) -> StudyStore:
    return home.store()


def key_of(home: Home, study: str) -> str:
    return home.pseudonyms.study_key(str(chest_series(study=study).dataset(0).StudyInstanceUID))


def truth_file(home: Home, store: StudyStore, folder: Path, study: str = "first") -> Path:
    grid = study_grid(store, key_of(home, study))
    path = folder / "truth.nii.gz"
    write_nifti(path, *zyx_to_nifti(chest().opacity, grid.affine))
    return path


def test_a_nifti_mask_finds_its_study_by_its_grid(home: Home, store: StudyStore, tmp_path: Path) -> None:
    for study in ("first", "second"):
        key = import_label(truth_file(home, store, tmp_path, study), store, home.pseudonyms)
        assert key == key_of(home, study)
    (case, other) = store.labels.training_cases(LabelUse.MASKS)
    assert case.subject_key == other.subject_key
    label = np.asarray(nibabel.load(case.label.path).dataobj).T
    volume = nibabel.load(case.volume_path)
    assert np.array_equal(label, chest().opacity)
    assert label.T.shape == volume.shape
    assert np.allclose(nibabel.load(case.label.path).affine, volume.affine)


def test_a_flipped_mask_is_turned_not_resampled(home: Home, store: StudyStore, tmp_path: Path) -> None:
    path = truth_file(home, store, tmp_path)
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (image.shape[0] - 1)
    affine[:3, 0] *= -1
    nibabel.save(Nifti1Image(np.asarray(image.dataobj)[::-1], affine), tmp_path / "flipped.nii.gz")
    key = import_label(tmp_path / "flipped.nii.gz", store, home.pseudonyms, source="flipped")
    values, _ = read_mask(mask_of(store, key), most=2)
    assert np.array_equal(values.T, chest().opacity)
    assert {label.source for label in store.labels.masks()} >= {"flipped"}


def test_our_own_seg_comes_back_as_a_label(home: Home, store: StudyStore) -> None:
    key = key_of(home, "first")
    seg = store.folder(key) / "seg.dcm"
    assert import_label(seg, store, home.pseudonyms) == key
    found, _ = read_mask(store.folder(key) / "mask.nii.gz", most=2)
    label, _ = read_mask(mask_of(store, key), most=2)
    assert np.array_equal(label, found)


@pytest.mark.parametrize("shift", [0.3, 5.0])
def test_another_grid_is_refused(home: Home, store: StudyStore, tmp_path: Path, shift: float) -> None:
    image = nibabel.load(truth_file(home, store, tmp_path))
    affine = image.affine.copy()
    affine[1, 3] += shift
    nibabel.save(Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "off.nii.gz")
    path = tmp_path / "off.nii.gz"
    assert code_of(lambda: import_label(path, store, home.pseudonyms)) is Code.NO_LABEL_MATCH
    named = key_of(home, "first")
    assert code_of(lambda: import_label(path, store, home.pseudonyms, study_key=named)) is Code.NO_LABEL_MATCH


def off_grid(home: Home, store: StudyStore, folder: Path, shift: float) -> Path:
    """The truth of the first study, moved by `shift` mm: another grid."""
    image = nibabel.load(truth_file(home, store, folder))
    affine = image.affine.copy()
    affine[1, 3] += shift
    nibabel.save(Nifti1Image(np.asarray(image.dataobj), affine), folder / "off.nii.gz")
    return folder / "off.nii.gz"


def test_a_mask_on_another_grid_is_resampled_where_a_person_asks_and_names_the_study(
    home: Home, store: StudyStore, tmp_path: Path
) -> None:
    path, key = off_grid(home, store, tmp_path, 0.3), key_of(home, "first")
    assert code_of(lambda: import_label(path, store, home.pseudonyms, resample=True)) is Code.NO_LABEL_MATCH
    assert import_label(path, store, home.pseudonyms, study_key=key, resample=True, held_out=True) == key
    kept = Labelling(store._connection).of(key)
    assert kept is not None
    assert kept.loss is not None
    assert kept.loss.dice > 0.9
    assert kept.held_out
    assert kept.on_present_grid
    values, _ = read_mask(mask_of(store, key), most=2)
    assert np.array_equal(values.T, chest().opacity), "0.3 mm is less than half a voxel: each reads the one beside it"
    import_label(truth_file(home, store, tmp_path), store, home.pseudonyms, study_key=key, held_out=False)
    again = Labelling(store._connection).of(key)
    assert again is not None
    assert again.loss is None


def test_a_mask_of_somewhere_else_is_refused_although_a_person_asks(
    home: Home, store: StudyStore, tmp_path: Path
) -> None:
    path, key = off_grid(home, store, tmp_path, 400.0), key_of(home, "first")
    before = mask_of(store, key)
    assert (
        code_of(lambda: import_label(path, store, home.pseudonyms, study_key=key, resample=True)) is Code.NO_LABEL_MATCH
    )
    assert mask_of(store, key) == before


def drawn_anew(home: Home, store: StudyStore, folder: Path) -> Path:
    """A mask of the first study that never was a label."""
    image = nibabel.load(truth_file(home, store, folder))
    values = np.asarray(image.dataobj).copy()
    values[0, 0, 0] = 2
    nibabel.save(Nifti1Image(values, image.affine), folder / "anew.nii.gz")
    return folder / "anew.nii.gz"


def test_killed_between_mask_and_row_the_label_is_what_it_was_and_the_new_mask_is_left_over(
    home: Home, store: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the next run trains on a mask under the name of who drew the one before."""
    key = import_label(truth_file(home, store, tmp_path), store, home.pseudonyms, source="before")
    found, labelling = mask_of(store, key), Labelling(store._connection)
    assert found is not None
    content, row = found.read_bytes(), labelling.of(key)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Labels, "keep_mask", dies)
        with pytest.raises(KeyboardInterrupt):
            import_label(drawn_anew(home, store, tmp_path), store, home.pseudonyms, source="after")
    assert (mask_of(store, key), labelling.of(key)) == (found, row)
    assert found.read_bytes() == content
    assert sweep_leftovers(store._connection, home.settings, time.time() + 1) == 1
    assert found.exists()


def test_a_mask_under_its_old_name_is_named_by_its_content_and_one_that_its_row_does_not_know_stays(
    home: Home, store: StudyStore, tmp_path: Path
) -> None:
    key = import_label(truth_file(home, store, tmp_path), store, home.pseudonyms, source="before")
    found = mask_of(store, key)
    assert found is not None
    content, old = found.read_bytes(), found.parent / f"{key}.nii.gz"
    found.rename(old)
    assert sweep_leftovers(store._connection, home.settings, time.time() + 1) == 0
    assert (found.read_bytes(), old.exists()) == (content, False)
    old.write_bytes(b"of somebody")
    assert sweep_leftovers(store._connection, home.settings, time.time() + 1) == 0
    assert old.read_bytes() == b"of somebody"


def test_a_mask_on_the_studys_own_grid_is_not_resampled_although_it_may_be(
    home: Home, store: StudyStore, tmp_path: Path
) -> None:
    key = import_label(truth_file(home, store, tmp_path), store, home.pseudonyms, resample=True)
    kept = Labelling(store._connection).of(key)
    assert kept is not None
    assert kept.loss is None


def test_labels_that_mean_nothing_are_refused(home: Home, store: StudyStore, tmp_path: Path) -> None:
    grid = study_grid(store, key_of(home, "first"))
    path = tmp_path / "votes.nii.gz"
    write_nifti(path, *zyx_to_nifti(chest().opacity * np.uint8(2), grid.affine))
    assert code_of(lambda: import_label(path, store, home.pseudonyms)) is Code.BAD_REQUEST
    (tmp_path / "notes.txt").write_text("x")
    assert code_of(lambda: read_label(tmp_path / "notes.txt", home.pseudonyms)) is Code.UNREADABLE
    assert code_of(lambda: import_label(path, store, home.pseudonyms, study_key="nobody")) is not None


def test_two_studies_on_one_grid_need_a_name(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    store = home.store()
    worker = Worker(store, ReleaseShelf(home.settings.models, lambda _: False), home.settings)
    worker._shelf = Shelf(home.settings.models, lambda _: False)
    keys = [send(home, store, chest_series(study=name)) for name in ("a", "b")]
    for key in keys:
        worker.measure(key)
    path = tmp_path / "truth.nii.gz"
    write_nifti(path, *zyx_to_nifti(chest().opacity, study_grid(store, keys[0]).affine))
    assert code_of(lambda: import_label(path, store, home.pseudonyms)) is Code.NO_LABEL_MATCH
    assert import_label(path, store, home.pseudonyms, study_key=keys[1]) == keys[1]
