"""Labels as a person decides on them: masks and zone scores, held out, taken in, withdrawn, on another grid; a new one does not undo it."""

import pytest

from client.store.labelling import Kind, Labelling
from client.store.records import Loss, SignedScores, ZoneLabel
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.plan import LabelUse
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
    assert said == sorted(case.study_key for case in store.labels.training_cases(LabelUse.MASKS_AND_ZONE_SCORES))
    return said


def label(store: StudyStore, *keys: str) -> None:
    for key in keys:
        store.labels.keep_mask(key, grid="grid", source="radiology", sha256=HASH)


def test_what_is_held_out_is_not_trained_on_until_taken_in(store: StudyStore, labelling: Labelling) -> None:
    label(store, "one", "three")
    labelling.hold_out("one", held_out=True)
    assert trained_on(store, labelling) == ["three"]
    assert labelling.counts() == {"labels": 2, "zone_scores": 0, "held_out": 1, "withdrawn": 0}
    labelling.hold_out("one", held_out=False)
    assert trained_on(store, labelling) == ["one", "three"]


def test_a_corrected_mask_of_a_held_out_study_stays_held_out(store: StudyStore, labelling: Labelling) -> None:
    label(store, "one")
    labelling.hold_out("one", held_out=True)
    label(store, "one")
    assert trained_on(store, labelling) == []
    store.labels.keep_mask("one", grid="grid", source="radiology", sha256=HASH, held_out=False)
    assert trained_on(store, labelling) == ["one"]


def test_a_withdrawal_takes_every_study_of_the_patient(store: StudyStore, labelling: Labelling) -> None:
    label(store, "one", "two", "three")
    store.labels.withdraw_subject("two")
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
    store.labels.keep_mask("one", grid="grid", source="radiology", sha256=HASH, loss=LOSS)
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


POINTS = ((3, 2), (2, 1), (0, 1))


def scores(
    key: str, *, reader: str = "r1", points: tuple[tuple[int, int], ...] = POINTS, signed: float = 300.0
) -> SignedScores:
    return SignedScores(study_key=key, reader_id=reader, points=points, reported_at=200.0, signed_at=signed)


@pytest.fixture
def read(store: StudyStore) -> StudyStore:
    """Each study was measured at 100 with ggo@1."""
    for key in ("one", "two", "three"):
        store._connection.execute("INSERT INTO finding VALUES (?, 'ggo@1', '{}', '{}', 1, NULL, 100.0)", (key,))
    return store


def test_signed_scores_are_a_label_with_the_release_that_the_reader_saw(read: StudyStore, labelling: Labelling) -> None:
    assert read.labels.keep_scores(scores("one"))
    (label,) = labelling.all()
    assert (label.kind, label.source, label.points, label.model_release, label.labelled_at) == (
        Kind.ZONE_SCORES, "r1", POINTS, "ggo@1", 300.0,
    )  # fmt: skip
    (case,) = read.labels.training_cases(LabelUse.MASKS_AND_ZONE_SCORES)
    assert case.label == ZoneLabel(POINTS, "ggo@1")
    assert trained_on(read, labelling) == ["one"]
    assert labelling.counts() == {"labels": 1, "zone_scores": 1, "held_out": 0, "withdrawn": 0}


def test_a_run_on_masks_alone_does_not_draw_them(read: StudyStore) -> None:
    read.labels.keep_scores(scores("one"))
    label(read, "three")
    assert [case.study_key for case in read.labels.training_cases(LabelUse.MASKS)] == ["three"]


@pytest.mark.parametrize("last", ["mask", "scores"])
def test_a_mask_always_wins(read: StudyStore, labelling: Labelling, last: str) -> None:
    steps = [lambda: label(read, "one"), lambda: read.labels.keep_scores(scores("one"))]
    for step in steps if last == "scores" else reversed(steps):
        step()
    assert {one.kind: one.trained_on for one in labelling.all()} == {Kind.MASK: True, Kind.ZONE_SCORES: False}
    (case,) = read.labels.training_cases(LabelUse.MASKS_AND_ZONE_SCORES)
    assert not isinstance(case.label, ZoneLabel)
    found = labelling.of("one")
    assert found is not None
    assert found.kind is Kind.MASK
    assert labelling.counts()["labels"] == 1


def test_not_even_a_mask_that_does_not_count_lets_the_scores_in(read: StudyStore, labelling: Labelling) -> None:
    read.labels.keep_mask("one", grid="grid", source="radiology", sha256=HASH, held_out=True)
    read.labels.keep_scores(scores("one"))
    assert trained_on(read, labelling) == []
    read._connection.execute("UPDATE label SET held_out = 0, grid = 'another'")
    assert trained_on(read, labelling) == []


def test_scores_are_held_out_and_taken_in(read: StudyStore, labelling: Labelling) -> None:
    read.labels.keep_scores(scores("one"))
    labelling.hold_out("one", held_out=True)
    assert trained_on(read, labelling) == []
    read.labels.keep_scores(scores("one", reader="r2", signed=400.0))
    assert trained_on(read, labelling) == [], "another read does not undo what a person decided"
    labelling.hold_out("one", held_out=False)
    assert trained_on(read, labelling) == ["one"]


@pytest.mark.parametrize("first", ["mask", "scores"])
def test_what_is_held_out_stays_so_when_the_other_kind_comes_and_when_it_goes(
    read: StudyStore, labelling: Labelling, first: str
) -> None:
    steps = [lambda: label(read, "one"), lambda: read.labels.keep_scores(scores("one"))]
    one, other = steps if first == "mask" else reversed(steps)
    one()
    labelling.hold_out("one", held_out=True)
    other()
    assert trained_on(read, labelling) == []
    read._connection.execute("DELETE FROM label")  # as when its period ends
    assert trained_on(read, labelling) == []


def test_a_mask_that_is_taken_in_by_name_takes_the_scores_in_too(read: StudyStore, labelling: Labelling) -> None:
    read.labels.keep_scores(scores("one"))
    labelling.hold_out("one", held_out=True)
    read.labels.keep_mask("one", grid="grid", source="radiology", sha256=HASH, held_out=False)
    assert {one.held_out for one in labelling.all()} == {False}


def test_a_withdrawal_takes_scores_too(read: StudyStore, labelling: Labelling) -> None:
    for key in ("one", "two", "three"):
        read.labels.keep_scores(scores(key))
    read.labels.withdraw_subject("two")
    assert trained_on(read, labelling) == ["three"]
    assert labelling.counts()["withdrawn"] == 2


def test_scores_of_what_was_measured_again_since_are_no_label(read: StudyStore, labelling: Labelling) -> None:
    read._connection.execute("UPDATE finding SET measured_at = 250.0 WHERE study_key = 'one'")
    read._connection.execute("UPDATE study SET state = 'received' WHERE study_key = 'two'")
    assert not read.labels.keep_scores(scores("one"))
    assert not read.labels.keep_scores(scores("two"))
    assert not read.labels.keep_scores(scores("nowhere"))
    assert labelling.all() == []


def test_scores_on_a_grid_of_before_do_not_count(read: StudyStore, labelling: Labelling) -> None:
    read.labels.keep_scores(scores("one"))
    read._connection.execute("UPDATE study SET grid = 'another' WHERE study_key = 'one'")
    assert trained_on(read, labelling) == []


def test_the_reader_who_signed_last_counts_in_whatever_order_it_is_heard(
    read: StudyStore, labelling: Labelling
) -> None:
    late = scores("one", reader="late", points=((4, 4),) * 3, signed=500.0)
    for heard in (scores("one"), late, scores("one"), late):
        read.labels.keep_scores(heard)
    found = labelling.of("one")
    assert found is not None
    assert (found.source, found.points) == ("late", ((4, 4),) * 3)


def test_masks_and_scores_share_the_pages(read: StudyStore, labelling: Labelling) -> None:
    label(read, "one")
    for key in ("one", "two"):
        read.labels.keep_scores(scores(key))
    page = labelling.page()
    assert (page.total, len(page.rows)) == (3, 3)
