"""Real scans that a benchmark tests with are never such as the weights learnt from, and its sites' patients are such as hospitals have."""

import hashlib
import json
from pathlib import Path

import pytest

from bench import patients
from bench.patients import SITES, TESTED_ON, TUNED_ON, at_hand, patients_of, unseen
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


def as_drawn(monkeypatch: pytest.MonkeyPatch, chest: object) -> list[tuple[str, int, float]]:
    """Of 400 patients of a site: of what kind each is, its seed, and how ill."""
    drawn: list[tuple[str, int, float]] = []
    monkeypatch.setattr(patients, "_real_chest", lambda path: chest)
    monkeypatch.setattr(patients, "_phantom", lambda site, seed, share: drawn.append(("phantom", seed, share)))
    monkeypatch.setattr(
        patients, "_in_real_chest", lambda rng, site, real, seed, share: drawn.append((real, seed, share))
    )
    assert len(list(patients_of(SITES[0], 1000, 400))) == 400
    return drawn


def test_a_site_has_its_own_chest_beside_phantoms_and_a_quarter_without_disease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = as_drawn(monkeypatch, "a chest")
    assert [seed for _, seed, _ in drawn] == list(range(1000, 1400))
    for kind in ("phantom", "a chest"):
        shares = [share for found, _, share in drawn if found == kind]
        assert len(shares) == 200
        assert 0.15 < sum(share == 0 for share in shares) / 200 < 0.35
        low, high = SITES[0].disease
        assert all(share == 0 or low <= share <= high for share in shares)


def test_without_its_scan_a_site_has_as_many_patients_all_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, with_scan = as_drawn(monkeypatch, None), as_drawn(monkeypatch, "a chest")
    assert {kind for kind, _, _ in drawn} == {"phantom"}
    assert [share for _, _, share in drawn] == [share for _, _, share in with_scan]


def test_no_site_has_a_scan_that_is_tested_with() -> None:
    assert not {site.anatomy for site in SITES} & set(TUNED_ON + TESTED_ON)
    assert len({site.anatomy for site in SITES}) == len(SITES)


@pytest.mark.slow
@needs_shared
def test_a_real_chest_becomes_patients_of_unlike_shape_with_disease_in_the_lungs() -> None:
    one, other = (study for study in patients_of(SITES[3], 2_000_001, 3) if study.seed % 2)
    assert one.slabs.slabs.shape != other.slabs.slabs.shape or not one.slabs.slabs.equal(other.slabs.slabs)
    for study in (one, other):
        assert bool((study.sides > 0).any())
        assert not bool(((study.slabs.target > 0) & (study.sides == 0)).any())


@needs_shared
def test_the_sites_scans_are_such_as_the_weights_may_have_learnt_from() -> None:
    """Their licences allow it, and none of them is counted in a score."""
    sites = [site.anatomy for site in SITES]
    assert set(at_hand(sites)) == set(sites)
    assert unseen(sites) == {}


@needs_shared
def test_the_shipped_weights_learnt_from_none_of_them() -> None:
    assert set(unseen(TUNED_ON + TESTED_ON)) == set(TUNED_ON + TESTED_ON)
