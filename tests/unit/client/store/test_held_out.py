"""Whom releases are compared on: patients held out altogether, with a mask, and what is known of them."""

import pytest

from client.store.records import ScanInput
from client.store.studies import StudyStore
from tests.fakes.node_home import Home

HASH = "a" * 64


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> StudyStore:
    """Two studies of x and one of y, measured."""
    store = Home(tmp_path_factory.mktemp("held-out") / "home").store()
    for at, (key, subject) in enumerate((("one", "x"), ("two", "x"), ("three", "y"))):
        row = (key, subject, f"case{at}", "measured", None, 1, 0, "grid", float(9 - at), float(at))
        store._connection.execute("INSERT INTO study VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    return store


def label(store: StudyStore, *keys: str, held_out: bool = True) -> None:
    for key in keys:
        store.labels.keep_mask(key, grid="grid", source="radiology", sha256=HASH, held_out=held_out)


def held_out(store: StudyStore) -> list[str]:
    return [one.case.study_key for one in store.labels.held_out_cases()]


def test_a_held_out_study_with_a_mask_counts(store: StudyStore) -> None:
    label(store, "three")
    assert held_out(store) == ["three"]


def test_the_newest_study_of_a_patient_comes_last(store: StudyStore) -> None:
    label(store, "one", "two", "three")
    assert held_out(store) == ["two", "one", "three"]  # "one" was received last


def test_what_is_trained_on_does_not_count(store: StudyStore) -> None:
    label(store, "three", held_out=False)
    assert held_out(store) == []


def test_nobody_counts_of_whom_another_study_is_trained_on(store: StudyStore) -> None:
    label(store, "one")
    label(store, "two", held_out=False)
    assert held_out(store) == []


def test_nor_of_whom_zone_scores_may_be_trained_on(store: StudyStore) -> None:
    label(store, "one")
    assert held_out(store) == ["one"]
    store._connection.execute("INSERT INTO zone_label VALUES ('two', 'grid', 'reader', '000000', 'ggo@0', 0, 1.0)")
    assert held_out(store) == []


def test_who_withdrew_does_not_count(store: StudyStore) -> None:
    label(store, "one", "three")
    store.labels.withdraw_subject("two")
    assert held_out(store) == ["three"]


def test_a_mask_on_a_grid_of_before_does_not_count(store: StudyStore) -> None:
    label(store, "three")
    store._connection.execute("UPDATE study SET grid = 'another' WHERE study_key = 'three'")
    assert held_out(store) == []


def test_zone_scores_alone_are_no_measure(store: StudyStore) -> None:
    store._connection.execute("INSERT INTO zone_label VALUES ('two', 'grid', 'reader', '000000', 'ggo@0', 1, 1.0)")
    assert held_out(store) == []


def test_what_is_known_of_the_patient_and_the_scanner_comes_along(store: StudyStore) -> None:
    label(store, "three")
    (bare,) = store.labels.held_out_cases()
    assert (bare.sex, bare.age_band, bare.maker) == ("", "", "")
    store.findings.note_input("three", ScanInput("SIEMENS", 1.0, -820.0))
    row = ("three", None, "unknown", "unknown", "female", "50-59", "unknown", "unknown", None, "{}", "[]", 1.0)
    store._connection.execute(f"INSERT INTO study_context VALUES ({', '.join('?' * len(row))})", row)
    (known,) = store.labels.held_out_cases()
    assert (known.sex, known.age_band, known.maker) == ("female", "50-59", "SIEMENS")


def test_what_the_scanner_gave_of_a_study_that_is_gone_is_not_written_down(store: StudyStore) -> None:
    store.findings.note_input("nobody", ScanInput("SIEMENS", 1.0, -820.0))
    assert store._connection.execute("SELECT count(*) FROM study_input").fetchone()[0] == 0
