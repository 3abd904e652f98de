"""Labels as a person decides on them: held out, taken in, withdrawn, on another grid; and that a new mask does not undo it."""

import pytest

from client.store.labelling import Labelling
from client.store.records import Loss
from client.store.studies import StudyStore
from protocol.codes import Code
from tests.fakes.node_home import Home
from tests.fakes.outcomes import code_of

HASH = "a" * 64
LOSS = Loss(dice=0.91, volume_ratio=1.02, outside_fraction=0.0)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("labels") / "home")
    connection = home.store()._connection
    for at, (key, subject) in enumerate((("one", "x"), ("two", "x"), ("three", "y"))):
        row = (key, subject, f"case{at}", "measured", None, 1, 0, "grid", float(at), float(at))
        connection.execute("INSERT INTO study VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    return home


@pytest.fixture
def store(home: Home) -> StudyStore:
    return home.store()


@pytest.fixture
def labelling(store: StudyStore) -> Labelling:
    return Labelling(store._connection)


def trained_on(store: StudyStore, labelling: Labelling) -> list[str]:
    """What the console says is trained on, held against what training takes."""
    said = sorted(one.study_key for one in labelling.all() if one.trained_on)
    assert said == sorted(case.study_key for case in store.training_cases())
    return said


def label(store: StudyStore, *keys: str) -> None:
    for key in keys:
        store.keep_label(key, grid="grid", source="radiology", sha256=HASH)


def test_what_is_held_out_is_not_trained_on_until_taken_in(store: StudyStore, labelling: Labelling) -> None:
    label(store, "one", "three")
    labelling.hold_out("one", held_out=True)
    assert trained_on(store, labelling) == ["three"]
    assert labelling.counts() == {"labels": 2, "held_out": 1, "withdrawn": 0}
    labelling.hold_out("one", held_out=False)
    assert trained_on(store, labelling) == ["one", "three"]


def test_a_corrected_mask_of_a_held_out_study_stays_held_out(store: StudyStore, labelling: Labelling) -> None:
    label(store, "one")
    labelling.hold_out("one", held_out=True)
    label(store, "one")
    assert trained_on(store, labelling) == []
    store.keep_label("one", grid="grid", source="radiology", sha256=HASH, held_out=False)
    assert trained_on(store, labelling) == ["one"]


def test_a_withdrawal_takes_every_study_of_the_patient(store: StudyStore, labelling: Labelling) -> None:
    label(store, "one", "two", "three")
    store.withdraw_subject("two")
    assert trained_on(store, labelling) == ["three"]
    assert labelling.counts()["withdrawn"] == 2


def test_a_label_on_a_grid_of_before_is_shown_as_such(store: StudyStore, labelling: Labelling) -> None:
    label(store, "one")
    store._connection.execute("UPDATE study SET grid = 'another' WHERE study_key = 'one'")
    found = labelling.of("one")
    assert found is not None
    assert not found.on_present_grid
    assert trained_on(store, labelling) == []


def test_what_was_lost_belongs_to_one_mask(store: StudyStore, labelling: Labelling) -> None:
    store.keep_label("one", grid="grid", source="radiology", sha256=HASH, loss=LOSS)
    found = labelling.of("one")
    assert found is not None
    assert found.loss == LOSS
    label(store, "one")
    again = labelling.of("one")
    assert again is not None
    assert again.loss is None


def test_a_study_without_a_label_has_none_to_hold_out(labelling: Labelling) -> None:
    assert labelling.of("one") is None
    assert code_of(lambda: labelling.hold_out("one", held_out=True)) is Code.NOT_FOUND


def test_pages_hold_each_label_once(store: StudyStore, labelling: Labelling) -> None:
    for at in range(120):
        row = (f"s{at:03}", "z", f"c{at}", "measured", None, 1, 0, "grid", 1.0, 1.0)
        store._connection.execute("INSERT INTO study VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        label(store, f"s{at:03}")
    first = labelling.page()
    assert (first.total, first.last, len(first.rows)) == (120, 3, 50)
    assert len({one.study_key for number in (1, 2, 3) for one in labelling.page(number).rows}) == 120
