"""Releases are signed, complete and never changed; what was tampered with is refused, and a rollback is a new version."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.weights import STARTING
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError
from protocol.release import Scores, SignedManifest
from protocol.shape import canonical_json
from server import catalogue as catalogue_module
from server.catalogue import MANIFEST, PROMOTED, SHIPPED, WEIGHTS, Catalogue, add_shipped, described
from tests.fakes.outcomes import code_of
from tests.unit.server.conftest import NOW

SCORES = Scores(cases=2, dice=0.5, ggo_error_points=1.5, false_opacity_points=0.25)


def add(shelf: Catalogue, weights: bytes = b"weights", lineage: str = "ggo", **changes: Any) -> str:
    provenance = {
        "parent": None, "architecture": "ggo-net-1", "run_id": "a" * 32, "rounds": 3, "sites": 4, "epsilon_max": 1.5,
        "scores": SCORES, "base_scores": SCORES,
    }  # fmt: skip
    return shelf.add(weights, lineage=lineage, **provenance | changes).manifest.name


def folder_of(shelf: Catalogue) -> Path:
    return shelf._folder


# Harm.


@pytest.mark.parametrize(
    ("changes", "harmed"),
    [
        ({"dice": 0.492}, False), ({"dice": 0.488}, True), ({"dice": 0.9}, False), ({"false_opacity_points": 0.7}, False),
        ({"false_opacity_points": 0.8}, True), ({"dice": 0.9, "false_opacity_points": 3.0}, True), ({"ggo_error_points": 9.0}, False),
    ],
)  # fmt: skip
def test_what_training_made_worse_is_not_promoted(
    catalogue: Catalogue, changes: dict[str, float], harmed: bool
) -> None:
    name = add(catalogue, scores=SCORES.model_copy(update=changes))
    assert code_of(lambda: catalogue.check_promotable(name)) == (Code.WORSE_THAN_BASE if harmed else None)


@pytest.mark.parametrize("missing", ["scores", "base_scores"])
def test_what_was_not_measured_beside_its_start_is_not_promoted(catalogue: Catalogue, missing: str) -> None:
    name = add(catalogue, **{missing: None})
    assert code_of(lambda: catalogue.check_promotable(name)) is Code.WORSE_THAN_BASE


def test_shipped_weights_need_no_start(catalogue: Catalogue) -> None:
    catalogue.check_promotable(add(catalogue, run_id=None, scores=None, base_scores=None))


# Keeping.


def test_a_release_comes_back_as_it_was_added(catalogue: Catalogue) -> None:
    name = add(catalogue, b"some weights", parent="ggo@7")
    manifest = catalogue.signed(name).manifest
    assert (name, manifest.name, manifest.version, manifest.parent) == ("ggo@0", "ggo@0", 0, "ggo@7")
    assert (manifest.weights_bytes, manifest.created) == (12, NOW.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert (manifest.rounds, manifest.sites, manifest.epsilon_max, manifest.scores) == (3, 4, 1.5, SCORES)
    assert catalogue.weights(name) == b"some weights"


def test_the_signature_is_over_the_canonical_manifest(catalogue: Catalogue) -> None:
    signed = catalogue.signed(add(catalogue))
    signature = catalogue_module._decoded(signed.signature)
    catalogue._key.public_key().verify(signature, canonical_json(signed.manifest))


def test_versions_count_up_in_each_lineage(catalogue: Catalogue) -> None:
    assert [add(catalogue) for _ in range(3)] == ["ggo@0", "ggo@1", "ggo@2"]
    assert add(catalogue, lineage="nodule") == "nodule@0"
    assert add(catalogue, lineage="ggo-x") == "ggo-x@0"


def test_names_are_in_the_order_of_versions_not_of_letters(catalogue: Catalogue) -> None:
    names = [add(catalogue) for _ in range(11)]
    assert catalogue.names() == names
    assert names[-1] == "ggo@10"


@pytest.mark.parametrize(
    "litter", [".ggo@1.0badcafe", "ggo@", "ggo@x", "@3", "GGO@3", "ggo@1.5", "notes", "ggo@1234567"]
)
def test_what_a_crash_or_a_person_left_there_is_no_release(catalogue: Catalogue, litter: str) -> None:
    name = add(catalogue)
    shutil.copytree(folder_of(catalogue) / name, folder_of(catalogue) / litter)
    assert catalogue.names() == [name]
    assert add(catalogue) == "ggo@1"


def test_a_folder_without_a_manifest_is_no_release(catalogue: Catalogue) -> None:
    (folder_of(catalogue) / "ggo@5").mkdir()
    assert catalogue.names() == []


def test_an_existing_release_is_never_overwritten(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    add(catalogue, b"first")
    monkeypatch.setattr(Catalogue, "_next_version", lambda *_: 0)
    with pytest.raises(ConflictError, match="added by somebody else"):
        add(catalogue, b"second")
    assert catalogue.weights("ggo@0") == b"first"
    assert sorted(path.name for path in folder_of(catalogue).iterdir()) == ["ggo@0"]


class Death(BaseException):
    """What a process feels of kill -9."""


@pytest.mark.parametrize("at", [WEIGHTS, MANIFEST])
def test_a_release_is_there_as_a_whole_or_not_at_all(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def dying(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        if path.name == at:
            raise Death

    monkeypatch.setattr(catalogue_module, "write_durably", dying)
    monkeypatch.setattr(catalogue_module.shutil, "rmtree", lambda *_, **__: None)  # who is killed does not tidy up
    with pytest.raises(Death):
        add(catalogue)
    monkeypatch.undo()
    assert catalogue.names() == []
    assert add(catalogue) == "ggo@0"
    assert catalogue.weights("ggo@0") == b"weights"


def test_a_catalogue_that_is_gone_is_a_disk_that_does_not_serve(catalogue: Catalogue) -> None:
    folder_of(catalogue).rmdir()
    assert code_of(lambda: add(catalogue)) is Code.DISK_FULL


def test_the_shipped_weights_are_the_first_release(catalogue: Catalogue) -> None:
    assert add_shipped(catalogue).manifest.name == SHIPPED
    assert catalogue.weights(SHIPPED) == STARTING.read_bytes()
    assert catalogue.promoted() == SHIPPED


def test_an_incomplete_installation_is_said_so(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("models.weights.STARTING", tmp_path / "none")
    assert code_of(lambda: add_shipped(catalogue)) is Code.NOT_FOUND


# Tampering.


@pytest.mark.parametrize(
    "name",
    [
        "ggo@1",
        "ggo",
        "ggo@",
        "../catalogue/ggo@0",
        "ggo@0/",
        "ggo@0/../ggo@0",
        "",
        ".",
        "..",
        PROMOTED,
        "a\0b",
        "x" * 5000,
    ],
)
def test_a_name_of_nothing_is_not_found(catalogue: Catalogue, name: str) -> None:
    catalogue.note_promotion(add(catalogue))
    assert code_of(lambda: catalogue.signed(name)) is Code.NOT_FOUND
    assert code_of(lambda: catalogue.weights(name)) is Code.NOT_FOUND


def rewrite(catalogue: Catalogue, name: str, /, **changes: Any) -> None:
    path = folder_of(catalogue) / name / MANIFEST
    content = json.loads(path.read_bytes())
    content["manifest"] |= changes
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "changes",
    [
        {"weights_sha256": "0" * 64}, {"weights_bytes": 8}, {"version": 1, "name": "ggo@1"}, {"parent": "ggo@9"}, {"rounds": 4},
        {"sites": 5}, {"epsilon_max": 0.1}, {"scores": None}, {"architecture": "other"}, {"run_id": None},
        {"created": "2026-03-01T12:00:01Z"}, {"lineage": "other"},
    ],
)  # fmt: skip
def test_a_changed_manifest_is_refused(catalogue: Catalogue, changes: dict[str, Any]) -> None:
    rewrite(catalogue, add(catalogue), **changes)
    with pytest.raises(RefusedError) as caught:
        catalogue.signed("ggo@0")
    assert caught.value.code is Code.SIGNATURE_INVALID


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_flipped_bit_of_a_manifest_changes_nothing_or_is_refused(
    catalogue: Catalogue, where: float, bit: int
) -> None:
    if not catalogue.names():
        add(catalogue)
    path = folder_of(catalogue) / "ggo@0" / MANIFEST
    good = path.read_bytes()
    before = SignedManifest.model_validate_json(good)
    changed = bytearray(good)
    changed[int(where * len(good))] ^= 1 << bit
    path.write_bytes(changed)
    code = code_of(lambda: catalogue.signed("ggo@0"))
    assert code is Code.SIGNATURE_INVALID or catalogue.signed("ggo@0").manifest == before.manifest
    path.write_bytes(good)


def test_changed_weights_are_refused(catalogue: Catalogue) -> None:
    name = add(catalogue, b"weights")
    (folder_of(catalogue) / name / WEIGHTS).write_bytes(b"weightz")
    assert code_of(lambda: catalogue.weights(name)) is Code.SIGNATURE_INVALID
    assert code_of(lambda: catalogue.renew(name)) is Code.SIGNATURE_INVALID


def test_missing_weights_are_said_so(catalogue: Catalogue) -> None:
    name = add(catalogue)
    (folder_of(catalogue) / name / WEIGHTS).unlink()
    assert code_of(lambda: catalogue.weights(name)) is Code.NOT_FOUND


def test_an_older_release_under_a_newer_name_is_refused(catalogue: Catalogue) -> None:
    """Manifest and weights are genuine and fit each other: only the name betrays that a newer release was put back."""
    old, new = add(catalogue, b"old"), add(catalogue, b"new")
    shutil.rmtree(folder_of(catalogue) / new)
    shutil.copytree(folder_of(catalogue) / old, folder_of(catalogue) / new)
    assert code_of(lambda: catalogue.signed(new)) is Code.SIGNATURE_INVALID


def test_a_release_signed_by_another_key_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Catalogue(tmp_path / "other", Ed25519PrivateKey.generate(), lambda: NOW)
    shutil.copytree(folder_of(other) / add(other), folder_of(catalogue) / "ggo@0")
    assert code_of(lambda: catalogue.signed("ggo@0")) is Code.SIGNATURE_INVALID


# Promotion.


def test_the_newest_promotion_is_the_promoted_one(catalogue: Catalogue) -> None:
    for name in [add(catalogue), add(catalogue)]:
        catalogue.note_promotion(name)
    assert (catalogue.promoted(), catalogue.before_promoted()) == ("ggo@1", "ggo@0")
    catalogue.note_promotion("ggo@1")
    assert (catalogue.promoted(), catalogue.before_promoted()) == ("ggo@1", "ggo@0")


def test_there_is_nothing_before_the_first(catalogue: Catalogue) -> None:
    catalogue.note_promotion(add(catalogue))
    with pytest.raises(ConflictError, match="first release"):
        catalogue.before_promoted()


def test_an_older_version_cannot_be_promoted(catalogue: Catalogue) -> None:
    for _ in range(3):
        add(catalogue, run_id=None)
    catalogue.note_promotion("ggo@1")
    catalogue.check_promotable("ggo@2")
    catalogue.check_promotable("ggo@1")
    with pytest.raises(ConflictError, match="rollback"):
        catalogue.check_promotable("ggo@0")


def roll_back(catalogue: Catalogue) -> str:
    renewed = catalogue.renew(catalogue.before_promoted()).manifest.name
    catalogue.note_rollback(renewed)
    return renewed


def test_a_rollback_is_a_new_version_with_the_old_weights(catalogue: Catalogue) -> None:
    for content in (b"zero", b"one", b"two"):
        catalogue.note_promotion(add(catalogue, content, rounds=len(content)))
    renewed = roll_back(catalogue)
    manifest = catalogue.signed(renewed).manifest
    assert (renewed, manifest.parent, manifest.rounds) == ("ggo@3", "ggo@1", 3)
    assert catalogue.weights(renewed) == b"one"
    catalogue.check_promotable(renewed)
    assert (catalogue.promoted(), catalogue.before_promoted()) == ("ggo@3", "ggo@0")


def test_two_rollbacks_go_back_by_two(catalogue: Catalogue) -> None:
    for content in (b"zero", b"one", b"two"):
        catalogue.note_promotion(add(catalogue, content))
    roll_back(catalogue)
    assert catalogue.weights(roll_back(catalogue)) == b"zero"
    assert code_of(lambda: roll_back(catalogue)) is Code.ILLEGAL_TRANSITION


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'["../x"]', b"[1]", b"\xff", b'["ggo@0"', b"null"])
def test_a_damaged_list_of_promotions_is_one_sentence(catalogue: Catalogue, content: bytes) -> None:
    (folder_of(catalogue) / PROMOTED).write_bytes(content)
    with pytest.raises(InvalidInputError, match="is damaged") as caught:
        catalogue.promoted()
    assert caught.value.code is Code.BAD_SETTING


def test_what_a_list_shows_of_a_release_is_json(catalogue: Catalogue) -> None:
    row = described(catalogue.signed(add(catalogue)), promoted=True)
    assert json.loads(json.dumps(row)) == row
    assert row["scores"]["dice"] == 0.5
    assert described(catalogue.signed(add(catalogue, scores=None)), promoted=False)["scores"] is None
