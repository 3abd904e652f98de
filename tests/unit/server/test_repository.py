"""The lists of the releases that count: signed anew in time, by the keys that the root names, and by others once enough root keys say so."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from protocol.codes import Code
from protocol.release import SignedManifest
from server.catalogue import Catalogue
from server.repository import LIFE, Keys, Repository, make_repository
from tests.fakes.outcomes import code_of
from tests.fakes.releases import a_release

new_key = Ed25519PrivateKey.generate


@dataclass
class Centre:
    """A repository, its keys, and a clock that tests move."""

    folder: Path
    keys: Keys = field(default_factory=lambda: Keys(new_key(), new_key()))
    roots: list[Ed25519PrivateKey] = field(default_factory=lambda: [new_key() for _ in range(3)])
    now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __post_init__(self) -> None:
        self.lists: Repository = make_repository(self.folder, self.keys, self.roots, lambda: self.now)

    def versions(self) -> tuple[int, int, int, int]:
        files = self.lists.files()
        timestamp = Metadata[Timestamp].from_bytes(files["timestamp.json"].encode()).signed
        snapshot_name = f"{timestamp.snapshot_meta.version}.snapshot.json"
        snapshot = Metadata[Snapshot].from_bytes(files[snapshot_name].encode()).signed
        roots = sum(name.endswith("root.json") for name in files)
        return roots, snapshot.meta["targets.json"].version, snapshot.version, timestamp.version

    def listed(self) -> set[str]:
        files = self.lists.files()
        name = f"{self.versions()[1]}.targets.json"
        return set(Metadata[Targets].from_bytes(files[name].encode()).signed.targets)


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path / "metadata")


def test_a_release_counts_once_it_is_listed_and_another_no_more(centre: Centre) -> None:
    assert centre.listed() == set()
    centre.lists.enlist(a_release("ggo@1"), centre.keys)
    centre.lists.enlist(a_release("ggo@2"), centre.keys, instead_of=["ggo@1"])
    assert centre.listed() == {"ggo@2/manifest.json"}
    assert centre.versions() == (1, 3, 3, 3)


def test_only_the_timestamp_is_signed_every_time(centre: Centre) -> None:
    for _ in range(3):
        centre.lists.refresh(centre.keys)
    assert centre.versions() == (1, 1, 1, 4)


@pytest.mark.parametrize("passed", [LIFE["targets"] / 2 + timedelta(days=1), 2 * LIFE["targets"]])
def test_what_is_half_way_to_its_end_is_signed_anew(centre: Centre, passed: timedelta) -> None:
    centre.now += passed
    centre.lists.refresh(centre.keys)
    assert centre.versions() == (1, 2, 2, 2)
    ends = centre.lists.good_until()
    assert {role: end - centre.now for role, end in ends.items() if role != "root"} == {
        role: life for role, life in LIFE.items() if role != "root"
    }


@pytest.mark.parametrize("wrong", [Keys(new_key(), new_key())])
def test_keys_that_the_root_does_not_name_sign_nothing(centre: Centre, wrong: Keys) -> None:
    before = centre.lists.files()
    assert code_of(lambda: centre.lists.refresh(wrong)) is Code.SIGNATURE_INVALID
    assert code_of(lambda: centre.lists.enlist(a_release("ggo@1"), wrong)) is Code.SIGNATURE_INVALID
    assert centre.lists.files() == before


def test_two_of_three_root_keys_replace_the_others(centre: Centre) -> None:
    centre.lists.enlist(a_release("ggo@1"), centre.keys)
    fresh = Keys(new_key(), new_key())
    centre.lists.replace_keys(fresh, centre.roots[1:])
    assert centre.listed() == {"ggo@1/manifest.json"}, "what counted before counts still"
    assert centre.versions() == (2, 3, 3, 3)
    centre.lists.refresh(fresh)
    assert code_of(lambda: centre.lists.refresh(centre.keys)) is Code.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "chosen",
    [lambda roots: roots[:1], lambda roots: [roots[0], roots[0]], lambda roots: [roots[0], new_key()], lambda _: []],
    ids=["one", "one twice", "one and a stranger", "none"],
)
def test_fewer_replace_nothing(
    centre: Centre, chosen: Callable[[list[Ed25519PrivateKey]], list[Ed25519PrivateKey]]
) -> None:
    before = centre.lists.files()
    replace = lambda: centre.lists.replace_keys(Keys(new_key(), new_key()), chosen(centre.roots))  # noqa: E731
    assert code_of(replace) is Code.SIGNATURE_INVALID
    assert centre.lists.files() == before


def test_a_lost_root_key_is_replaced_by_the_two_others(centre: Centre) -> None:
    others = [new_key() for _ in range(3)]
    centre.lists.replace_keys(centre.keys, [*centre.roots[:2], *others], root_keys=others)
    assert code_of(lambda: centre.lists.replace_keys(centre.keys, centre.roots)) is Code.SIGNATURE_INVALID
    centre.lists.replace_keys(centre.keys, others[1:])
    assert centre.versions()[0] == 3


def test_what_a_crash_left_behind_is_signed_at_the_next_refresh(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the new root was written, before any list was."""
    fresh = Keys(new_key(), new_key())
    with monkeypatch.context() as patched:
        patched.setattr(Repository, "refresh", lambda *_: None)
        centre.lists.replace_keys(fresh, centre.roots)
    centre.lists.refresh(fresh)
    root = Metadata[Root].from_bytes(centre.lists.files()["2.root.json"].encode()).signed
    for name, body in centre.lists.files().items():
        if "root" not in name:
            one = Metadata[Targets].from_bytes(body.encode())
            root.verify_delegate(one.signed.type, one.signed_bytes, one.signatures)


def test_damage_names_its_file(centre: Centre) -> None:
    (centre.folder / "timestamp.json").write_text("{")
    assert code_of(lambda: centre.lists.refresh(centre.keys)) is Code.BAD_SETTING
    (centre.folder / "1.root.json").unlink()
    assert code_of(centre.lists.files) is Code.BAD_SETTING


def test_the_catalogues_manifests_follow_a_new_key(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    old, new = new_key(), new_key()
    catalogue = Catalogue(tmp_path, old, lambda: now)
    signed: SignedManifest = catalogue.add(
        b"w",
        lineage="ggo",
        parent=None,
        architecture="lite-2p5d",
        run_id=None,
        rounds=0,
        sites=0,
        epsilon_max=None,
        scores=None,
    )
    catalogue.sign_again(new)
    again = Catalogue(tmp_path, new, lambda: now)
    assert again.signed("ggo@0").manifest == signed.manifest
    assert code_of(lambda: Catalogue(tmp_path, old, lambda: now).signed("ggo@0")) is Code.SIGNATURE_INVALID
    before = (tmp_path / "ggo@0" / "manifest.json").read_bytes()
    Catalogue(tmp_path, old, lambda: now).sign_again(new)
    assert (tmp_path / "ggo@0" / "manifest.json").read_bytes() == before, "a second time changes nothing"
