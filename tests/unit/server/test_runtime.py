"""The composition root: what it opens is real, and what it cannot open it names."""

import fcntl
from pathlib import Path
from typing import Any

import pytest

from protocol.codes import Code
from protocol.errors import ConflictError, UnavailableError
from protocol.release import SignedManifest
from server.home import SIGNING_KEYS
from server.registry import Registry
from server.runtime import (
    only_run,
    open_catalogue,
    open_fleet,
    open_registry,
    open_repository,
    open_trainer,
    promote,
    roll_back,
    utc_now,
)
from server.settings import CentreSettings
from tests.fakes.outcomes import code_of


def test_a_made_centre_opens_as_a_whole(settings: CentreSettings) -> None:
    trainer = open_trainer(settings)
    assert trainer.catalogue.names() == ["ggo@0"]
    assert trainer.runs == settings.runs
    assert len(trainer.bundle.sha256) == 64
    trainer.fleet.close()
    open_registry(settings).close()


def test_progress_is_told_on_standard_error(settings: CentreSettings, capsys: pytest.CaptureFixture[str]) -> None:
    open_trainer(settings).say("round 1")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "round 1\n")


@pytest.mark.parametrize("content", [None, b"", b"no key", b"\xff\xfe"])
def test_a_signing_key_that_cannot_be_read_is_named(settings: CentreSettings, content: bytes | None) -> None:
    path = settings.home / "secrets" / "release.key"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert code_of(lambda: open_catalogue(settings)) is Code.MISSING_CERTIFICATE


def test_a_key_of_another_kind_signs_nothing(settings: CentreSettings) -> None:
    (settings.home / "secrets" / "release.key").write_bytes((settings.home / "pki" / "ca.key").read_bytes())
    assert code_of(lambda: open_catalogue(settings)) is Code.MISSING_CERTIFICATE


@pytest.mark.parametrize("name", SIGNING_KEYS)
def test_every_signing_key_is_one_that_could_sign_releases(settings: CentreSettings, name: str) -> None:
    changed = settings.model_copy(
        update={"signing": settings.signing.model_copy(update={"release_key": Path("secrets") / f"{name}.key"})}
    )
    open_catalogue(changed)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_token_that_cannot_be_read_is_named(settings: CentreSettings, content: bytes | None) -> None:
    path = settings.home / "secrets" / "service.token"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert code_of(lambda: open_registry(settings)) is Code.MISSING_CERTIFICATE


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe"])
def test_an_authority_that_cannot_be_read_is_named(settings: CentreSettings, content: bytes | None) -> None:
    path = settings.home / "pki" / "ca.pem"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert code_of(lambda: open_fleet(settings)) is Code.MISSING_CERTIFICATE
    assert code_of(lambda: open_registry(settings)) is Code.MISSING_CERTIFICATE


def test_one_run_at_a_time(settings: CentreSettings) -> None:
    with only_run(settings), pytest.raises(ConflictError), only_run(settings):
        raise AssertionError("two at a time")
    with only_run(settings):
        pass


def test_the_lock_is_one_that_other_processes_see(settings: CentreSettings) -> None:
    with only_run(settings), (settings.runs / ".lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_of_runs_that_cannot_be_written_is_one_sentence(settings: CentreSettings) -> None:
    (settings.home / "runs").rmdir()
    (settings.home / "runs").write_text("a file")

    def hold() -> None:
        with only_run(settings):
            raise AssertionError("held")

    assert code_of(hold) is Code.DISK_FULL


def test_the_time_has_its_zone() -> None:
    assert utc_now().tzinfo is not None


# Between the catalogue and the registry.


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[SignedManifest]:
    """What the registry took, and told nodes of; its answer to `ggo@2` is lost."""
    taken: list[SignedManifest] = []

    def publish(_: Registry, signed: SignedManifest, __: bytes) -> None:
        taken.append(signed)
        if signed.manifest.name == "ggo@2":
            raise UnavailableError(Code.PEER_UNREACHABLE, "the answer was lost")

    monkeypatch.setattr(Registry, "publish_lists", lambda *_: None)
    monkeypatch.setattr(Registry, "publish", publish)
    return taken


def kept(settings: CentreSettings, weights: bytes) -> str:
    """A release that did not come out of a run."""
    made: dict[str, Any] = {
        "parent": "ggo@0", "architecture": "lite-2p5d", "run_id": None, "rounds": 0, "sites": 0, "epsilon_max": None, "scores": None,
    }  # fmt: skip
    return open_catalogue(settings).add(weights, lineage="ggo", **made).manifest.name


def test_a_promotion_whose_answer_was_lost_is_the_one_that_a_rollback_takes_back(
    settings: CentreSettings, announced: list[SignedManifest]
) -> None:
    good, bad = kept(settings, b"good"), kept(settings, b"bad")
    promote(settings, good)
    assert code_of(lambda: promote(settings, bad)) is Code.PEER_UNREACHABLE
    assert [one.manifest.name for one in announced] == [good, bad], "the nodes have heard of it"
    renewed = roll_back(settings)
    assert open_catalogue(settings).weights(renewed) == b"good"
    assert sorted(open_repository(settings).names()) == ["ggo@0", good, renewed]


def test_a_rollback_that_was_cut_off_goes_back_no_further_when_it_is_made_again(
    settings: CentreSettings, announced: list[SignedManifest]
) -> None:
    good = kept(settings, b"good")
    promote(settings, good)
    assert code_of(lambda: roll_back(settings)) is Code.PEER_UNREACHABLE
    assert code_of(lambda: roll_back(settings)) is Code.PEER_UNREACHABLE
    assert [one.manifest.name for one in announced] == [good, "ggo@2", "ggo@2"]
    assert open_catalogue(settings).weights("ggo@2") == open_catalogue(settings).weights("ggo@0")


def test_what_two_rollbacks_took_back_counts_under_none_of_its_names(
    settings: CentreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ggo@3` is `ggo@1` again: whoever takes it back wants those weights out of use, and a node may still hold the first."""
    monkeypatch.setattr(Registry, "publish_lists", lambda *_: None)
    monkeypatch.setattr(Registry, "publish", lambda *_: None)
    for weights in (b"one", b"two"):
        promote(settings, kept(settings, weights))
    assert roll_back(settings) == "ggo@3"
    assert sorted(open_repository(settings).names()) == ["ggo@0", "ggo@1", "ggo@3"]
    assert roll_back(settings) == "ggo@4"
    assert sorted(open_repository(settings).names()) == ["ggo@0", "ggo@4"]


def test_a_release_that_the_lists_do_not_take_is_not_promoted(
    settings: CentreSettings, announced: list[SignedManifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UnavailableError(Code.PEER_UNREACHABLE, "nobody is there")

    monkeypatch.setattr(Registry, "publish_lists", refuse)
    name = kept(settings, b"good")
    assert code_of(lambda: promote(settings, name)) is Code.PEER_UNREACHABLE
    assert (open_catalogue(settings).promoted(), announced) == ("ggo@0", [])
