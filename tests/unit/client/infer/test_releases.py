"""Releases: only what is on the centre's list, only forward, never half."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from client.infer.releases import SHIPPED, ReleaseShelf
from models.net import ARCHITECTURE, GgoNet
from models.weights import STARTING, save_arrays, to_arrays
from protocol.card import card_of
from protocol.codes import Code
from protocol.release import Manifest, SignedManifest
from tests.fakes.outcomes import code_of


def anything(_: Manifest) -> bool:
    return True


def nothing(_: Manifest) -> bool:
    return False


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_arrays(to_arrays(GgoNet()), path)
    return path.read_bytes()


def signed(weights: bytes, version: int = 1, **changes: object) -> SignedManifest:
    manifest = Manifest.model_validate(
        {
            "name": f"ggo@{version}", "lineage": "ggo", "version": version, "parent": "ggo@0", "architecture": ARCHITECTURE,
            "weights_sha256": hashlib.sha256(weights).hexdigest(), "weights_bytes": len(weights),
            "created": "2026-01-12T10:00:00Z", "run_id": "0" * 32, "rounds": 3, "sites": 4, "epsilon_max": 3.0, "scores": None,
        } | changes
    )  # fmt: skip
    return SignedManifest(manifest=manifest, signature="A" * 86)


@pytest.fixture
def shelf(tmp_path: Path) -> ReleaseShelf:
    return ReleaseShelf(tmp_path / "models", anything)


def test_without_anything_the_shipped_weights_are_in_use(shelf: ReleaseShelf) -> None:
    assert shelf.current() == SHIPPED
    assert shelf.weights(SHIPPED) == STARTING
    assert shelf.load().release == SHIPPED


def test_a_signed_release_is_taken_kept_and_used(shelf: ReleaseShelf, weights: bytes, tmp_path: Path) -> None:
    assert shelf.accept(signed(weights), weights)
    assert shelf.load().release == shelf.current() == "ggo@1"
    assert (tmp_path / "models" / "ggo@1" / "card.md").read_text() == card_of(signed(weights).manifest)
    assert not shelf.accept(signed(weights), weights), "a second time changes nothing"
    assert json.loads((tmp_path / "models" / "current.json").read_text()) == {"name": "ggo@1"}
    assert ReleaseShelf(tmp_path / "models", anything).load().release == "ggo@1", "after a restart too"
    assert shelf.usable() == ("ggo@1", SHIPPED)


def test_what_is_not_as_listed_is_refused(shelf: ReleaseShelf, weights: bytes) -> None:
    assert code_of(lambda: shelf.accept(signed(weights), weights[:-1] + b"x")) is Code.SIGNATURE_INVALID
    assert code_of(lambda: shelf.accept(signed(weights, name="ggo@7"), weights)) is Code.SIGNATURE_INVALID
    assert shelf.current() == SHIPPED


def test_what_is_on_no_list_is_refused(tmp_path: Path, weights: bytes) -> None:
    shelf = ReleaseShelf(tmp_path, nothing)
    assert code_of(lambda: shelf.accept(signed(weights), weights)) is Code.SIGNATURE_INVALID
    assert shelf.current() == SHIPPED


def test_what_is_taken_off_the_list_is_used_no_more(shelf: ReleaseShelf, weights: bytes, tmp_path: Path) -> None:
    shelf.accept(signed(weights), weights)
    assert ReleaseShelf(tmp_path / "models", nothing).load().release == SHIPPED


def test_never_back_and_never_aside(shelf: ReleaseShelf, weights: bytes) -> None:
    shelf.accept(signed(weights, 3), weights)
    for bad in (
        signed(weights, 2),
        signed(weights, 4, lineage="other", name="other@4"),
        signed(weights, 5, architecture="vnet"),
    ):
        assert code_of(lambda bad=bad: shelf.accept(bad, weights)) is Code.POLICY_LINEAGE
    assert shelf.current() == "ggo@3"


def test_weights_that_do_not_fit_are_refused_and_leave_nothing(shelf: ReleaseShelf, tmp_path: Path) -> None:
    junk = b"\x08\0\0\0\0\0\0\0{}      "
    assert code_of(lambda: shelf.accept(signed(junk), junk)) is Code.BAD_SHAPE
    assert shelf.current() == SHIPPED
    assert [path.name for path in (tmp_path / "models").iterdir()] == []


def test_another_release_of_the_same_name_is_a_conflict(shelf: ReleaseShelf, weights: bytes, tmp_path: Path) -> None:
    shelf.accept(signed(weights), weights)
    path = tmp_path / "other.safetensors"
    save_arrays({name: array + 1 for name, array in to_arrays(GgoNet()).items()}, path)
    other = path.read_bytes()
    assert code_of(lambda: shelf.accept(signed(other), other)) is Code.ALREADY_EXISTS


def test_damage_on_the_disk_falls_back_to_the_release_before(
    shelf: ReleaseShelf, weights: bytes, tmp_path: Path
) -> None:
    shelf.accept(signed(weights), weights)
    (tmp_path / "models" / "ggo@1" / "weights.safetensors").write_bytes(b"flipped")
    again = ReleaseShelf(tmp_path / "models", anything)
    assert again.load().release == SHIPPED
    assert (again.current(), again.usable()) == ("ggo@1", (SHIPPED, SHIPPED))
    assert again.accept(signed(weights), weights), "announced again, it is taken again"
    assert again.load().release == "ggo@1"


@pytest.mark.parametrize("damaged", [["ggo@3"], ["ggo@3", "ggo@1"]])
def test_after_a_rollback_the_withdrawn_release_takes_nobodys_place(
    shelf: ReleaseShelf, weights: bytes, tmp_path: Path, damaged: list[str]
) -> None:
    """The list names 1 and 3; 2 was taken back, and 3 has its place."""
    for version in (1, 2, 3):
        shelf.accept(signed(weights, version), weights)
    again = ReleaseShelf(tmp_path / "models", lambda manifest: manifest.version != 2)
    assert again.usable() == ("ggo@3", "ggo@1")
    for name in damaged:
        (tmp_path / "models" / name / "weights.safetensors").write_bytes(b"flipped")
    left = "ggo@1" if damaged == ["ggo@3"] else SHIPPED
    assert again.load().release == again.usable()[0] == left


def test_weights_that_give_no_numbers_are_refused(shelf: ReleaseShelf, tmp_path: Path) -> None:
    path = tmp_path / "wild.safetensors"
    save_arrays({name: np.full_like(array, 3e38) for name, array in to_arrays(GgoNet()).items()}, path)
    wild = path.read_bytes()
    assert code_of(lambda: shelf.accept(signed(wild), wild)) is Code.BAD_SHAPE
    assert shelf.load().release == SHIPPED


def test_half_a_release_from_a_crash_is_replaced(shelf: ReleaseShelf, weights: bytes, tmp_path: Path) -> None:
    (tmp_path / "models" / ".ggo@1.part").mkdir(parents=True)
    (tmp_path / "models" / ".ggo@1.part" / "weights.safetensors").write_bytes(b"half")
    (tmp_path / "models" / "ggo@1").mkdir()
    assert shelf.accept(signed(weights), weights)
    assert shelf.load().release == "ggo@1"


def test_unknown_and_damaged_shelves(tmp_path: Path) -> None:
    shelf = ReleaseShelf(tmp_path, anything)
    assert code_of(lambda: shelf.weights("ggo@9")) is Code.POLICY_LINEAGE
    (tmp_path / "current.json").write_text("[]")
    assert code_of(shelf.current) is Code.MISSING_CERTIFICATE
