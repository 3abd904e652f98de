"""A study is complete when it is quiet, all that was announced has come and nobody is still sending; and it never waits for ever."""

from pathlib import Path

import pytest

from client.receive.intake import Intake, take_bytes
from client.store.arrivals import HOLD_SECONDS
from client.store.studies import StudyStore
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.node_home import Home

QUIET, PATIENCE = 30.0, 900.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def bring(home: Home, store: StudyStore, *indices: int, association: str | None = None, **header: object) -> str:
    intake, series = Intake(store, home.pseudonyms), plain_series(6, header=header)
    keys = []
    for index in indices:
        path = home.settings.home / f"{index}.dcm"
        path.write_bytes(as_bytes(series.dataset(index)))
        keys.append(intake.take(path, association=association).study_key)
    return str(keys[-1])


def due(home: Home, store: StudyStore, *, after: float) -> list[str]:
    home.clock.now += after
    return [study.study_key for study in store.due(QUIET, PATIENCE)]


def test_without_a_word_silence_is_enough(home: Home) -> None:
    store = home.store()
    key = bring(home, store, 0, 1)
    assert due(home, store, after=QUIET - 1) == []
    assert due(home, store, after=1) == [key]


@pytest.mark.parametrize("keyword", ["NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"])
def test_an_announced_count_is_waited_for(home: Home, keyword: str) -> None:
    store = home.store()
    key = bring(home, store, 0, 1, **{keyword: 4})
    assert store.arrivals.missing(key) == 2
    assert due(home, store, after=QUIET) == []
    bring(home, store, 2, 3, **{keyword: 4})
    assert store.arrivals.missing(key) == 0
    assert due(home, store, after=QUIET) == [key]


def test_what_never_comes_is_not_waited_for_for_ever(home: Home) -> None:
    store = home.store()
    key = bring(home, store, 0, NumberOfStudyRelatedInstances=900)
    assert due(home, store, after=PATIENCE - 1) == []
    assert due(home, store, after=1) == [key]


def test_the_latest_word_counts(home: Home) -> None:
    store = home.store()
    key = bring(home, store, 0, NumberOfStudyRelatedInstances=900)
    store.arrivals.expect(key, 1)
    assert due(home, store, after=QUIET) == [key]


@pytest.mark.parametrize("nonsense", ["-3", "0", "1000000", "²", ""])
def test_a_count_that_no_study_has_is_passed_over(home: Home, nonsense: str) -> None:
    from pydicom.config import disable_value_validation

    store = home.store()
    with disable_value_validation():
        series = plain_series(1)
        dataset = series.dataset(0)
        dataset.add_new("NumberOfStudyRelatedInstances", "LO", nonsense)
        key = take_bytes(Intake(store, home.pseudonyms), as_bytes(dataset), home.settings.home / "spool").study_key
    assert store.arrivals.missing(str(key)) == 0


def test_an_open_association_holds_its_studies(home: Home) -> None:
    store = home.store()
    key = bring(home, store, 0, 1, association="one")
    bring(home, store, 2, association="two")
    store.arrivals.let_go("one")
    assert due(home, store, after=QUIET) == [], "the other one is still open"
    store.arrivals.let_go("two")
    assert due(home, store, after=0) == [key]


def test_a_hold_runs_out_and_a_new_receiver_forgets_them_all(home: Home) -> None:
    store = home.store()
    key = bring(home, store, 0, association="dead")
    assert due(home, store, after=QUIET) == []
    assert due(home, store, after=2 * HOLD_SECONDS) == [key]
    bring(home, store, 1, association="dead too")
    store.arrivals.let_go_all()
    assert due(home, store, after=QUIET) == [key]


def test_a_late_instance_opens_the_study_again(home: Home) -> None:
    store = home.store()
    key = bring(home, store, 0, 1)
    before = store.study(key).revision
    assert due(home, store, after=QUIET) == [key]
    bring(home, store, 2)
    assert store.study(key).revision == before + 1
    assert due(home, store, after=QUIET) == [key]
