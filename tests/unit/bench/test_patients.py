"""Real scans that a benchmark tests with: never such as the weights learnt from."""

import hashlib
import json
from pathlib import Path

import pytest

from bench import patients
from bench.patients import TESTED_ON, TUNED_ON, unseen
from models.record import read_record
from models.weights import LUNGS, STARTING
from tests.shared import needs_shared


def test_a_scan_that_was_learnt_from_is_left_out_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record names it by another file name: what counts is the hash."""
    record = read_record(STARTING, LUNGS)
    assert record is not None
    own = json.dumps({"learnt": 1}).encode()
    entry = record.anatomies[0].model_copy(
        update={"file": "elsewhere.nii.gz", "sha256": hashlib.sha256(own).hexdigest()}
    )
    network = record.opacity.model_copy(update={"anatomies": (entry,)}) if record.opacity else None
    monkeypatch.setattr(patients, "read_record", lambda *_: record.model_copy(update={"opacity": network}))
    monkeypatch.setattr(patients, "DATA", tmp_path)
    (tmp_path / "seen.nii.gz").write_bytes(own)
    (tmp_path / "new.nii.gz").write_bytes(b"new")
    found = unseen(("seen.nii.gz", "new.nii.gz", "absent.nii.gz"))
    assert found == {"new.nii.gz": hashlib.sha256(b"new").hexdigest()}


def test_without_a_record_no_scan_counts_as_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patients, "read_record", lambda *_: None)
    monkeypatch.setattr(patients, "DATA", tmp_path)
    (tmp_path / "new.nii.gz").write_bytes(b"new")
    assert unseen(("new.nii.gz",)) == {}


def test_settings_are_chosen_on_other_scans_than_those_of_the_test() -> None:
    assert not set(TUNED_ON) & set(TESTED_ON)


@needs_shared
def test_the_shipped_weights_learnt_from_none_of_them() -> None:
    assert set(unseen(TUNED_ON + TESTED_ON)) == set(TUNED_ON + TESTED_ON)
