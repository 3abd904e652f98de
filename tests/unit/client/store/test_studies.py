"""The index of studies against a model of it, and each promise by itself."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.store import studies
from client.store.files import adopt
from client.store.records import Admission, Finding, InstanceKeys, StudyState
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.plan import LabelUse
from tests.fakes.node_home import Home


def keys(study: str = "s1", instance: str = "i1", subject: str = "p1") -> InstanceKeys:
    return InstanceKeys(
        instance_key=f"{study}-{instance}", series_key="r", study_key=study, subject_key=subject, case_id=f"c-{study}"
    )


def admit(store: StudyStore, folder: Path, which: InstanceKeys, content: bytes = b"bytes") -> Admission:
    spooled = folder / "spooled"
    spooled.unlink(missing_ok=True)  # the store holds a hard link to the one before
    spooled.write_bytes(content)
    return store.admit(which, spooled, hashlib.sha256(content).hexdigest())


def finding(study: str, version: int = 1, verdict: str | None = None) -> Finding:
    return Finding(
        study_key=study, model_release="ggo@0", document="{}", record="{}", version=version, verdict=verdict,
        measured_at=1.0,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> StudyStore:
    return home.store()


def test_an_instance_is_kept_under_its_keys(home: Home, store: StudyStore, tmp_path: Path) -> None:
    assert admit(store, tmp_path, keys()) is Admission.STORED
    (path,) = store.instances("s1")
    assert path.parent == home.settings.instances / "s1"
    assert path.read_bytes() == b"bytes"
    assert store.study("s1").state is StudyState.RECEIVED


def test_sent_again_it_changes_nothing(home: Home, store: StudyStore, tmp_path: Path) -> None:
    admit(store, tmp_path, keys())
    before = store.study("s1")
    home.clock.now += 60
    assert admit(store, tmp_path, keys()) is Admission.KNOWN
    assert store.study("s1") == before


def test_other_bytes_under_the_same_uid_do_not_replace_the_first(store: StudyStore, tmp_path: Path) -> None:
    admit(store, tmp_path, keys())
    assert admit(store, tmp_path, keys(), b"other") is Admission.CONFLICTING
    assert store.instances("s1")[0].read_bytes() == b"bytes"


@pytest.mark.parametrize("content", [b"other", b"bytes"])
def test_of_two_files_that_come_at_once_the_first_in_the_index_stays(
    home: Home, store: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """Another receiver is faster between the look and the row: the slower one is told so, and its file does not stay."""
    (tmp_path / "other").mkdir()

    def adopt_and_be_overtaken(spooled: Path, path: Path) -> None:
        monkeypatch.undo()
        adopt(spooled, path)
        assert admit(home.store(), tmp_path / "other", keys(), content) is Admission.STORED

    monkeypatch.setattr(studies, "adopt", adopt_and_be_overtaken)
    told = admit(store, tmp_path, keys())
    assert told is (Admission.KNOWN if content == b"bytes" else Admission.CONFLICTING)
    (path,) = store.instances("s1")
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_swept_while_the_same_comes_again_is_there_when_it_is_acknowledged(
    home: Home, store: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adopt_and_lose(spooled: Path, path: Path) -> None:
        monkeypatch.undo()
        adopt(spooled, path)
        path.unlink()

    monkeypatch.setattr(studies, "adopt", adopt_and_lose)
    assert admit(store, tmp_path, keys()) is Admission.STORED
    assert store.instances("s1")[0].read_bytes() == b"bytes"


def test_a_study_is_due_after_its_quiet_period(home: Home, store: StudyStore, tmp_path: Path) -> None:
    admit(store, tmp_path, keys())
    home.clock.now += 29
    admit(store, tmp_path, keys(instance="i2"))
    home.clock.now += 29
    assert store.due(30) == []
    home.clock.now += 1
    assert [study.study_key for study in store.due(30)] == ["s1"]


def test_a_late_instance_reopens_a_measured_study(store: StudyStore, tmp_path: Path) -> None:
    admit(store, tmp_path, keys())
    study = store.begin("s1")
    assert study is not None
    assert store.findings.settle_measured(study, finding("s1"), "grid")
    assert store.finding("s1") == finding("s1")
    admit(store, tmp_path, keys(instance="i2"))
    assert store.study("s1").state is StudyState.RECEIVED
    assert store.finding("s1") is None, "a stale number is not shown"
    assert store.findings.latest("s1") == finding("s1"), "but its version is remembered"


@pytest.mark.parametrize("outcome", ["measured", "refused"])
def test_a_result_of_an_older_revision_does_not_count(store: StudyStore, tmp_path: Path, outcome: str) -> None:
    admit(store, tmp_path, keys())
    study = store.begin("s1")
    assert study is not None
    admit(store, tmp_path, keys(instance="i2"))
    settled = (
        store.findings.settle_measured(study, finding("s1"), "grid")
        if outcome == "measured"
        else store.findings.settle_refused(study, Code.NO_LUNG)
    )
    assert not settled
    assert store.study("s1").state is StudyState.RECEIVED


def test_a_study_that_kills_its_worker_is_given_up(store: StudyStore, tmp_path: Path) -> None:
    admit(store, tmp_path, keys())
    assert [store.begin("s1") is not None for _ in range(7)] == [True] * 5 + [False] * 2
    store.reopen("s1")
    assert store.begin("s1") is not None, "a person may try again"


def test_what_was_refused_after_having_been_measured_is_withdrawn(store: StudyStore, tmp_path: Path) -> None:
    admit(store, tmp_path, keys())
    study = store.begin("s1")
    assert study is not None
    store.findings.settle_measured(study, finding("s1", verdict="clear"), "grid")
    store.findings.settle_refused(study, Code.MISSING_SLICES, finding("s1", version=2))
    assert store.study("s1").code == "missing-slices"
    assert [(one.version, one.verdict) for one in store.findings.unsent()] == [(2, None)]
    store.findings.mark_sent(store.findings.unsent()[0], "clear")
    assert store.findings.unsent() == []


def test_the_verdict_on_an_old_version_does_not_hide_the_new_one(store: StudyStore, tmp_path: Path) -> None:
    admit(store, tmp_path, keys())
    study = store.begin("s1")
    assert study is not None
    store.findings.settle_measured(study, finding("s1"), "grid")
    old = store.findings.unsent()[0]
    store.findings.settle_measured(study, finding("s1", version=2), "grid")
    store.findings.mark_sent(old, "clear")
    assert [one.version for one in store.findings.unsent()] == [2]


def test_training_cases_lie_on_the_grid_of_their_study(store: StudyStore, tmp_path: Path) -> None:
    admit(store, tmp_path, keys())
    study = store.begin("s1")
    assert study is not None
    with pytest.raises(ConflictError):
        store.labels.keep_mask("s1", grid="grid", source="import", sha256="0" * 64)
    store.findings.settle_measured(study, finding("s1"), "grid")
    store.labels.keep_mask("s1", grid="grid", source="import", sha256="0" * 64)
    assert [case.study_key for case in store.labels.training_cases(LabelUse.MASKS)] == ["s1"]
    store.findings.settle_measured(study, finding("s1", version=2), "another grid")
    assert store.labels.training_cases(LabelUse.MASKS) == []
    assert len(store.labels.masks()) == 1


def test_held_out_labels_are_not_trained_on(store: StudyStore, tmp_path: Path) -> None:
    admit(store, tmp_path, keys())
    study = store.begin("s1")
    assert study is not None
    store.findings.settle_measured(study, finding("s1"), "grid")
    store.labels.keep_mask("s1", grid="grid", source="read", sha256="0" * 64, held_out=True)
    assert store.labels.training_cases(LabelUse.MASKS) == []


def test_a_patient_who_withdraws_is_out_of_every_later_sample_with_all_their_studies(
    store: StudyStore, tmp_path: Path
) -> None:
    for study_key, subject in (("s1", "p1"), ("s2", "p1"), ("s3", "p2")):
        admit(store, tmp_path, keys(study=study_key, subject=subject))
        study = store.begin(study_key)
        assert study is not None
        store.findings.settle_measured(study, finding(study_key), "grid")
        store.labels.keep_mask(study_key, grid="grid", source="import", sha256="0" * 64)
    assert store.labels.withdraw_subject("s2") == store.labels.withdraw_subject("s1") == "p1"
    assert [case.study_key for case in store.labels.training_cases(LabelUse.MASKS)] == ["s3"]
    assert store.labels.withdrawn_subjects() == ["p1"]
    assert len(store.labels.masks()) == 3
    with pytest.raises(InvalidInputError):
        store.labels.withdraw_subject("nobody")


def test_quarantine_keeps_the_reason_and_the_bytes(store: StudyStore, tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(b"junk")
    for _ in range(2):
        store.quarantine(spooled, "a" * 64, Code.NOT_CT)
    (kept,) = store.quarantined()
    assert (kept.code, kept.path.read_bytes()) == ("not-ct", b"junk")
    assert store.counts() == {"received": 0, "measured": 0, "refused": 0, "quarantined": 1}


def test_an_unknown_study_is_not_found(store: StudyStore) -> None:
    with pytest.raises(InvalidInputError) as caught:
        store.study("nobody")
    assert caught.value.code is Code.NOT_FOUND


STEPS = st.lists(
    st.tuples(st.sampled_from(["send", "measure", "refuse", "reopen"]), st.integers(0, 1), st.integers(0, 2)),
    max_size=25,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_states_follow_the_model(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]) -> None:
    folder = tmp_path_factory.mktemp("model")
    store = Home(folder / "home").store()
    held: dict[str, set[int]] = {}
    state: dict[str, str] = {}
    for verb, which, instance in steps:
        name = f"s{which}"
        if verb == "send":
            admit(store, folder, keys(name, f"i{instance}"))
            if instance not in held.setdefault(name, set()):
                state[name] = "received"
            held[name].add(instance)
        elif name in held and (study := store.begin(name)) is not None:
            if verb == "measure":
                store.findings.settle_measured(study, finding(name), "g")
            elif verb == "refuse":
                store.findings.settle_refused(study, Code.NO_LUNG)
            else:
                store.reopen(name)
            state[name] = {"measure": "measured", "refuse": "refused", "reopen": "received"}[verb]
    assert {study.study_key: study.state.value for study in store.studies()} == state
    assert {name: len(store.instances(name)) for name in held} == {name: len(had) for name, had in held.items()}
