"""The node's lists of releases against a centre, a network or a thief that lies: each attack on The Update Framework's list, and each way back."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from client.gate.listing import follow
from client.gate.lists import ReleaseList, check_root
from client.gate.trust import ROOT
from protocol.codes import Code
from protocol.release import MetadataFiles
from server.repository import Keys, Repository, make_repository
from tests.fakes.outcomes import code_of
from tests.fakes.releases import a_release

new_key = Ed25519PrivateKey.generate
RELEASE = a_release("ggo@1")


class Source(FetcherInterface):
    """What the link would send: a set of files, as a test wants them."""

    def __init__(self, files: MetadataFiles) -> None:
        self.files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        if name not in self.files:
            raise DownloadHTTPError("no such file", 404)
        yield self.files[name].encode()


class Silent(FetcherInterface):
    def _fetch(self, url: str) -> Iterator[bytes]:
        raise DownloadError("no answer")


class Network:
    """A centre whose clock a test moves, and a node that has enrolled and looked once."""

    def __init__(self, folder: Path) -> None:
        self.keys, self.roots = Keys(new_key(), new_key()), [new_key() for _ in range(3)]
        self.now = datetime.now(UTC)
        self.centre: Repository = make_repository(folder / "metadata", self.keys, self.roots, lambda: self.now)
        self.trust = folder / "trust"
        self.trust.mkdir()
        (self.trust / ROOT).write_text(self.centre.files()["1.root.json"])
        self.centre.enlist(RELEASE, self.keys)
        self.look()

    def look(self, files: MetadataFiles | None = None) -> None:
        follow(self.trust, Source(self.centre.files() if files is None else files))

    def refuses(self, files: MetadataFiles) -> Code:
        """Say with which code the node refuses these files; what it holds stays."""
        code = code_of(lambda: self.look(files))
        assert self.holds(RELEASE)
        return code

    def holds(self, release: object) -> bool:
        return ReleaseList(self.trust).holds(release.manifest)  # type: ignore[attr-defined]


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)


def test_what_is_listed_is_held_and_nothing_else(network: Network) -> None:
    assert network.holds(RELEASE)
    assert not network.holds(a_release("ggo@2"))
    assert not network.holds(a_release("ggo@1", b"other weights under the same name"))
    later = a_release("ggo@2")
    network.centre.enlist(later, network.keys, instead_of=["ggo@1"])
    network.look()
    assert network.holds(later)
    assert not network.holds(RELEASE), "taken off the list"


def test_nothing_is_held_before_the_first_look(tmp_path: Path) -> None:
    assert not ReleaseList(tmp_path).holds(RELEASE.manifest)
    assert ReleaseList(tmp_path).good_until() is None
    assert code_of(lambda: follow(tmp_path, Silent())) is Code.MISSING_CERTIFICATE


def test_an_older_list_is_not_taken_back(network: Network) -> None:
    old = network.centre.files()
    network.centre.enlist(a_release("ggo@2"), network.keys)
    network.look()
    assert network.refuses(old) is Code.SIGNATURE_INVALID
    assert network.holds(a_release("ggo@2"))


def test_a_frozen_list_expires(network: Network) -> None:
    network.now -= timedelta(days=8)
    network.centre.refresh(network.keys)
    assert network.refuses(network.centre.files()) is Code.RELEASES_STALE


def test_a_list_of_another_time_does_not_go_with_the_rest(network: Network) -> None:
    """Mix and match: yesterday's targets under today's name."""
    before = network.centre.files()
    network.centre.enlist(a_release("ggo@2"), network.keys)
    now = network.centre.files()
    assert network.refuses(now | {"3.targets.json": before["2.targets.json"]}) is Code.SIGNATURE_INVALID


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_strangers_signature_is_refused(network: Network, tmp_path: Path, role: str) -> None:
    network.centre.enlist(a_release("ggo@2"), network.keys)
    stranger = make_repository(tmp_path / "stranger", Keys(new_key(), new_key()), network.roots, lambda: network.now)
    name = "timestamp.json" if role == "timestamp" else f"3.{role}.json"
    forged = next(body for other, body in stranger.files().items() if other.endswith(f"{role}.json"))
    assert network.refuses(network.centre.files() | {name: forged}) is Code.SIGNATURE_INVALID


def test_an_endless_list_is_cut_off(network: Network) -> None:
    padded = json.dumps({"padding": "x" * 600_000})
    assert network.refuses(network.centre.files() | {"timestamp.json": padded}) is Code.SIGNATURE_INVALID


def test_a_root_by_one_key_is_refused(network: Network) -> None:
    """A thief of one root key appoints themselves."""
    text = network.centre.files()["1.root.json"]
    root = json.loads(text)
    root["signed"]["version"] = 2
    root["signatures"] = root["signatures"][:1]
    assert network.refuses(network.centre.files() | {"2.root.json": json.dumps(root)}) is Code.SIGNATURE_INVALID


def test_replaced_keys_are_followed_and_the_stolen_ones_count_no_more(network: Network) -> None:
    stolen, fresh = network.keys, Keys(new_key(), new_key())
    network.centre.replace_keys(fresh, network.roots[:2])
    network.look()
    assert network.holds(RELEASE)
    files = network.centre.files()
    thief = make_repository(network.trust.parent / "thief", stolen, network.roots, lambda: network.now)
    for number in range(2, 9):
        thief.enlist(a_release(f"ggo@{number}"), stolen)
    forged = {name: body for name, body in thief.files().items() if "root" not in name}
    assert network.refuses(files | forged) is Code.SIGNATURE_INVALID


def test_a_thief_who_ran_ahead_with_the_versions_is_overtaken(network: Network) -> None:
    """Fast forward: the online key was stolen and the timestamp's version driven up. New keys start again, and nodes follow."""
    for _ in range(4):
        network.centre.refresh(network.keys)
    network.look()
    ahead = network.centre.files()["timestamp.json"]
    network.centre.replace_keys(Keys(new_key(), new_key()), network.roots[1:])
    network.look()
    assert network.holds(RELEASE)
    assert network.refuses(network.centre.files() | {"timestamp.json": ahead}) is Code.SIGNATURE_INVALID


def test_a_node_that_lost_its_lists_finds_them_again(network: Network) -> None:
    network.centre.replace_keys(Keys(new_key(), new_key()), network.roots[:2])
    for path in (network.trust / "releases").glob("*.json"):
        path.unlink()
    assert not network.holds(RELEASE)
    network.look()
    assert network.holds(RELEASE)


@pytest.mark.parametrize("damaged", ["targets.json", "root_history/1.root.json"])
def test_a_damaged_list_is_not_believed_and_fetched_again(network: Network, damaged: str) -> None:
    (network.trust / "releases" / damaged).write_text("{}")
    assert not network.holds(RELEASE)
    network.look()
    assert network.holds(RELEASE)


def test_a_silent_centre_is_asked_again(network: Network) -> None:
    assert code_of(lambda: follow(network.trust, Silent())) is Code.PEER_UNREACHABLE
    assert network.refuses({}) is Code.PEER_UNREACHABLE


def test_the_node_knows_until_when_the_word_is_good(network: Network) -> None:
    until = ReleaseList(network.trust).good_until()
    assert until is not None
    assert timedelta(days=6) < until - datetime.now(UTC) <= timedelta(days=7)


def test_enrolment_refuses_a_root_that_nobody_signed(network: Network) -> None:
    good = network.centre.files()["1.root.json"]
    check_root(good)
    for bad in ("{}", "", good.replace('"threshold":2', '"threshold":1'), network.centre.files()["timestamp.json"]):
        assert code_of(lambda bad=bad: check_root(bad)) is Code.SIGNATURE_INVALID
